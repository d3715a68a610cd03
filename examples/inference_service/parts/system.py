"""All the servers and the service, started in the right order, and each to be broken on its own."""

import asyncio
import os
import signal
import sys
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol

from examples.inference_service.auth import issue_token
from examples.inference_service.parts.postgres import Postgres
from examples.inference_service.parts.process import Process, free_port
from examples.inference_service.parts.redis import redis_process
from examples.inference_service.parts.seed import AWS_KEYS, seed_bucket, seed_database

__all__ = ("VARIABLES", "Options", "Part", "System", "running", "stop_at_sigterm")

VARIABLES: Final = ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT_URL", "PROVIDER_URL", "MODEL_URL")
"""Where a server is that is not to be started."""


class Part(Protocol):
    """A server that can be broken."""

    def start(self) -> None:
        """Start it (again)."""
        ...

    def kill(self) -> None:
        """End it without a warning."""
        ...

    def stop(self) -> None:
        """End it for good."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the system is started.

    Attributes:
        port: Of the service; 0: any.
        agent: The host of a Datadog Agent, and its port if it is not 8126; None: no tracing.
        rehearsal: The short timeouts.
        quiet: The service's log does not appear on the terminal: it can be read from `System.service.output`.
    """

    port: int = 0
    agent: str | None = None
    rehearsal: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class System:
    """What is running.

    Attributes:
        parts: `postgres`, `redis`, `s3`, `provider` and `model`; without those that are somebody else's.
        service: The service.
        urls: Of every part, by the variable that the service reads.
        secret: What tokens are signed with.
    """

    parts: Mapping[str, Part]
    service: Process
    urls: Mapping[str, str]
    secret: str

    @property
    def url(self) -> str:
        """Where the service listens."""
        return f"http://{self.service.address}"

    def token(self, *scopes: str, seconds: float = 3600.0) -> str:
        """A token for somebody who may do this."""
        return issue_token(self.secret, "user_xyz789", scopes, seconds=seconds)


@contextmanager
def running(options: Options) -> Generator[System]:
    """Start everything, and stop it at the end."""
    with TemporaryDirectory(prefix="inference-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL does not run as root, and must get in
        parts, urls = _parts(directory)
        started = [*parts.values()]
        try:
            with ThreadPoolExecutor() as pool:
                for done in [pool.submit(part.start) for part in started]:
                    done.result()
            if isinstance(postgres := parts.get("postgres"), Postgres):
                urls["DATABASE_URL"] = postgres.url
            asyncio.run(_seed(urls, own_bucket="s3" in parts))
            secret = os.environ.get("TOKEN_SECRET") or os.urandom(16).hex()
            keys = AWS_KEYS if "s3" in parts else {}
            service = _service(options, {**urls, **keys, "TOKEN_SECRET": secret})
            started.append(service)
            service.start()
            yield System(parts, service, urls, secret)
        finally:
            for part in reversed(started):
                part.stop()


def stop_at_sigterm() -> None:
    """Have SIGTERM end this process in an orderly way, with everything that it has started."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def _parts(directory: Path) -> tuple[dict[str, Part], dict[str, str]]:
    """The servers that nobody has named in the environment, and where all of them are."""
    urls = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    parts: dict[str, Part] = {}
    if "DATABASE_URL" not in urls:
        parts["postgres"] = Postgres(directory)
    if "REDIS_URL" not in urls:
        parts["redis"] = redis = redis_process(directory)
        urls["REDIS_URL"] = f"redis://{redis.address}/0"
    if "S3_ENDPOINT_URL" not in urls:
        port = free_port()
        moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        parts["s3"] = Process("s3", moto, port, log=directory / "s3.log")
        urls["S3_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    for double in ("provider", "model"):
        variable = f"{double.upper()}_URL"
        if variable not in urls:
            port = free_port()
            target = f"examples.inference_service.doubles.{double}:app"
            uvicorn = [sys.executable, "-m", "uvicorn", target, "--port", str(port), "--no-access-log"]
            parts[double] = Process(double, uvicorn, port, log=directory / f"{double}.log")
            urls[variable] = f"http://127.0.0.1:{port}"
    return parts, urls


async def _seed(urls: Mapping[str, str], *, own_bucket: bool) -> None:
    await seed_database(urls["DATABASE_URL"])
    if own_bucket:
        await seed_bucket(urls["S3_ENDPOINT_URL"])


def _service(options: Options, environment: Mapping[str, str]) -> Process:
    port = options.port or free_port()
    command = [sys.executable, "-m", "asgi_resilience", "run", "--factory", "--port", str(port)]
    environment = {"DD_SERVICE": "inference-service", "DD_VERSION": "v1.2.3", **environment}
    if options.agent is not None:
        host, _, agent_port = options.agent.partition(":")
        command = [str(Path(sys.executable).with_name("ddtrace-run")), *command]
        environment["DD_AGENT_HOST"] = host
        environment["DD_TRACE_AGENT_PORT"] = agent_port or "8126"
    if options.rehearsal:
        environment["REHEARSAL"] = "1"
    target = "examples.inference_service.app:create"
    return Process("inference-service", [*command, target], port, read=options.quiet, environment=environment)
