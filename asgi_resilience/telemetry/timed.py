"""Timing a block or a function, however many do it at once with one and the same object."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, cast

__all__ = ("Finished", "Timed", "outcome_tags")

P = ParamSpec("P")
R = TypeVar("R")
Finished = Callable[[float, Mapping[str, object], BaseException | None], None]
"""Called with the seconds, the tags, and what was raised."""

_Block = tuple["Timed", float, "_Block | None"]
_OK: Final[Mapping[str, object]] = {"outcome": "ok"}
_CANCELLED: Final[Mapping[str, object]] = {"outcome": "cancelled"}

_blocks: ContextVar["_Block | None"] = ContextVar("asgi_resilience_timed_blocks", default=None)
"""The innermost timed block of this task, when it began, and the one around it: one object can stand for several."""


class Timed:
    """Times what it is wrapped around; made by `Timer.timed`."""

    __slots__ = ("_check", "_clock", "_entered", "_finished", "_tags")

    def __init__(
        self,
        finished: Finished,
        tags: Mapping[str, object],
        check: Callable[[Mapping[str, object]], None],
        clock: Callable[[], float],
    ) -> None:
        self._finished = finished
        self._tags = tags
        self._check = check
        self._clock = clock
        self._entered = 0.0

    def __enter__(self) -> Self:
        now = self._entered = self._clock()
        _blocks.set((self, now, _blocks.get()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ended = self._clock()
        began = self._entered  # of a block that is left in another context: a generator's, in a thread pool
        block = _blocks.get()
        while block is not None and block[0] is not self:
            block = block[2]
        if block is not None:
            began = block[1]
            _blocks.set(block[2])
        self._finished(ended - began, self._tags, error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, func: Callable[P, R]) -> Callable[P, R]:
        """Time each call of `func`.

        Raises:
            ValueError: A tag was not declared.
            TypeError: `func` can't be called, or is a generator function.
        """
        self._check(self._tags)
        if not callable(func):
            raise TypeError(f"timed() decorates a function, got {func!r}")
        if isgeneratorfunction(func) or isasyncgenfunction(func):
            raise TypeError(f"{func.__qualname__} is a generator: put `with timed(...)` where it is iterated")
        if iscoroutinefunction(func) or iscoroutinefunction(type(func).__call__):
            return cast("Callable[P, R]", self._around_async(func))
        return self._around(func)

    def _around(self, func: Callable[P, R]) -> Callable[P, R]:
        @wraps(func)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            began = self._clock()
            raised: BaseException | None = None
            try:
                return func(*args, **kwargs)
            except BaseException as error:
                raised = error
                raise
            finally:
                self._finished(self._clock() - began, self._tags, raised)
                del raised  # it holds this frame

        return timed

    def _around_async(self, func: Callable[..., Any]) -> Any:
        @wraps(func)
        async def timed(*args: Any, **kwargs: Any) -> Any:
            began = self._clock()
            raised: BaseException | None = None
            try:
                return await func(*args, **kwargs)
            except BaseException as error:
                raised = error
                raise
            finally:
                self._finished(self._clock() - began, self._tags, raised)
                del raised  # it holds this frame

        return timed


def outcome_tags(error: BaseException | None) -> Mapping[str, object]:
    """How it ended, as tags."""
    if error is None:
        return _OK
    trio = cast("Any", sys.modules.get("trio"))
    if isinstance(error, asyncio.CancelledError) or (trio is not None and isinstance(error, trio.Cancelled)):
        return _CANCELLED
    return {"outcome": "error", "error": type(error).__name__}
