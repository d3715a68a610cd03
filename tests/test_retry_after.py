"""Retry-After: both forms, and nothing else (RFC 9110 §10.2.3 and §5.6.7)."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.retry_after import parse_http_date, parse_retry_after

NOON = datetime(2026, 6, 3, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("  120\t", 120.0),
        ("007", 7.0),
        ("0" * 4000 + "9", 9.0),
        ("1000000000", 1e9),
        ("1000000001", 1e9),
        ("1" + "0" * 20, 1e9),
        ("9" * 4999, 1e9),
    ],
)
def test_delay_seconds(value, seconds):
    """Digits are seconds; what exceeds thirty years is thirty years, however many digits it has."""
    assert parse_retry_after(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None, "", " ", "-1", "+5", "1.5", "1e3", "1_000", "0x10", "nan", "inf", "-inf", "120, 60", "60,", "1 2", "60s",
        "٣", "５", "²", "\u00a05", "5\n", "soon", "9" * 5001,
    ],
)  # fmt: skip
def test_malformed_numbers(value):
    """A sign, a fraction, an exponent, a list, a unit and any digit but 0 to 9 make it no answer at all."""
    assert parse_retry_after(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "Wed, 03 Jun 2026 12:01:30 GMT",
        "Wed, 3 Jun 2026 12:01:30 GMT",
        "wed, 03 jun 2026 12:01:30 gmt",
        "Wed, 03 Jun 2026 12:01:30 UTC",
        "Wed, 03 Jun 2026 12:01:30 +0000",
        "Wed, 03 Jun 2026 12:01:30 -0000",
        "Wed, 03 Jun 2026 12:01:30",
        "Wed, 03 Jun 2026 14:01:30 +0200",
        "Wed, 03 Jun 2026 05:01:30 -0700",
        "Wednesday, 03-Jun-26 12:01:30 GMT",
        "Wed Jun  3 12:01:30 2026",
        "Wed Jun 03 12:01:30 2026",
        "Wed Jun  3 12:01:30 2026 GMT",
    ],
)
def test_the_three_date_formats(value):
    """IMF-fixdate, RFC 850 and asctime dates give the seconds until then; no zone and `-0000` are UTC."""
    assert parse_retry_after(value, now=NOON) == 90.0


@pytest.mark.parametrize(
    "value",
    [
        "Wed, 03 Jun 2026 25:00:00 GMT",
        "Wed, 03 Jun 2026 12:60:00 GMT",
        "Wed, 31 Feb 2026 12:00:00 GMT",
        "Wed, 00 Jun 2026 12:00:00 GMT",
        "Wed, 03 Foo 2026 12:00:00 GMT",
        "Wed, 03 Jun 0000 12:00:00 GMT",
        "Wed, 03 Jun 2026 12:00:00 CEST",
        "Wed, 03 Jun 2026 12:00:00 +9999",
        "Wed, 03 Jun 2026",
        "2026-06-03T12:00:00Z",
        "03 Jun 2026 12:00:00 GMT",
        "Wed, ０3 Jun 2026 12:00:00 GMT",
    ],
)
def test_malformed_dates(value):
    """A date that is none is no answer: hours are not rolled over, and zones not guessed."""
    assert parse_retry_after(value, now=NOON) is None


def test_a_date_in_the_first_year_does_not_overflow():
    """A date whose UTC value lies before year 1 is a date in the past, or none; never an exception."""
    assert parse_retry_after("Mon, 01 Jan 0001 00:00:00 +2359", now=NOON) in (0.0, None)


def test_a_date_in_the_past_is_now():
    """A date that has passed asks for no wait at all."""
    assert parse_retry_after("Tue, 02 Jun 2026 12:00:00 GMT", now=NOON) == 0.0


def test_the_servers_own_clock_counts():
    """A date is meant against the `Date` of the same response, however wrong our clock or theirs is."""
    date = "Wed, 03 Jun 2020 12:00:00 GMT"
    assert parse_retry_after("Wed, 03 Jun 2020 12:00:30 GMT", date=date, now=NOON) == 30.0


def test_an_unreadable_date_header_is_passed_over():
    """Without a readable `Date`, our wall clock counts."""
    assert parse_retry_after("Wed, 03 Jun 2026 12:00:30 GMT", date="yesterday", now=NOON) == 30.0


def test_the_wall_clock_is_the_default():
    """Without `Date` and `now`, a date long past is in the past and one far ahead in the future."""
    assert parse_retry_after("Wed, 03 Jun 1998 12:00:00 GMT") == 0.0
    assert parse_retry_after("Wed, 03 Jun 9998 12:00:00 GMT") == 1e9


def test_two_digit_years():
    """A two-digit year is at most fifty years ahead (RFC 9110 §5.6.7)."""
    year = datetime.now(UTC).year
    for ahead in (-49, 0, 50):
        date = datetime(year + ahead, 6, 3, 12, 0, 0, tzinfo=UTC)
        assert parse_http_date(f"Monday, 03-Jun-{date.year % 100:02d} 12:00:00 GMT") == date.timestamp()


@given(st.integers(0, 253_402_214_400))
def test_every_date_is_read_back(seconds):
    """Whatever the standard library writes as an HTTP-date is read as the same second."""
    date = datetime.fromtimestamp(seconds, UTC)
    assert parse_http_date(format_datetime(date, usegmt=True)) == seconds


@given(st.text())
def test_no_header_raises(value):
    """Any text gives None or a wait between nothing and thirty years."""
    seconds = parse_retry_after(value)
    assert seconds is None or 0 <= seconds <= 1e9
