"""What the text of an environment variable means: one function for each kind of value; its docstring says the form."""

from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = (
    "Reader",
    "listed",
    "number",
    "numbers_by_path",
    "optional",
    "switch",
    "switch_or_listed",
    "switch_or_none",
    "text",
    "texts_by_path",
    "upper",
    "words",
)

Reader: TypeAlias = Callable[[str], Any]


def switch(value: str) -> bool:
    """True or false."""
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(value)


def number(value: str) -> float | None:
    """A number, or none."""
    return None if value.lower() == "none" else float(value)


def count(value: str) -> int | None:
    """A whole number, or none."""
    return None if value.lower() == "none" else int(value)


def text(value: str) -> str:
    """Text."""
    return value


def upper(value: str) -> str:
    """A level, in capitals or not; WARNING is WARN."""
    return "WARN" if value.upper() == "WARNING" else value.upper()


def optional(value: str) -> str | None:
    """Text, or none."""
    return None if value.lower() == "none" else value


def listed(value: str) -> tuple[str, ...]:
    """A list separated by commas, or none."""
    if value.lower() == "none":
        return ()
    return tuple(part.strip() for part in value.split(",") if part.strip())


def words(value: str) -> tuple[str, ...]:
    """A list separated by white space, or none: for regular expressions, in which commas stand."""
    return () if value.lower() == "none" else tuple(value.split())


def switch_or_listed(value: str) -> bool | tuple[str, ...]:
    """True, false, or networks separated by commas."""
    try:
        return switch(value)
    except ValueError:
        return listed(value)


def switch_or_none(value: str) -> bool | None:
    """True, false, or none."""
    return None if value.lower() == "none" else switch(value)


def numbers_by_path(value: str) -> dict[str, float | None]:
    """Paths with seconds, as in /reports=120,/stream=none."""
    return {path: number(inner) for path, inner in _pairs(value)}


def texts_by_path(value: str) -> dict[str, str | None]:
    """Paths with limits, as in /login=5/minute,/assets=none."""
    return {path: optional(inner) for path, inner in _pairs(value)}


def _pairs(value: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for part in listed(value):
        path, found, inner = part.partition("=")
        if not found:
            raise ValueError(value)
        pairs.append((path.strip(), inner.strip()))
    return pairs
