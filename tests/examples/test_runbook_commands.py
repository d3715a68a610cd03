"""The commands of the runbooks, executed against the reference system: each does what it says there."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

pytestmark = pytest.mark.real_time

RUNBOOKS = Path(__file__).parent.parent.parent / "docs" / "runbooks"
BLOCK = re.compile(r"^( *)```bash\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMANDS = [
    pytest.param(each[2], id=f"{page.stem}-{number}")
    for page in sorted(RUNBOOKS.glob("*.md"))
    for number, each in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")), 1)
]


@pytest.fixture(scope="module")
def shell(system, log):
    """What an on-call engineer has set, after a request that went well and one that did not."""
    for tool in ("bash", "curl", "jq", "psql", "redis-cli"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    token = {"Authorization": f"Bearer {system.token('read', 'predict')}"}
    path = f"{system.url}/matches/match_ars_tot/predictions"
    assert urlopen(Request(path, method="POST", headers=token)).status in (200, 201)
    return {**os.environ, "URL": system.url, "LOG": str(log), **system.urls}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works(shell, command):
    """It ends well, without a word on stderr, within a minute."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env=shell,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_commands_tell(shell):
    """The first things that are asked at night: is it up, what of its parts, what of its budget."""

    def told(command):
        done = subprocess.run(["bash", "-c", command], env=shell, capture_output=True, text=True, check=True)
        return done.stdout

    assert told('curl -sS -o /dev/null -w "%{http_code}" "$URL/health/live"') == "200"
    breakers = json.loads(told('curl -sS "$URL/internal/status" | jq -c "map_values(.breaker)"'))
    assert breakers.keys() == {"postgres", "redis", "s3", "sports-provider", "model-service"}
    budgets = json.loads(told('curl -sS "$URL/health?details" | jq .details.error_budgets'))
    assert budgets.keys() == {"availability", "request_success", "latency_p95"}
