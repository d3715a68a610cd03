"""Which calls may be made twice: those whose second time changes nothing, or that carry a key which says so.

RFC 9110 §9.2.2 names the methods. For the others there is `Idempotency-Key`: the receiver that sees a key again gives the
first answer again. One key belongs to one logical call, however often it is attempted, and survives a queue.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from uuid import uuid4

__all__ = ("IDEMPOTENT_METHODS", "current_idempotency_key", "idempotency_key", "new_idempotency_key")

IDEMPOTENT_METHODS: Final = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PUT", "QUERY", "TRACE"))

_key: ContextVar[str | None] = ContextVar("asgi_resilience.client.idempotency_key", default=None)


def new_idempotency_key() -> str:
    """A key that was never used before."""
    return str(uuid4())


def current_idempotency_key() -> str | None:
    """The key of the logical call that this code runs for, if it has one."""
    return _key.get()


@contextmanager
def idempotency_key(key: str | None = None) -> Generator[str]:
    """Give the calls inside the block this key, or a new one."""
    key = new_idempotency_key() if key is None else key
    token = _key.set(key)
    try:
        yield key
    finally:
        _key.reset(token)
