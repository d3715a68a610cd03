"""The response fields that tell a client of its quota: draft-ietf-httpapi-ratelimit-headers-11, as structured fields.

    RateLimit-Policy: "minute";q=100;w=60       100 requests in 60 seconds
    RateLimit: "minute";r=50;t=30               50 are left; use no more than these in the next 30 seconds

`t` is the time in which what is left is earned at the sustained rate, so a client that spreads `r` over `t` is never
refused, and the ratio of the two never promises more than the policy does (§8.5 of the draft). When nothing is left it is
the time until one more request is admitted, rounded up, as `Retry-After` is.
"""

from typing import Final
from urllib.parse import quote

from asgi_resilience.quota.gcra import Decision, RateLimit, Rules

__all__ = ("QuotaPolicy",)

_NANOSECONDS: Final = 1_000_000_000
_MOST_SPELLED: Final = 1024
"""Values of one rule whose spelling is kept: the most common ones of any limit, in a few hundred kilobytes at most."""
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))


class QuotaPolicy:
    """Rules that hold together for one part of an application, and how they are told to clients.

    Args:
        rules: The rules, with different names.
        part: The path that they are for; it stands before their names. Empty: the whole application.

    Attributes:
        rules: The rules.
        part: The path.
        names: What clients and logs call the rules.
        advertised: The `RateLimit-Policy` field, name and value.

    Raises:
        ValueError: Two rules have the same name.
    """

    __slots__ = ("_spelled", "_terms", "advertised", "names", "part", "rules")

    def __init__(self, rules: Rules, part: str = "") -> None:
        self.rules = rules
        self.part = part
        self.names = tuple(f"{part}:{rule.name}" if part else str(rule.name) for rule in rules)
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"two rules have the same name in {self.names!r}: give one another `name`")
        self._terms = [
            (_string(name), rule, dict[int, bytes]()) for name, rule in zip(self.names, rules, strict=True)
        ]
        self._spelled: dict[int, tuple[bytes, bytes]] = {}  # whole fields, where there is one rule only
        items = (f"{_string(name)}{_quota(rule)}" for name, rule in zip(self.names, rules, strict=True))
        self.advertised = (b"ratelimit-policy", ", ".join(items).encode())

    def limits(self, decision: Decision) -> tuple[bytes, bytes]:
        """The `RateLimit` field, name and value.

        With a refusal it names only the rules that refuse: what it says of the others could outlast `Retry-After`, which
        must not end before an effective window does (§6).
        """
        if len(self.rules) > 1 or decision.wait:
            return b"ratelimit", self._items(decision)
        left = decision.remaining_of(0)
        field = self._spelled.get(left)
        if field is None:
            field = b"ratelimit", self._items(decision)
            if left and len(self._spelled) < _MOST_SPELLED:
                self._spelled[left] = field
        return field

    def _items(self, decision: Decision) -> bytes:
        now, refused = decision.now, decision.wait
        items: list[bytes] = []
        for (label, rule, spelled), tat in zip(self._terms, decision.state, strict=True):
            unused = rule.tolerance - tat + now
            left = unused // rule.interval
            if not left:
                items.append(_limit(label, 0, rule.interval - unused))
            elif not refused:
                item = spelled.get(left)
                if item is None:
                    item = _limit(label, left, left * rule.interval)
                    if len(spelled) < _MOST_SPELLED:
                        spelled[left] = item
                items.append(item)
        return b", ".join(items)

    def refusing(self, decision: Decision) -> list[str]:
        """The names of the rules that have nothing left."""
        return [name for index, name in enumerate(self.names) if not decision.remaining_of(index)]


def _limit(name: str, left: int, window: int) -> bytes:
    return f"{name};r={left};t={-(-window // _NANOSECONDS)}".encode()


def _quota(rule: RateLimit) -> str:
    # A window is a whole number of seconds above 0: a rule in fractions is told as its equal in the next whole number.
    window = -(-rule.per // 1)
    return f";q={rule.limit if window == rule.per else int(rule.limit * window / rule.per)};w={window:.0f}"


def _string(text: str) -> str:
    """A String (RFC 9651 §3.3.3): quoted ASCII; what is not in its range is percent-encoded."""
    escaped = quote(text, safe=_PRINTABLE, errors="replace").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
