"""What each setting may be."""

from functools import partial

import pytest

from asgi_resilience.health_check import HealthCheck
from asgi_resilience.metric_sink import NULL
from asgi_resilience.quota.gcra import RateLimit
from asgi_resilience.settings import forms as form
from asgi_resilience.settings import policies as policy
from asgi_resilience.timeouts import Timeouts

INF, NAN = float("inf"), float("nan")


async def check():
    """A health check."""


async def waits(scope):
    """A key that can only be found by waiting."""


def key(scope):
    """A key that is found at once."""


one_of = form.one_of("INFO", "WARN")


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (form.switch, True, True),
        (form.text, "", ""),
        (form.text, "größe 1", "größe 1"),
        (form.name, "shop", "shop"),
        (one_of, "WARN", "WARN"),
        *((form.share, each, each) for each in (0, 0.5, 1)),
        *((form.threshold, each, each) for each in (0, 1.5, INF)),
        *((form.seconds_or_none, each, each) for each in (None, 0.001, 30)),
        *((form.path, each, each) for each in ("/", "/a/b")),
        (form.paths, ["/a", "/b"], ("/a", "/b")),
        (form.paths, (each for each in ("/a",)), ("/a",)),
        (form.paths, (), ()),
        (form.header_name, "X-Request-ID", "X-Request-ID"),
        (form.header_name_or_none, None, None),
        (form.header_name_or_none, "X-A", "X-A"),
        (form.url_or_none, None, None),
        (form.url_or_none, "https://docs.example.com/errors", "https://docs.example.com/errors"),
        (form.networks, ["10.0.0.0/8", "::1", "unix", "*"], ("10.0.0.0/8", "::1", "unix", "*")),
        *((form.switch_or_networks, each, each) for each in (True, False, ("10.0.0.1",))),
        (policy.limit, None, None),
        (policy.limit, "100/minute", "100/minute"),
        (policy.limit, "10/second, 100/minute", "10/second, 100/minute"),
        (policy.limit, RateLimit(1, 2.0), RateLimit(1, 2.0)),
        (policy.limit, ["1/second", RateLimit(1, 2.0)], ("1/second", RateLimit(1, 2.0))),
        (policy.limits_by_path, {"/login": ["5/minute"], "/a": None}, {"/login": ("5/minute",), "/a": None}),
        *(
            (policy.limit_key, each, each)
            for each in ("client", "header:X-API-Key", "header: X-A", key, partial(key))
        ),
        (
            policy.timeouts_by_path,
            {"/a": 120, "/b": None, "/c": Timeouts()},
            {"/a": 120, "/b": None, "/c": Timeouts()},
        ),
        (policy.redact_keys, ["ssn"], ("ssn",)),
        (policy.redact_patterns, [r"\d{3}"], (r"\d{3}",)),
        (policy.checks, {"database": check}, {"database": check}),
        (policy.checks, [HealthCheck("database", check)], (HealthCheck("database", check),)),
        (policy.sink, NULL, NULL),
    ],
)
def test_what_fits_is_kept(kind, value, kept):
    """A value of the right form is returned in the one form in which it is kept: tuples, and dicts of one's own."""
    result = kind(value)
    assert result == kept
    assert type(result) is type(kept)
    assert not isinstance(value, dict) or result is not value


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        *((form.switch, each, "expected True or False") for each in (1, 0, "true", None)),
        *((form.text, each, "expected text in one line") for each in (None, 7, "a\nb", "\x00")),
        (form.name, "", "expected a name"),
        *((one_of, each, "expected one of INFO, WARN") for each in ("info", "", None, 7)),
        *((form.share, each, "expected a number from 0 to 1") for each in (-0.1, 1.1, NAN, True, "1", None)),
        *((form.threshold, each, "expected seconds, 0 or more") for each in (-1, NAN, "1", None, False)),
        *((form.seconds_or_none, each, "expected seconds above 0") for each in (0, -1, INF, NAN, "30", True)),
        *((form.path, each, "expected a path that starts with '/'") for each in ("", "a", None, b"/a")),
        (form.paths, "/a", r"expected several values, such as \['/a'\]"),
        (form.paths, 7, "expected several values"),
        (form.paths, {"/a": 1}, "expected several values"),
        (form.paths, [7], "expected values of str"),
        (form.paths, ["a"], "expected a path"),
        *(
            (form.header_name, each, "expected the name of a header")
            for each in ("", "X A", "X\r\n", "Ä", None, b"X")
        ),
        (form.header_name_or_none, "", "expected the name of a header"),
        *(
            (form.url_or_none, each, "expected an address")
            for each in ("", "docs", "ftp://x", 7, "https://a b")
        ),
        (form.networks, "10.0.0.0/8", "expected several values"),
        (form.networks, ["10.0.0.1/8"], "^'10.0.0.1/8' is not an address"),
        (form.switch_or_networks, ["nowhere"], "^'nowhere' is not an address"),
        *((form.switch_or_networks, each, "expected several values") for each in (None, "10.0.0.1", 1)),
        (policy.limit, "often", "expected 'N/second'"),
        (policy.limit, "", "expected 'N/second'"),
        (policy.limit, [], "expected at least one limit"),
        (policy.limit, 100, "expected several values"),
        (policy.limit, [100], "expected values of str or RateLimit"),
        (policy.limit, ["1/second", "2/second"], "two rules have the same name"),
        (policy.limits_by_path, "/a=1/second", "expected a mapping from paths to values"),
        (policy.limits_by_path, {"a": None}, "^'a': expected a path"),
        (policy.limits_by_path, {"/a": "often"}, "^'/a': .*expected 'N/second'"),
        *(
            (policy.limit_key, each, "expected 'client', 'header:<name>'")
            for each in (None, "", "ip", "header:", 7, waits)
        ),
        *(
            (policy.limit_key, each, "expected 'client'")
            for each in ("header:X A", "cookie:a", "client:", "X-A")
        ),
        (policy.timeouts_by_path, {"/a": 0}, "^'/a': expected seconds above 0"),
        (policy.timeouts_by_path, [("/a", 1)], "expected a mapping"),
        (policy.redact_keys, ["!"], "each needs a letter or a digit"),
        (policy.redact_keys, "ssn", "expected several values"),
        (policy.redact_patterns, ["("], r"^'\(' is not a regular expression"),
        (policy.checks, ["database"], "expected values of HealthCheck"),
        (policy.checks, [HealthCheck("a", check), HealthCheck("a", check)], "two are called 'a'"),
        (policy.checks, check, "expected several values"),
        *(
            (policy.sink, each, "expected an object with the methods increment, gauge")
            for each in (None, print, object())
        ),
    ],
)
def test_what_does_not_fit_is_refused(kind, value, expected):
    """Everything else is a ValueError that says what was expected."""
    with pytest.raises(ValueError, match=expected):
        kind(value)


def test_a_check_that_can_not_be_called_is_refused():
    """A mapping of checks holds async functions."""
    with pytest.raises(TypeError, match="expected an async function"):
        policy.checks({"database": 7})
