"""Everything on this machine: `python -m examples.inference_service [--port 8080] [--agent HOST[:PORT]]`."""

import argparse
import os
import sys
from typing import Final

from examples.inference_service.parts.system import VARIABLES, Options, System, running, stop_at_sigterm

_BANNER: Final = """\
inference-service  {url}
  curl -i -H 'Authorization: Bearer {token}' {url}/matches/match_ars_tot
  curl -i -H 'Authorization: Bearer {token}' -X POST {url}/matches/match_ars_tot/predictions
  curl {url}/health
  curl {url}/internal/status
Faults
  curl -d '{{"mode": "stall"}}' {model}/admin/faults      # or slow, fail, limit, ok
  curl -d '{{"mode": "limit", "per_second": 1, "retry_after": 5}}' {provider}/admin/faults
Ctrl-C ends it all.
"""


def main() -> int:
    """Start it, tell where it is, and wait."""
    parser = argparse.ArgumentParser(prog="python -m examples.inference_service", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="of the service (default: 8080; 0: any)")
    parser.add_argument("--agent", metavar="HOST[:PORT]", help="a Datadog Agent: traces and metrics go there")
    arguments = parser.parse_args()
    stop_at_sigterm()
    try:
        with running(Options(port=arguments.port, agent=arguments.agent)) as system:
            print(_banner(system), file=sys.stderr)
            return system.service.join()
    except KeyboardInterrupt:
        return 0
    except ModuleNotFoundError as error:
        print(
            f"{error.name} is missing. Install it, or say where a server is: {', '.join(VARIABLES)}",
            file=sys.stderr,
        )
        return 2


def _banner(system: System) -> str:
    return _BANNER.format(
        url=system.url,
        token=system.token("read", "predict"),
        model=system.urls["MODEL_URL"],
        provider=system.urls["PROVIDER_URL"],
    )


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
