"""The staged timeout on any backend of anyio: a watcher beside the app."""

from dataclasses import fields
from math import inf

import anyio

from asgi_resilience.context import ASGIApp
from asgi_resilience.exchange.stages import ANSWERED, CUT, DONE, GRACE, WAITING, Exchange

__all__ = ("StructuredExchange",)


class StructuredExchange(Exchange):
    """On any backend of anyio: a watcher beside the app cancels the app's scope, and answers."""

    __slots__ = ("_answered", "_app_scope", "_response_ends_at", "_stream_ends_at")

    async def run(self, app: ASGIApp) -> None:  # noqa: D102 - as in the base class
        self._now = anyio.current_time
        self._response_ends_at = self._stream_ends_at = inf
        self._answered = anyio.Event()
        if self._timeouts.response is not None:
            self._response_ends_at = self._now() + self._timeouts.response
            self._set_deadline(self._response_ends_at)
        raised: BaseException | None = None
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as self._app_scope:
                group.start_soon(self._watch)
                try:
                    await app(self._scope, self.receive, self.send)
                except anyio.get_cancelled_exc_class():
                    raise
                except BaseException as error:  # noqa: BLE001 - raised again below; the group would wrap it
                    raised = error
            self._end()
            if self._stage == ANSWERED:
                await self._answered.wait()
            group.cancel_scope.cancel()
        if self._stage < ANSWERED or not isinstance(raised, Exception | None):
            if raised is not None:
                raise raised
            return
        if raised is not None:
            self._after_deadline(raised)
        if self._stage == CUT:
            raise self._cut_off() from None

    def streams(self) -> None:  # noqa: D102 - as in the base class
        if self._timeouts.stream is not None:
            self._stream_ends_at = self._now() + self._timeouts.stream

    def _left(self) -> float:
        if self._stage == WAITING:
            return self._response_ends_at - self._now()
        return min(self._stream_ends_at - self._now(), self._quiet_left())

    async def _watch(self) -> None:
        # A limit that is set while the watcher sleeps ends later than this nap, so it can't be overslept.
        limits = (getattr(self._timeouts, each.name) for each in fields(self._timeouts))
        nap = min((limit for limit in limits if limit is not None), default=inf)
        while self._stage < DONE:
            left = self._left()
            if left > 0:
                await anyio.sleep(min(left, nap))
            elif self._stage == WAITING:
                error, headers = self._late_answer("")
                self._app_scope.cancel()
                await self._answer(error, headers)
                self._answered.set()
            else:
                self._stage = CUT
                self._app_scope.cancel()
        if self._stage > DONE:
            await anyio.sleep(GRACE)
            self._count_overrun()
