"""What can be wrong with the function that a call is given, and the TypeError that says so."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ("check_decorated", "refuse_not_awaitable", "refuse_not_callable")


def refuse_not_callable(name: str, func: object) -> NoReturn:
    """Raise the TypeError for a `func` that can't be called.

    Raises:
        TypeError: Always.
    """
    if inspect.iscoroutine(func):
        func.close()  # it will never be awaited, and must not warn of that as well
        raise TypeError(
            f"{name}.call() got a coroutine that was made already, and could not be made again for a retry: "
            f"pass the function and its arguments, {name}.call({func.__name__}, …), not {name}.call({func.__name__}(…))"
        )
    raise TypeError(f"{name}.call() expects an async function and its arguments, got {func!r}")


def refuse_not_awaitable(name: str, func: object, result: object) -> NoReturn:
    """Raise the TypeError for a `func` that returned what can't be awaited.

    Raises:
        TypeError: Always.
    """
    what = getattr(func, "__qualname__", repr(func))
    if inspect.isasyncgen(result):
        raise TypeError(
            f"{name}.call({what}): an async generator can't be retried once it has given out its first item: "
            "wrap the call that opens the stream, or collect the items in an async function"
        )
    raise TypeError(
        f"{name}.call({what}): expected an awaitable, got {type(result).__qualname__}: a sync function blocks the event "
        f"loop; use an async one, or {name}.call(asyncio.to_thread, {what}, …)"
    )


def check_decorated(name: str, func: Callable[..., Any]) -> None:
    """Check a function at its decoration, before it does nothing in silence.

    Raises:
        TypeError: It is not an async function.
    """
    inner: Any = func
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not callable(inner):
        refuse_not_callable(name, inner)
    called = inner if inspect.isroutine(inner) else type(inner).__call__
    what = getattr(inner, "__qualname__", repr(inner))
    if inspect.isasyncgenfunction(called):
        raise TypeError(
            f"@{name} on the async generator {what}: a stream can't be retried once it has given out its first item; "
            "decorate the async function that opens it"
        )
    if not inspect.iscoroutinefunction(called):
        raise TypeError(f"@{name} on {what}: expected an async function; a sync one blocks the event loop")
