"""An event loop on which waiting costs nothing: when there is nothing to do before the next timer, it is that time.

A test with a timeout of a day takes milliseconds, and always the same way:

    anyio.run(main, backend_options={"loop_factory": VirtualTimeLoop})

Only the loop's clock is virtual (`loop.time()`, `asyncio.sleep`, `asyncio.timeout`, `anyio.fail_after`, …);
`time.monotonic()` and other threads know nothing of it. Sockets and threads work: what is ready is handled before
the clock moves, and a loop without timers really waits for them.
"""

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import FileDescriptorLike

__all__ = ("VirtualTimeLoop", "virtual_time")


class _JumpingSelector(selectors.BaseSelector):
    """A selector that, instead of waiting for `timeout` seconds in vain, adds them to `now`."""

    def __init__(self, autojump_threshold: float) -> None:
        self.now = 0.0
        self._threshold = autojump_threshold
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return self._real.select(timeout)
        ready = self._real.select(self._threshold)
        if not ready:
            self.now += timeout
        return ready

    def register(self, fileobj: "FileDescriptorLike", events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: "FileDescriptorLike") -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: "FileDescriptorLike", events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> "Mapping[FileDescriptorLike, selectors.SelectorKey]":
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock starts at 0 and jumps to the next timer as soon as every task waits.

    Args:
        autojump_threshold: Real seconds to wait for sockets and threads before the clock jumps; default 0.0. A test in
            which timers are armed while a thread works needs a little (0.05); all others are exact without.
    """

    def __init__(self, *, autojump_threshold: float = 0.0) -> None:
        self._jumping = _JumpingSelector(autojump_threshold)
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now


def virtual_time(
    backend: Literal["asyncio", "trio"] = "asyncio", *, autojump_threshold: float = 0.0
) -> tuple[str, dict[str, Any]]:
    """The value for anyio's `anyio_backend` fixture that runs every `@pytest.mark.anyio` test on virtual time.

        @pytest.fixture(params=["asyncio", "trio"])
        def anyio_backend(request):
            return virtual_time(request.param)

    Args:
        backend: `"asyncio"` gives a `VirtualTimeLoop`, `"trio"` a `trio.testing.MockClock`.
        autojump_threshold: As for `VirtualTimeLoop`.

    Raises:
        ImportError: For `"trio"` when trio is not installed.
    """
    if backend == "trio":
        from trio.testing import MockClock  # noqa: PLC0415 - optional: only those who test on trio have it

        return "trio", {"clock": MockClock(autojump_threshold=autojump_threshold)}
    return "asyncio", {"loop_factory": lambda: VirtualTimeLoop(autojump_threshold=autojump_threshold)}
