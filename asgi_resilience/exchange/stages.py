"""The staged timeout of one request, as a state machine; `middleware/timeout.py` says what it is for.

    stage      ends with                        when its time is over
    WAITING    http.response.start              the client gets a 504 at that moment (408 if it still owed its body)
    STREAMING  the last body message            the response is cut off, so that no half body looks whole
    DONE       -                                never: background tasks run to their end
    ANSWERED   the end of the app               the client has its 504; what the app still sends is dropped
    CUT        the end of the app               the same, after the response had started

This file holds what does not depend on the event loop; `task.py` runs it on asyncio, `structured.py` on trio.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from math import inf
from typing import Any, Final, Protocol

from anyio.lowlevel import checkpoint

from asgi_resilience.context import ASGIApp, Message, Receive, RequestContext, Scope, Send
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.errors import AppError, RequestTimedOut
from asgi_resilience.recorder import ends_response
from asgi_resilience.timeouts import Timeouts

__all__ = ("ANSWERED", "CUT", "DONE", "GRACE", "STREAMING", "WAITING", "Exchange")

WAITING, STREAMING, DONE, ANSWERED, CUT = range(5)

_logger = logging.getLogger("asgi_resilience.timeout")
GRACE: Final = 1.0
"""Seconds that a handler has to end after its time is over before it counts as an overrun."""


class Layer(Protocol):
    """What an exchange needs of the timeout layer that it belongs to."""

    @property
    def errors(self) -> ErrorRenderer:
        """How the 504 and the 408 look."""
        ...

    def overran(self, record: RequestContext) -> None:
        """A handler still runs although its time was over."""


class Exchange:
    """What both backends share: the stages, and the `send` and `receive` that the app is given."""

    __slots__ = (
        "_body_arrived",
        "_ended",
        "_headers",
        "_idle",
        "_layer",
        "_now",
        "_outer_deadline",
        "_receive",
        "_receiving",
        "_record",
        "_scope",
        "_send",
        "_silent_since",
        "_stage",
        "_task",
        "_timeouts",
        "_trailers",
    )

    _now: Callable[[], float]  # a backend's, set in `run`
    _headers: Any  # set with STREAMING

    def __init__(
        self,
        layer: Layer,
        timeouts: Timeouts,
        record: RequestContext,
        scope: Scope,
        receive: Receive,
        send: Send,
        task: Any = None,  # of asyncio, that of the request
    ) -> None:
        self._task = task
        self._layer = layer
        self._timeouts = timeouts
        self._record = record
        self._scope = scope
        self._receive = receive
        self._send = send
        self._stage = WAITING
        self._body_arrived = self._receiving = self._trailers = self._ended = False
        self._idle = timeouts.stream_idle
        self._silent_since = inf  # while the app is not silent
        self._outer_deadline = record.deadline

    # ------------------------------------------------------------------ what a backend provides

    async def run(self, app: ASGIApp) -> None:
        """Call the app, and return or raise as the layer should."""
        raise NotImplementedError

    def streams(self) -> None:
        """The response has started: from now on, silence of more than `self._idle` seconds is too much."""
        raise NotImplementedError

    def stop(self) -> None:
        """The handler is still there after its time was over: see to it that it ends."""

    # ------------------------------------------------------------------ what the app is given

    async def receive(self) -> Message:
        """The server's `receive`; knows whether the app is waiting for the client's body."""
        self._receiving = not self._body_arrived
        try:
            message = await self._receive()
        finally:
            self._receiving = False
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._body_arrived = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """The server's `send`, with the stages moved along; what only passes does so without a coroutine of ours."""
        stage = self._stage
        if stage == STREAMING:
            if not ends_response(message, trailers=self._trailers):
                return self._send_part(message)
            self._stage = DONE
        elif stage == WAITING:
            if message["type"] == "http.response.start":
                return self._send_part(self._start(message))
        elif stage != DONE:
            return self._send_late()
        return self._send(message)

    async def _send_part(self, message: Message) -> None:
        # While the client makes `send` wait, the app is not silent.
        self._silent_since = inf
        await self._send(message)
        self._silent_since = self._now()

    def _start(self, message: Message) -> Message:
        headers: Any = message.get("headers", ())
        if not isinstance(headers, list | tuple):  # it can be read only once
            headers = [*headers]
            message = {**message, "headers": headers}
        self._stage = STREAMING
        self._headers = headers
        self._trailers = message.get("trailers", False)
        self._record.deadline = self._outer_deadline
        if self._timeouts.event_stream_idle is not None and _is_event_stream(self._headers):
            self._idle = self._timeouts.event_stream_idle
        self.streams()
        return message

    async def _send_late(self) -> None:
        if self._stage == CUT:
            raise self._cut_off()
        # The client has its answer. Yield, or an endless stream that swallowed its cancellation stops the loop.
        self.stop()
        await checkpoint()

    # ------------------------------------------------------------------ when the time is over

    def _quiet_left(self) -> float:
        """Seconds for which a response may go on being silent; 0 or less: it has been for too long."""
        # The content type is looked at only now: almost no response is ever silent for so long.
        if self._timeouts.event_stream_idle is None and _is_event_stream(self._headers):
            self._idle = None
        if self._idle is None:
            return inf
        return min(self._idle, self._silent_since + self._idle - self._now())

    def _late_answer(self, where: str) -> tuple[AppError, list[tuple[bytes, bytes]]]:
        self._stage = ANSWERED
        self._record.outcome = "timeout"
        seconds = f"{self._timeouts.response:g} s"
        if self._receiving:
            self._record.error_message = f"The request body did not arrive within {seconds}"
            # The rest of the body may still come, so the connection can't be used again (RFC 9110 §15.5.9).
            closing = [(b"connection", b"close")] if self._scope.get("http_version", "1.1") < "2" else []
            return AppError(code="REQUEST_BODY_TIMEOUT"), closing
        self._record.error_message = f"No response within {seconds}{where}"
        return RequestTimedOut(), []

    async def _answer(self, error: AppError, headers: list[tuple[bytes, bytes]]) -> None:
        errors = self._layer.errors
        failure = errors.catalogue.classify(error)
        try:
            await errors.answer(self._scope, self._send, failure, headers=headers)
        except OSError:  # the client has gone: nobody is left to answer
            pass
        except Exception:
            _logger.exception("The answer to a request that timed out could not be sent")

    def _cut_off(self) -> AppError:
        self._record.outcome = "truncated"
        return RequestTimedOut(details="The response was cut off: it was silent, or went on, for too long")

    def _set_deadline(self, deadline: float) -> None:
        if self._outer_deadline is None or deadline < self._outer_deadline:
            self._record.deadline = deadline

    def _end(self) -> None:
        self._ended = True
        self._record.deadline = self._outer_deadline

    def _count_overrun(self) -> None:
        if self._ended:
            return
        self._layer.overran(self._record)

    def _after_deadline(self, error: Exception) -> None:
        # Raised by our own `send`, or by a handler that was already told to stop: worth knowing, too late to answer.
        if not isinstance(error, RequestTimedOut):
            _logger.warning("A handler raised after its time was over", exc_info=error)


def _is_event_stream(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in headers
    )
