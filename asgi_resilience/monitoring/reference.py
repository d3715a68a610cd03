"""References between objects whose ids Datadog gives out: `${slo:request-success}` until the id is known."""

import re
from collections.abc import Callable
from typing import Any, Final

from asgi_resilience.monitoring.json_values import is_array, is_object

__all__ = ("reference", "references", "resolve")

_REFERENCE: Final = re.compile(r"\$\{(monitor|slo):([a-z0-9-]+)\}")


def reference(kind: str, key: str) -> str:
    """What stands for the id of an object."""
    return f"${{{kind}:{key}}}"


def references(body: Any) -> set[tuple[str, str]]:
    """All that a body refers to, as (kind, key)."""
    found: set[tuple[str, str]] = set()

    def note(kind: str, key: str) -> None:
        found.add((kind, key))

    resolve(body, note)
    return found


def resolve(body: Any, id_of: Callable[[str, str], Any]) -> Any:
    """A body with ids in the place of references.

    Args:
        body: Anything that JSON can hold.
        id_of: Gives the id for a kind and a key; None leaves the reference as it is. A text that is nothing but a
            reference becomes the id itself, which may be a number.
    """
    if is_object(body):
        return {name: resolve(each, id_of) for name, each in body.items()}
    if is_array(body):
        return [resolve(each, id_of) for each in body]
    return _in_text(body, id_of) if isinstance(body, str) else body


def _in_text(text: str, id_of: Callable[[str, str], Any]) -> Any:
    if whole := _REFERENCE.fullmatch(text):
        known = id_of(whole[1], whole[2])
        return text if known is None else known

    def replacement(found: re.Match[str]) -> str:
        known = id_of(found[1], found[2])
        return found[0] if known is None else str(known)

    return _REFERENCE.sub(replacement, text)
