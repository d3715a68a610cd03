"""Fallbacks: what answers when the dependency does not, and no retry has helped.

A fallback wraps a call and decides what an error of it means to the caller. Of several, the first is tried first; the
next one hears of what that has raised.

No fallback hides a cancellation, nor a mistake in the program.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeAlias

from asgi_resilience.client.classification import Outcome
from asgi_resilience.client.degraded import mark_degraded

if TYPE_CHECKING:
    from asgi_resilience.client.call import Call as OutboundCall
    from asgi_resilience.client.dependency import Dependency

__all__ = ("Call", "Fallback", "Key", "Previous", "Proceed", "call_key", "not_a_bug", "unavailable")

Proceed: TypeAlias = Callable[[], Awaitable[Any]]
Key: TypeAlias = Callable[..., Hashable]


class Fallback(ABC):
    """Wraps the calls of a dependency. Make your own by writing `run`."""

    @abstractmethod
    async def run(self, call: "OutboundCall[Any]", proceed: Proceed) -> Any:
        """Answer a call.

        Args:
            call: What is called: `call.func`, `call.args`, `call.kwargs`.
            proceed: Makes the call, with its retries. Call it at most once.

        Returns:
            The result of `proceed()`, or what stands in for it; then say so by `mark_degraded(call, self, error)`.

        Raises:
            Exception: What `proceed()` raised, if there is nothing to stand in for it.
        """

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to do
        """Shut down: give back what is held. By default, nothing is."""


def unavailable(dependency: "Dependency", error: Exception) -> bool:
    """Whether `error` says that the dependency could not do its work: not a bug, and not an answer such as 404."""
    rule = dependency.classify(error).rule
    return not rule.bug and rule.outcome is not Outcome.ANSWERED


def not_a_bug(dependency: "Dependency", error: Exception) -> bool:
    """Whether `error` is anything but a mistake in the program."""
    return not dependency.classify(error).rule.bug


def call_key(call: "OutboundCall[Any]", key: Key | None) -> Hashable:
    """What makes two calls the same call: what `key` says of the arguments, or else the call itself.

    Raises:
        TypeError: An argument can't be hashed.
    """
    if key is not None:
        return key(*call.args, **call.kwargs)
    found = call.identity
    try:
        hash(found)
    except TypeError:
        what = getattr(call.func, "__qualname__", repr(call.func))
        raise TypeError(
            f"{call.dependency.name}.call({what}, …): its arguments can't be told apart by hashing them; "
            "give the fallback a key=, a function of the arguments"
        ) from None
    return found


class Call(Fallback):
    """Calls another function with the same arguments: the database when the cache is down.

    Args:
        func: An async function. It runs within the request's deadline like everything else, but not under the breaker
            and timeout of the dependency that has failed: let it make its calls through a `Dependency` of its own.
        when: For which errors; default: the dependency could not do its work (no bug, and no answer such as a 404).
    """

    def __init__(
        self,
        func: Callable[..., Awaitable[Any]],
        *,
        when: "Callable[[Dependency, Exception], bool]" = unavailable,
    ) -> None:
        self._func = func
        self._when = when

    async def run(self, call: "OutboundCall[Any]", proceed: Proceed) -> Any:
        """Make the call, or the other one."""
        try:
            return await proceed()
        except Exception as error:
            if not self._when(call.dependency, error):
                raise
            result = await self._func(*call.args, **call.kwargs)
            mark_degraded(call, self, error)
            return result


class Previous(Fallback):
    """Answers with the last good value: the previous version of a model, yesterday's exchange rates.

    Args:
        key: A function of the call's arguments that says which calls can stand in for each other:
            `lambda name, version: name`. Default: only calls with the same arguments.
        max_entries: How many values are kept; the ones used longest ago go first. Default 128.
        when: For which errors; default: all but bugs. A missing new version is a reason to use the previous one.

    Raises:
        ValueError: `max_entries` is below 1.
    """

    def __init__(
        self,
        *,
        key: Key | None = None,
        max_entries: int = 128,
        when: "Callable[[Dependency, Exception], bool]" = not_a_bug,
    ) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries={max_entries!r}: expected 1 or more")
        self._key = key
        self._max_entries = max_entries
        self._when = when
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    async def run(self, call: "OutboundCall[Any]", proceed: Proceed) -> Any:
        """Make the call and keep its value, or give the value that was kept."""
        key = call_key(call, self._key)
        try:
            result = await proceed()
        except Exception as error:
            if key not in self._values or not self._when(call.dependency, error):
                raise
            self._values.move_to_end(key)
            mark_degraded(call, self, error)
            return self._values[key]
        if call.degraded:  # what stands in for a value is not one to keep
            return result
        self._values[key] = result
        self._values.move_to_end(key)
        if len(self._values) > self._max_entries:
            self._values.popitem(last=False)
        return result
