"""A PostgreSQL of our own, from the package pgserver: the binaries come in its wheel."""

import importlib
import os
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

__all__ = ("Postgres",)

_SETTINGS: Final = """
fsync = off # nobody needs this data tomorrow, but everybody wants it back soon after a kill
"""


def _pgserver() -> Any:
    """The package. It chooses the place of its lock while it is imported, and wants a private directory for it."""
    if "XDG_RUNTIME_DIR" in os.environ:
        return importlib.import_module("pgserver")
    os.environ["XDG_RUNTIME_DIR"] = mkdtemp()
    try:
        return importlib.import_module("pgserver")
    finally:
        del os.environ["XDG_RUNTIME_DIR"]


class Postgres:
    """A PostgreSQL server in a directory.

    Attributes:
        url: Where it is, once it has been started; it is at the same place after another start.
    """

    name = "postgres"

    def __init__(self, directory: Path) -> None:
        self.url = ""
        self._data = directory / "postgres"
        self._package: Any = None
        self._server: Any = None

    def start(self) -> None:
        """Start it, and return when it takes connections.

        Raises:
            ImportError: pgserver is not installed.
        """
        if self._server is None:
            self._package = _pgserver()
            self._server = self._package.get_server(self._data, cleanup_mode="delete")
            self.url = self._server.get_uri()
            with (self._data / "postgresql.conf").open("a", encoding="utf-8") as settings:
                settings.write(_SETTINGS)
            self._control("reload")
        else:
            self._server.ensure_postgres_running()

    def kill(self) -> None:
        """End it without a warning; it recovers from its journal when it is started again."""
        self._control("-w", "-m", "immediate", "stop")

    def _control(self, *arguments: str) -> None:
        self._package.pg_ctl(list(arguments), pgdata=self._data, user=self._server.system_user)

    def stop(self) -> None:
        """End it for good, with its data."""
        if self._server is not None:
            self._server.ensure_postgres_running()  # its clean-up stops a server that runs
            self._server.cleanup()
            self._server = None
