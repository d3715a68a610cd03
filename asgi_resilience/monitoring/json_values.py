"""What a JSON value is, told to the type checkers."""

from typing import Any, TypeGuard

__all__ = ("is_array", "is_object")


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """An object: names with values."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """An array."""
    return isinstance(value, list)
