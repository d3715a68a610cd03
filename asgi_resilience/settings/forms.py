"""What each setting may be: functions that take a value and return it in the one form in which it is kept.

A value that does not fit is a ValueError that says what was expected; who calls knows the name of the setting. Where a
setting is the option of a layer, what the layer makes of it is asked, so that a mistake shows at once.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, cast

from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.paths import PathTable
from asgi_resilience.peers import TrustedProxies

__all__ = (
    "HEADER_NAME",
    "Form",
    "ask",
    "by_path",
    "count",
    "count_or_zero",
    "function_or_none",
    "header_name",
    "header_name_or_none",
    "name",
    "networks",
    "one_of",
    "or_none",
    "path",
    "paths",
    "seconds",
    "seconds_or_none",
    "seconds_or_zero",
    "several",
    "share",
    "switch",
    "switch_or_networks",
    "text",
    "threshold",
    "url_or_none",
)

Form = Callable[[Any], Any]

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2, token


def switch(value: Any) -> bool:
    """True or False; nothing that merely counts as one of them."""
    if not isinstance(value, bool):
        raise ValueError("expected True or False")  # noqa: TRY004 - every wrong setting is a ValueError
    return value


def text(value: Any) -> str:
    """Any text, in one line."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("expected text in one line")
    return value


def name(value: Any) -> str:
    """Text that is not empty."""
    if not text(value):
        raise ValueError("expected a name")
    return cast("str", value)


def or_none(form: Form) -> Form:
    """What `form` takes, or None."""
    return lambda value: None if value is None else form(value)


def one_of(*allowed: str) -> Form:
    """One of these words."""

    def form(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return cast("str", value)

    return form


def share(value: Any) -> float:
    """A part of the whole."""
    if not (_is_number(value) and 0 <= value <= 1):
        raise ValueError("expected a number from 0 to 1")
    return cast("float", value)


def threshold(value: Any) -> float:
    """Seconds from which something is noticed; infinity for never."""
    if not (_is_number(value) and value >= 0):
        raise ValueError("expected seconds, 0 or more")
    return cast("float", value)


def count(value: Any) -> int:
    """A number of things."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("expected a whole number, 1 or more")
    return value


def count_or_zero(value: Any) -> int:
    """A number of things, or none at all."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("expected a whole number, 0 or more")
    return value


def seconds(value: Any) -> float:
    """A length of time."""
    if not (_is_number(value) and 0 < value < inf):
        raise ValueError("expected seconds above 0")
    return cast("float", value)


def seconds_or_zero(value: Any) -> float:
    """A length of time, or none at all."""
    if not (_is_number(value) and 0 <= value < inf):
        raise ValueError("expected seconds, 0 or more")
    return cast("float", value)


def seconds_or_none(value: Any) -> float | None:
    """A limit in seconds, or none."""
    if value is not None and not (_is_number(value) and 0 < value < inf):
        raise ValueError("expected seconds above 0, or None for no limit")
    return cast("float | None", value)


def path(value: Any) -> str:
    """One path."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError("expected a path that starts with '/'")
    return value


def paths(value: Any) -> tuple[str, ...]:
    """Several paths."""
    return tuple(path(each) for each in several(value))


def header_name(value: Any) -> str:
    """The name of a header."""
    if not isinstance(value, str) or not HEADER_NAME.fullmatch(value):
        raise ValueError("expected the name of a header, such as 'X-Request-ID'")
    return value


def header_name_or_none(value: Any) -> str | None:
    """The name of a header, or none."""
    return None if value is None else header_name(value)


def url_or_none(value: Any) -> str | None:
    """An address that pages stand below, or none."""
    try:
        return ErrorRenderer(docs_url=value).docs_url
    except (ValueError, TypeError):
        raise ValueError("expected an address such as 'https://docs.example.com/errors', or None") from None


def networks(value: Any) -> tuple[str, ...]:
    """Addresses and networks of peers that are believed."""
    entries = several(value)
    ask(TrustedProxies, entries)
    return entries


def switch_or_networks(value: Any) -> bool | tuple[str, ...]:
    """Everyone, no one, or these networks."""
    return value if isinstance(value, bool) else networks(value)


def function_or_none(value: Any) -> Any:
    """Something to call, or none."""
    if value is not None and not callable(value):
        raise ValueError("expected a function, or None")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def several(value: Any, *kinds: type) -> tuple[Any, ...]:
    """A tuple of text (or of these kinds): a string alone would be taken for its letters."""
    kinds = kinds or (str,)
    given: object = value
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise ValueError(f"expected several values, such as [{value!r}]")  # noqa: TRY004 - as above
    entries: tuple[Any, ...] = tuple(value)
    if not all(isinstance(each, kinds) for each in entries):
        raise ValueError(f"expected values of {' or '.join(kind.__name__ for kind in kinds)}")
    return entries


def by_path(value: Any, form: Form) -> Mapping[str, Any]:
    """A mapping from paths to values of this form."""
    given: object = value
    if not isinstance(given, Mapping):
        raise ValueError("expected a mapping from paths to values")  # noqa: TRY004 - as above
    kept: dict[str, Any] = {}
    for each, inner in value.items():
        try:
            kept[path(each)] = form(inner)
        except ValueError as error:
            raise ValueError(f"{each!r}: {error}") from None
    PathTable(kept, "paths")
    return kept


def ask(owner: Callable[..., object], *arguments: Any, **options: Any) -> None:
    """Let the owner of an option check it, and take the option's name off what it says."""
    try:
        owner(*arguments, **options)
    except ValueError as error:
        raise ValueError(str(error).partition(": ")[2]) from None
