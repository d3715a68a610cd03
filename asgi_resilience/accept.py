"""Which of two media types a client would rather have: the `Accept` header, RFC 9110 §12.5.1."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ("asks_for",)

_WEIGHT = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_MOST_KINDS: Final = 100  # more than any browser sends; the rest is not read


def asks_for(accept: Iterable[bytes], kind: bytes, *, rather_than: bytes) -> bool:
    """Whether `kind` is asked for by its full name, and at least as much as `rather_than`, which a wildcard may stand for.

    Args:
        accept: The values of all `Accept` fields; together they are one list.
        kind: A media type in lower case.
        rather_than: The one that is sent otherwise.
    """
    weights: dict[bytes, float] = {}
    for part in b",".join(accept).lower().split(b",", _MOST_KINDS)[:_MOST_KINDS]:
        name, *parameters = (piece.strip() for piece in part.split(b";"))
        weight = next((each[2:] for each in parameters if each.startswith(b"q=")), b"1")
        # An element that is malformed counts as if it were not there.
        if _WEIGHT.fullmatch(weight):
            weights[name] = max(float(weight), weights.get(name, 0.0))
    wanted = weights.get(kind, 0.0)
    ranges = (rather_than, rather_than.partition(b"/")[0] + b"/*", b"*/*")  # the most specific one holds
    return wanted > 0 and wanted >= next((weights[each] for each in ranges if each in weights), 0.0)
