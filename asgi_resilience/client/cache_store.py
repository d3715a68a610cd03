"""Where cached values are kept: a protocol of three methods, and a store in this process's memory."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ("Entry", "MemoryStore", "Store")


@dataclass(frozen=True, slots=True)
class Entry:
    """A value, and when it was true.

    Attributes:
        value: What the dependency returned.
        stored_at: On the clock of the `Cached` that stored it.
    """

    value: Any
    stored_at: float


class Store(Protocol):
    """Where values are kept. What it raises is reported once, and counts as a miss."""

    async def get(self, key: Hashable, /) -> Entry | None:
        """The entry of a key."""
        ...

    async def set(self, key: Hashable, entry: Entry, /) -> None:
        """Keep an entry."""
        ...

    async def delete(self, key: Hashable, /) -> None:
        """Forget an entry, if there is one."""
        ...


class MemoryStore:
    """Keeps values in this process.

    Args:
        max_entries: The ones used longest ago go first. Default 1024.

    Raises:
        ValueError: `max_entries` is below 1.
    """

    def __init__(self, max_entries: int = 1024) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries={max_entries!r}: expected 1 or more")
        self._max_entries = max_entries
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()

    async def get(self, key: Hashable, /) -> Entry | None:
        """The entry of a key."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    async def set(self, key: Hashable, entry: Entry, /) -> None:
        """Keep an entry."""
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    async def delete(self, key: Hashable, /) -> None:
        """Forget an entry, if there is one."""
        self._entries.pop(key, None)
