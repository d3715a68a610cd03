"""Which requests' traces are kept whatever the rules of sampling say: those of some paths, with some header, or as asked."""

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias, cast

from asgi_resilience.context import Scope, report_failure
from asgi_resilience.paths import PathTable

__all__ = ("KeepRule", "KeepRules")

KeepRule: TypeAlias = str | Callable[[Scope], bool]
"""A path, `"header:NAME"`, `"header:NAME=VALUE"`, or a function of the scope."""

_HEADER: Final = "header:"


class KeepRules:
    """Decides at the arrival of a request.

    Args:
        rules: One or several. A path (`"/checkout"`) covers everything below it as well. `"header:X-Debug"` is about requests
            with that header, `"header:X-Tier=gold"` about those with that value. A function gets the scope; one that raises
            is reported once, and keeps nothing.

    Raises:
        ValueError: A rule is none of these; it names the rule.
    """

    __slots__ = ("_headers", "_paths", "_predicates", "header_names")

    def __init__(self, rules: KeepRule | Iterable[KeepRule]) -> None:
        if isinstance(rules, str) or callable(rules):
            rules = (rules,)
        self._predicates: list[Callable[[Scope], bool]] = []
        self._headers: dict[bytes, list[bytes | None]] = {}
        paths: dict[str, bool] = {}
        for rule in rules:
            if callable(rule):
                self._predicates.append(rule)
            elif rule.startswith(_HEADER):
                name, given, value = rule.removeprefix(_HEADER).partition("=")
                if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                    raise ValueError(f"keep: {rule!r}: expected 'header:NAME' or 'header:NAME=VALUE'")
                wanted = self._headers.setdefault(name.lower().encode(), [])
                wanted.append(value.encode("latin-1") if given else None)
            elif rule.startswith("/"):
                paths[rule] = True
            else:
                raise ValueError(f"keep: {rule!r}: expected a path, 'header:NAME' or a function")
        self._paths = PathTable(paths, "keep")
        self.header_names = tuple(self._headers)
        """In lower case: what `match` must be given of the request's headers."""

    def __bool__(self) -> bool:
        return bool(self._paths or self._headers or self._predicates)

    def match(self, scope: Scope, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether the trace of a request must be kept.

        Args:
            scope: Of the request.
            headers: Names, in lower case, and values; without those of a peer that is not believed.
        """
        if self._paths.get(scope["path"], default=False):
            return True
        for name, value in headers:
            wanted = self._headers.get(name)
            if wanted is not None and (None in wanted or value in wanted):
                return True
        return any(self._asked(predicate, scope) for predicate in self._predicates)

    def _asked(self, predicate: Callable[[Scope], bool], scope: Scope) -> bool:
        try:
            return bool(predicate(scope))
        except Exception as error:  # noqa: BLE001 - telemetry may never change a response
            report_failure(cast("object", predicate), error)
            return False
