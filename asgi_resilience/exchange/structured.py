"""The staged timeout on any backend of anyio: a watcher beside the app."""

from dataclasses import fields
from math import inf

import anyio

from asgi_resilience.context import ASGIApp
from asgi_resilience.exchange.stages import ANSWERED, CUT, DONE, GRACE, WAITING, Exchange

__all__ = ("StructuredExchange",)


class StructuredExchange(Exchange):
    """On any backend of anyio: a watcher beside the app cancels the app's scope, and answers."""

    __slots__ = ("_answered", "_app_scope", "_expires_at", "_stream_ends_at")

    async def run(self, app: ASGIApp) -> None:  # noqa: D102 - as in the base class
        self._expires_at = self._stream_ends_at = inf
        self._answered = anyio.Event()
        if self._timeouts.response is not None:
            self._set_deadline(anyio.current_time() + self._timeouts.response)
            self.arm(self._timeouts.response)
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

    def arm(self, seconds: float | None) -> None:  # noqa: D102 - as in the base class
        self._expires_at = inf if seconds is None else anyio.current_time() + seconds

    def disarm(self) -> None:  # noqa: D102 - as in the base class
        self._expires_at = inf

    def limit_stream(self, seconds: float) -> None:  # noqa: D102 - as in the base class
        self._stream_ends_at = anyio.current_time() + seconds

    async def _watch(self) -> None:
        # A limit that is set while the watcher sleeps ends later than this nap, so it can't be overslept.
        limits = (getattr(self._timeouts, each.name) for each in fields(self._timeouts))
        nap = min((limit for limit in limits if limit is not None), default=inf)
        while self._stage < DONE:
            left = min(self._expires_at, self._stream_ends_at) - anyio.current_time()
            if left > 0:
                await anyio.sleep(min(left, nap))
            elif self._stage == WAITING:
                error, headers = self._late_answer("")
                self._app_scope.cancel()
                await self._answer(error, headers)
                self._answered.set()
            elif self._stream_ends_at > anyio.current_time() and self._tolerates_silence():
                self._expires_at = inf
            else:
                self._stage = CUT
                self._app_scope.cancel()
        if self._stage > DONE:
            await anyio.sleep(GRACE)
            self._count_overrun()
