"""`Retry-After`: how long a server asks to be left alone (RFC 9110 §10.2.3).

Both forms are read, delay-seconds and the three HTTP-date formats of RFC 9110 §5.6.7. What is not exactly one of them is
no answer: guessing a shorter wait than the server meant is worse than falling back to one's own schedule.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from time import time
from typing import Final

__all__ = ("parse_http_date", "parse_retry_after")

_LONGEST: Final = 10**9
"""Thirty years. A number beyond it is as good as never, and must not become an overflow further on."""

_DELAY = re.compile(r"[0-9]{1,5000}")
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_ZONE = r"(?: (?P<zone>GMT|UTC|Z|[+-][0-9]{4}))?"
_MONTH = r"(?P<month>[A-Za-z]{3})"
_DATES: Final = tuple(
    re.compile(pattern, re.ASCII | re.IGNORECASE)
    for pattern in (
        rf"[a-z]{{3}}, (?P<day>[0-9]{{1,2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_CLOCK}{_ZONE}",  # IMF-fixdate
        rf"[a-z]{{6,9}}, (?P<day>[0-9]{{1,2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_CLOCK}{_ZONE}",  # RFC 850
        rf"[a-z]{{3}} {_MONTH} +(?P<day>[0-9]{{1,2}}) {_CLOCK} (?P<year>[0-9]{{4}}){_ZONE}",  # asctime
    )
)
_CENTURY: Final = 100
_HALF_CENTURY: Final = 50


def parse_retry_after(
    value: str | None, *, date: str | None = None, now: float | None = None
) -> float | None:
    """Seconds that a `Retry-After` header asks for; None when it is absent or malformed.

    Args:
        value: The header. A list (`120, 60`), a sign, a fraction and any digit but `0` to `9` are malformed.
        date: The `Date` header of the same response: the server's own clock, against which its date is meant.
        now: Seconds since the epoch, for a date without a readable `date`; default: the wall clock.

    Returns:
        0.0 for a date in the past; at most 10⁹.
    """
    if value is None:
        return None
    value = value.strip(" \t")
    if _DELAY.fullmatch(value):
        digits = value.lstrip("0")
        return float(_LONGEST if len(digits) > len(str(_LONGEST)) else min(int(digits or "0"), _LONGEST))
    due = parse_http_date(value)
    if due is None:
        return None
    sent = parse_http_date(date.strip(" \t")) if date else None
    if sent is None:
        sent = time() if now is None else now
    return min(max(0.0, due - sent), float(_LONGEST))


def parse_http_date(value: str) -> float | None:
    """Seconds since the epoch of an HTTP-date; None when it is not one.

    A missing zone and `-0000` are UTC. A two-digit year is the one that is at most fifty years ahead.
    """
    found = next(filter(None, (pattern.fullmatch(value) for pattern in _DATES)), None)
    if found is None or (month := _MONTHS.get(found["month"].lower())) is None:
        return None
    try:
        return datetime(
            _year(found["year"]),
            month,
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            int(found["second"]),
            tzinfo=_zone(found["zone"]),
        ).timestamp()
    except (ValueError, OverflowError):
        return None


def _year(digits: str) -> int:
    year = int(digits)
    if len(digits) > 2:  # noqa: PLR2004 - two digits are the RFC 850 form
        return year
    this_year = datetime.now(UTC).year
    year += this_year - this_year % _CENTURY
    return year - _CENTURY if year > this_year + _HALF_CENTURY else year


def _zone(name: str | None) -> timezone:
    if name is None or not name[1:].isdigit():
        return UTC
    offset = timedelta(hours=int(name[1:3]), minutes=int(name[3:5]))
    return timezone(-offset if name[0] == "-" else offset)
