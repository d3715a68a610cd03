"""The two moments of a process that Python tells of: it has been forked, and it ends.

What a forked child must not share with its parent are numbers that the parent will report, ids that it will give out,
locks, threads and sockets.
"""

import os
import sys
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakSet

__all__ = ("Forkable", "in_forked_children", "starts_anew", "when_child_ends")


class Forkable(Protocol):
    """What has something to leave behind."""

    def after_fork(self) -> None:
        """Start with nothing; called in the child before any of its own code."""


_all: Final[WeakSet[Forkable]] = WeakSet()


def starts_anew(each: Forkable) -> None:
    """Have `each.after_fork()` called in every forked child, as long as somebody holds it."""
    _all.add(each)


def in_forked_children(call: Callable[[], object]) -> None:
    """Have `call` called in every forked child, before any of its own code; Windows knows no fork."""
    if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but on Windows
        os.register_at_fork(after_in_child=call)


def when_child_ends(call: Callable[[], object]) -> None:
    """Have `call` called at the end of this process, if it is a child of `multiprocessing`, such as uvicorn's workers.

    Those end without `atexit`; they have a register of their own, which is empty when a child begins: call this in the
    child.
    """
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415 - only where it is there already

        Finalize(None, call, exitpriority=0)


def _after_fork() -> None:
    for each in tuple(_all):
        each.after_fork()


in_forked_children(_after_fork)
