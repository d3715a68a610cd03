"""Whether a task is inside a shielded cancel scope of anyio.

A native `task.cancel()` breaks such a shield. What it protects is worth waiting for: a connection that is being
handed back, or a worker thread, whose place in the thread limiter would be given away while the thread still works, so
that hanging threads would pile up without bound.

anyio keeps this to itself, hence the one look behind its curtain, only when a request has expired. Should a later
anyio hang its curtain elsewhere, the cancellation is native as in `asyncio.timeout`; a test tells.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ("is_shielded",)


def is_shielded(task: "asyncio.Task[Any]") -> bool:
    """Whether a cancellation of `task` from outside would break an anyio shield."""
    from anyio._backends import _asyncio as backend  # noqa: PLC0415 - not under trio, and only when it is needed

    state = getattr(backend, "_task_states", {}).get(task)
    scope = getattr(state, "cancel_scope", None)
    while scope is not None:
        if scope.shield:
            return True
        scope = getattr(scope, "_parent_scope", None)
    return False
