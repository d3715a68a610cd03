"""A sink that keeps what it is given."""

from typing import Any


class KeptNumbers:
    """Everything that was measured, in order, as (method, name, value, tags)."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, float, tuple[str, ...]]] = []

    def increment(self, name: str, /, value: float = 1, tags: tuple[str, ...] = ()) -> None:
        self.all.append(("increment", name, value, tags))

    def gauge(self, name: str, /, value: float, tags: tuple[str, ...] = ()) -> None:
        self.all.append(("gauge", name, value, tags))

    def histogram(self, name: str, /, value: float, tags: tuple[str, ...] = ()) -> None:
        self.all.append(("histogram", name, value, tags))

    def clear(self) -> dict[str, Any]:
        """What was measured since the last time, by name, and by tag where there is one; the last of each counts."""
        found: dict[str, Any] = {" ".join((name, *tags)): value for _, name, value, tags in self.all}
        self.all.clear()
        return found
