"""Find the few request headers that the layers act on, in one pass for all of them.

A layer names its headers with `watch`, once, and asks `watched` for those of a request. The pass costs one look-up a
header, in a set of names that nobody asks for; it learns them, in the spelling of the server, as they come.
"""

from typing import Final

from asgi_resilience.context import RequestContext, Scope

__all__ = ("watch", "watched")

_MOST_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 64  # bytes: clients make up names, and they must not settle here by the megabyte

_wanted: Final[set[bytes]] = set()
_ignored: Final[set[bytes]] = set()


def watch(*names: bytes) -> None:
    """Have `watched` find these headers, from the next request on; names are lower case."""
    _wanted.update(names)
    _ignored.clear()


def watched(record: RequestContext, scope: Scope) -> list[tuple[bytes, bytes]]:
    """Names, in lower case, and values of the request's headers that any layer watches, in the order of the request.

    The first call of a request looks; the others get what that one has found.
    """
    found = record.headers
    if found is None:
        found = record.headers = []
        for name, value in scope["headers"]:
            if name not in _ignored:
                lower = name.lower()
                if lower in _wanted:
                    found.append((lower, value))
                elif len(name) <= _LONGEST_REMEMBERED and len(_ignored) < _MOST_REMEMBERED:
                    _ignored.add(name)
    return found
