"""What a forked child must not share with its parent: numbers that the parent will report, locks, threads and sockets."""

import os
from typing import Final, Protocol
from weakref import WeakSet

__all__ = ("Forkable", "starts_anew")


class Forkable(Protocol):
    """What has something to leave behind."""

    def after_fork(self) -> None:
        """Start with nothing; called in the child before any of its own code."""


_all: Final[WeakSet[Forkable]] = WeakSet()


def starts_anew(each: Forkable) -> None:
    """Have `each.after_fork()` called in every forked child, as long as somebody holds it."""
    _all.add(each)


def _after_fork() -> None:
    for each in tuple(_all):
        each.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but on Windows
    os.register_at_fork(after_in_child=_after_fork)
