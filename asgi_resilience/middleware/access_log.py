"""Write one line per request, at its end, however it ended.

    level   ERROR               status 500 and above, `server_error`, `truncated`
            client_error_level  the other statuses from 400
            INFO                the rest
    kept    always              every outcome but ok and redirect; requests that took `slow` seconds or more
            sampled             ok and redirect; not at all below `exclude_paths`

The line of an error carries its stack trace, and the exception is marked, so that `configure_logging` can drop what the
server says of the same exception.
"""

import random
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Final, Literal

from anyio import to_thread

from asgi_resilience.context import (
    ASGIApp,
    Message,
    Receive,
    RequestContext,
    Scope,
    Send,
    header,
    mark_logged,
)
from asgi_resilience.logs.schema import LEVELS, LineFormatter
from asgi_resilience.logs.sink import LogSink, default_sink
from asgi_resilience.paths import PathTable
from asgi_resilience.peers import TrustedProxies
from asgi_resilience.recorder import Observer

__all__ = ("AccessLogMiddleware",)

_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_SUCCESS: Final = ("ok", "redirect")
_FAILURE: Final = ("server_error", "truncated")
_SHUTDOWN: Final = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")


class AccessLogMiddleware(Observer):
    """Write one line per HTTP request and websocket; of several such layers around one app, the outermost does.

    Args:
        app: The ASGI application.
        service: Of every line, as are the next two; see `LineFormatter`.
        environment: Such as `production`.
        version: Of the service.
        level: Lines below it are not written: a name in `LEVELS`.
        client_error_level: The level of statuses 400 to 499.
        sample_rate: The share of successful requests whose line is kept, 0 to 1. The kept line says it.
        slow: Seconds from which a successful HTTP request is always kept.
        exclude_paths: Paths, with everything below them, whose successful requests are not logged unless slow.
        query: Log the query string, with its secrets redacted.
        trusted_proxies: Whose forwarding headers are believed; see `TrustedProxies`.
        formatter: Makes the lines, in the place of one made from the tags above.
        sink: Takes the lines. None: the default sink of the process at the time.
        random: A number from 0 to 1, for the sampling.
        clock: Where this layer is the outermost: what the record reads its times from, in seconds; monotonic.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: str = "",
        environment: str = "",
        version: str = "",
        level: str = "INFO",
        client_error_level: Literal["INFO", "WARN"] = "INFO",
        sample_rate: float = 1.0,
        slow: float = 1.0,
        exclude_paths: Iterable[str] = (),
        query: bool = False,
        trusted_proxies: TrustedProxies | Iterable[str] = (),
        formatter: LineFormatter | None = None,
        sink: LogSink | None = None,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        if level not in LEVELS:
            raise ValueError(f"level={level!r}: expected one of {', '.join(LEVELS)}")
        if client_error_level not in ("INFO", "WARN"):
            raise ValueError(f"client_error_level={client_error_level!r}: expected 'INFO' or 'WARN'")
        if not 0 <= sample_rate <= 1:
            raise ValueError(f"sample_rate={sample_rate!r}: expected a share, 0 to 1")
        if not slow >= 0:
            raise ValueError(f"slow={slow!r}: expected seconds, 0 or more")
        super().__init__(app, clock)
        self._formatter = formatter or LineFormatter(
            service=service, environment=environment, version=version
        )
        self._sink = sink
        self._written = frozenset(name for name, number in LEVELS.items() if number >= LEVELS[level])
        self._client_error_level = client_error_level
        self._sample_rate = sample_rate
        self._slow = slow
        self._excluded = PathTable(dict.fromkeys(exclude_paths, True), "exclude_paths")
        self._selective = sample_rate < 1 or bool(self._excluded)
        self._query = query
        self._proxies = TrustedProxies.of(trusted_proxies)
        self._random = random
        self._hook = self._on_end  # bound once, not for every request

    def begin(self, record: RequestContext, scope: Scope) -> ASGIApp:  # noqa: ARG002 - as in the base class
        """Take charge of the line of a request."""
        if not record.logged:
            record.logged = True
            record.on_end.append(self._hook)
        return self.app

    def _on_end(self, record: RequestContext) -> None:
        status = record.status or 0
        failed = status >= _SERVER_ERROR or record.outcome in _FAILURE
        level = "ERROR" if failed else self._client_error_level if status >= _CLIENT_ERROR else "INFO"
        if level not in self._written:
            return
        sample_rate = None
        if self._selective and record.outcome in _SUCCESS and not self._is_slow(record):
            if self._excluded.get(record.path, default=False):
                return
            if self._sample_rate < 1:
                sample_rate = self._sample_rate
                if self._random() >= sample_rate:
                    return
        scope = record.scope or {"headers": ()}
        if record.client_address is None:
            record.client_address = self._proxies.client(scope)
        line = self._formatter.request(
            record,
            level,
            record.client_address,
            header(scope, b"user-agent"),
            query=scope.get("query_string") if self._query else None,
            sample_rate=sample_rate,
        )
        (self._sink or default_sink()).write(line, urgent=failed)
        if failed and record.exception is not None:
            mark_logged(record.exception)

    def _is_slow(self, record: RequestContext) -> bool:
        return record.kind == "http" and record.duration >= self._slow

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the lines leave before the server is told that it may end."""

        async def send_wrapper(message: Message) -> None:
            if message["type"] in _SHUTDOWN:
                await to_thread.run_sync((self._sink or default_sink()).flush, abandon_on_cancel=True)
            await send(message)

        await self.app(scope, receive, send_wrapper)
