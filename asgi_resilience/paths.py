"""Which rule holds for a path: the one rule of matching for every option that names paths."""

from collections.abc import Mapping
from typing import Generic, TypeVar

__all__ = ("PathTable",)

T = TypeVar("T")


class PathTable(Generic[T]):
    """Values by path: an entry covers its path and everything below it; the longest entry wins.

    `"/reports"` covers `/reports` and `/reports/2026`, not `/reports-old`; `"/"` covers everything.

    Args:
        entries: From path to value.
        option: The name of the option, for the error.

    Raises:
        ValueError: An entry does not start with a slash; it names the option and the entry.
    """

    __slots__ = ("_entries", "_longest")

    def __init__(self, entries: Mapping[str, T], option: str) -> None:
        for path in entries:
            if not path.startswith("/"):
                raise ValueError(f"{option}: {path!r} is no path; expected one that starts with '/'")
        self._entries = {path.rstrip("/"): value for path, value in entries.items()}
        self._longest = max(map(len, self._entries), default=0)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def get(self, path: str, default: T) -> T:
        """The value for a path, or `default` when no entry covers it."""
        entries = self._entries
        rest = path.rstrip("/")
        if len(rest) > self._longest:  # a path of ten thousand segments must not cost ten thousand look-ups
            rest = rest[: max(0, rest.rfind("/", 0, self._longest + 1))]
        while True:
            if rest in entries:
                return entries[rest]
            if not rest:
                return default
            rest = rest.rpartition("/")[0]
