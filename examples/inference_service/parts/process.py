"""A server in a process of its own, that can be killed and started again."""

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

__all__ = ("Process", "free_port")

_PATIENCE: Final = 30.0


def free_port() -> int:
    """A port on which nobody listens at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


class Process:
    """A server on a loopback port.

    Args:
        name: For messages.
        command: What starts it.
        port: Where it will listen.
        log: The file that gets its output; None: the output of this process.
        read: Its standard output can be read from `output` instead.
        environment: Variables besides those of this process.

    Attributes:
        port: As given.
        output: What it writes, once it has been started, if it is to be read; to its end, and closed then.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        *,
        log: Path | None = None,
        read: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self.output: IO[str] | None = None
        self._command = command
        self._log = log
        self._read = read
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it listens.

        Raises:
            RuntimeError: It has ended at once, or does not listen within half a minute.
        """
        with ExitStack() as opened:
            log = None if self._log is None else opened.enter_context(self._log.open("a", encoding="utf-8"))
            self._process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE if self._read else log,
                stderr=log,
                text=True,
                env=self._environment,
            )
        self.output = self._process.stdout
        self._wait()

    def _wait(self) -> None:
        give_up = time.monotonic() + _PATIENCE
        while self._process is not None and self._process.poll() is None and time.monotonic() < give_up:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        said = "" if self._log is None else f":\n{self._log.read_text(encoding='utf-8')}"
        raise RuntimeError(f"{self.name} did not start{said}")

    def kill(self) -> None:
        """End it without a warning, as a lack of memory would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and wait."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def join(self) -> int:
        """Wait until it ends by itself; returns its exit code."""
        return 0 if self._process is None else self._process.wait()
