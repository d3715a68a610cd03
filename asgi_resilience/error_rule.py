"""Which requests count as errors in the metrics: by status, by class of statuses, by error code."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ("ErrorRule",)

_CLASS: Final = re.compile(r"[1-5]xx")
_STATUS: Final = re.compile(r"[1-5]\d\d")
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]+")


class ErrorRule:
    """Says of a status and an error code whether they are an error.

    Args:
        errors: Statuses (`429`), classes of them (`"5xx"`) and error codes (`"AUTH_TOKEN_EXPIRED"`).

    Raises:
        ValueError: One of them is something else.
    """

    __slots__ = ("_codes", "_statuses")

    def __init__(self, errors: Iterable[int | str]) -> None:
        entries = [errors] if isinstance(errors, str) else [*errors]
        statuses: set[int] = set()
        codes: set[str] = set()
        for entry in entries:
            text = str(entry)
            if _CLASS.fullmatch(text):
                first = int(text[0]) * 100
                statuses.update(range(first, first + 100))
            elif _STATUS.fullmatch(text):
                statuses.add(int(text))
            elif _CODE.fullmatch(text):
                codes.add(text)
            else:
                raise ValueError(
                    f"errors={entry!r}: expected a status, a class such as '5xx', or an error code"
                )
        self._statuses, self._codes = frozenset(statuses), frozenset(codes)

    def __call__(self, status: int | None, error_code: str | None) -> bool:
        """Whether this is an error."""
        return status in self._statuses or error_code in self._codes
