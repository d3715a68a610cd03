"""No request hangs: a limit until the response starts, one for silence within it, and one for the whole of it.

When the time is over before the response has started, the client gets a 504 **at that moment**: the answer is sent
by a task of its own while the handler is being cancelled, because a handler may shield itself, swallow the
cancellation, or sit in a thread that nobody can cancel. When the response has started, it is cut off so that the
client can't mistake half a body for a whole one. Once the last body message is sent nothing is limited any more:
background tasks run to their end. Websockets and lifespan pass through.

Only our own expiry is translated. A cancellation by the server, a client that leaves, and the app's own
`asyncio.timeout` or `anyio.fail_after` keep their meaning, and `task.cancelling()` is put back to what it was.
The stages are drawn in `asgi_resilience/exchange/stages.py`.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from asgi_resilience.context import KEY, ASGIApp, Receive, RequestContext, Scope, Send, header
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.errors import RequestTimedOut
from asgi_resilience.exchange.structured import StructuredExchange
from asgi_resilience.exchange.task import TaskExchange
from asgi_resilience.paths import PathTable
from asgi_resilience.peers import TrustedProxies, peer
from asgi_resilience.recorder import observe
from asgi_resilience.timeouts import Timeouts

__all__ = ("TimeoutMiddleware", "Timeouts")

_logger = logging.getLogger("asgi_resilience.timeout")
_LONGEST_DEADLINE_HEADER = 9  # digits: a week and a half in milliseconds
_EXPIRED = Timeouts()  # told by identity


class TimeoutMiddleware:
    """Answers 504 when the app does not start its response in time, and cuts off a response that stalls.

    Args:
        app: The ASGI app to guard.
        seconds: Until the response starts. None: no limit.
        stream_idle: Between two body messages, while the app is silent; the time that a slow client makes the app
            wait does not count. None: no limit.
        event_stream_idle: The same for `text/event-stream`. None: no limit.
        stream: From the start of the response to its last message. None: no limit.
        paths: Other limits for some paths and everything below them: seconds or None in place of `seconds`, or a
            whole `Timeouts`. The longest path wins.
        exempt_paths: Paths without any limit, with everything below them.
        deadline_header: Name of a request header that gives the time left in milliseconds, such as
            `X-Request-Timeout-Ms`; it can shorten `seconds`, never lengthen it. None: not read.
        trusted_proxies: Addresses or networks of peers whose `deadline_header` is believed.
        errors: How the 504 and the 408 look.

    Attributes:
        errors: As given.
        overruns: How many handlers still ran one second after their time was over; each is also logged.

    Raises:
        ValueError: A limit is not above 0, or a path does not start with a slash; it names the option.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        seconds: float | None = 30.0,
        stream_idle: float | None = 30.0,
        event_stream_idle: float | None = None,
        stream: float | None = None,
        paths: Mapping[str, float | Timeouts | None] | None = None,
        exempt_paths: Iterable[str] = (),
        deadline_header: str | None = None,
        trusted_proxies: TrustedProxies | Iterable[str] = (),
        errors: ErrorRenderer | None = None,
    ) -> None:
        self.app = app
        self.overruns = 0
        self._timeouts = Timeouts(seconds, stream_idle, event_stream_idle, stream)
        overrides: dict[str, Timeouts | None] = dict.fromkeys(exempt_paths)
        for path, limit in (paths or {}).items():
            overrides[path] = (
                limit if isinstance(limit, Timeouts) else replace(self._timeouts, response=limit)
            )
        self._paths = PathTable(overrides, "paths and exempt_paths") if overrides else None
        self._deadline_header = deadline_header.lower().encode("latin-1") if deadline_header else None
        self._trusted = TrustedProxies.of(trusted_proxies)
        self.errors = errors or ErrorRenderer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on under its limits."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record: RequestContext | None = scope.get(KEY)
        if record is None:
            await observe(self, scope, receive, send)
            return
        timeouts = self._timeouts if self._paths is None else self._paths.get(scope["path"], self._timeouts)
        if timeouts is not None and self._deadline_header is not None:
            timeouts = self._shortened(scope, timeouts, self._deadline_header)
        if timeouts is None:
            await self.app(scope, receive, send)
            return
        if timeouts is _EXPIRED:
            record.outcome = "timeout"
            record.error_message = "The caller's deadline had passed when the request arrived"
            await self.errors.answer(scope, send, self.errors.catalogue.classify(RequestTimedOut()))
            return
        try:
            task = asyncio.current_task()  # asked once: on 3.11 the question is a system call
        except RuntimeError:  # no event loop of asyncio: trio
            task = None
        exchange = StructuredExchange if task is None else TaskExchange
        await exchange(self, timeouts, record, scope, receive, send, task).run(self.app)

    def _shortened(self, scope: Scope, timeouts: Timeouts, name: bytes) -> Timeouts:
        """The limits with the caller's deadline taken in; `_EXPIRED` when it has passed already."""
        value = header(scope, name)
        if value is None or not value.isdigit() or len(value) > _LONGEST_DEADLINE_HEADER:
            return timeouts
        if not self._trusted.trusts(peer(scope)):
            return timeouts
        left = int(value) / 1000
        if left == 0:
            return _EXPIRED
        if timeouts.response is not None and timeouts.response <= left:
            return timeouts
        return replace(timeouts, response=left)

    def overran(self, record: RequestContext) -> None:
        """Count and log a handler that still runs although its time was over."""
        self.overruns += 1
        _logger.warning(
            "A handler still runs after its time was over: %s %s",
            record.method,
            record.route or record.path,
            extra={"overruns": self.overruns},
        )
