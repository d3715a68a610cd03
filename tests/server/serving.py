"""A real server in a thread, and a client that sees every byte."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import h11
import uvicorn

from asgi_resilience.context import ASGIApp

SERVERS = [(http, loop) for http in ("h11", "httptools") for loop in ("asyncio", "uvloop")]
PATIENCE = 10.0  # seconds that a test waits for something that is about to happen


class _Server(uvicorn.Server):
    """uvicorn, which tells when it listens, and on which loop it runs."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.listening.set()


@dataclass
class Running:
    """A server at work."""

    port: int
    loop: asyncio.AbstractEventLoop

    def call(self, function, *args):
        """What `function(*args)` returns in the thread of the event loop."""

        async def call():
            return function(*args)

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE)

    def tasks(self):
        """The tasks of requests; not those of the server itself."""
        return [
            task for task in self.call(asyncio.all_tasks, self.loop) if "run_asgi" in repr(task.get_coro())
        ]


@contextmanager
def serve(app: ASGIApp, http: str = "h11", loop: str = "asyncio", **options) -> Iterator[Running]:
    """Serve `app` with uvicorn on a free port of the loopback interface."""
    config = uvicorn.Config(
        app, http=http, loop=loop, log_config=None, access_log=False, **{"lifespan": "off", **options}
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert server.listening.wait(PATIENCE)
            yield Running(listener.getsockname()[1], server.loop)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


@dataclass
class Answer:
    """One response as the client understood it; `truncated`: its end never came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    truncated: bool = False


class Client:
    """One connection, to a port of the loopback interface or to a unix socket."""

    def __init__(self, where: int | Path) -> None:
        if isinstance(where, Path):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(str(where))
        else:
            self.socket = socket.create_connection(("127.0.0.1", where), timeout=PATIENCE)
        self._protocol = h11.Connection(h11.CLIENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def ask(self, path: str, method: str = "GET", **headers: str) -> None:
        """Send one request."""
        if self._protocol.our_state is not h11.IDLE:
            self._protocol.start_next_cycle()
        fields = [("host", "test"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        self.socket.sendall(self._protocol.send(h11.Request(method=method, target=path, headers=fields)))
        self.socket.sendall(self._protocol.send(h11.EndOfMessage()) or b"")

    def events(self) -> Iterator[h11.Event]:
        """What comes back, until the response is over or the connection closed."""
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                self._protocol.receive_data(self.socket.recv(65536))
                continue
            yield event
            if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return

    def answer(self) -> Answer:
        """The response to the last request."""
        answer = Answer()
        try:
            for event in self.events():
                if isinstance(event, h11.Response):
                    answer.status = event.status_code
                    answer.headers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    answer.body += event.data
        except h11.RemoteProtocolError:
            answer.truncated = True
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        """Send a request and read the response."""
        self.ask(path, **headers)
        return self.answer()
