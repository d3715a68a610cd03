"""Content negotiation between two media types."""

import pytest

from asgi_resilience.accept import asks_for

PROBLEM, JSON = b"application/problem+json", b"application/json"


@pytest.mark.parametrize(
    "accept",
    [
        b"application/problem+json",
        b"Application/Problem+JSON",
        b"application/problem+json;q=0.1",
        b"application/problem+json; charset=utf-8; q=0.5, application/json;q=0.5",
        b"application/problem+json, application/json",
        b"application/problem+json, */*;q=0.8",
        b"application/problem+json, */*",
        b"application/json;q=0.9,application/problem+json;q=0.95",
        b"text/html, application/problem+json;q=0.5, application/*;q=0.1, */*",
        b"application/problem+json, application/json;q=2",
        b"application/problem+json, application/json;q=nan",
        b"application/problem+json;q=0, application/problem+json",
        b", ,;,application/problem+json",
        b"\xff\x00;q=\xff, application/problem+json",
    ],
)
def test_it_is_asked_for(accept):
    """Asked for by name, and at least as much as the other, by itself or through the most specific wildcard."""
    assert asks_for([accept], PROBLEM, rather_than=JSON)


@pytest.mark.parametrize(
    "accept",
    [
        b"",
        b"*/*",
        b"application/*",
        b"application/json",
        b"application/problem+json;q=0",
        b"application/problem+json;q=0.000, text/html",
        b"application/problem+json;q=0.5, application/json",
        b"application/problem+json;q=0.5, */*",
        b"application/problem+json;q=0.5, application/*;q=0.6, */*;q=0.1",
        b"application/problem+json;q=nan",
        b"application/problem+json;q=inf",
        b"application/problem+json;q=1e0",
        b"application/problem+json;q=1.5",
        b"application/problem+json;q=-1",
        b"application/problem+json;q=",
        b"application/problem+xml",
        b"xapplication/problem+json",
        b"text/html," * 200 + b"application/problem+json",
    ],
)
def test_it_is_not_asked_for(accept):
    """A wildcard alone, a smaller weight, a malformed one, or a place far down the list is not asking for it."""
    assert not asks_for([accept], PROBLEM, rather_than=JSON)


def test_several_fields_are_one_list():
    """A list may come in several fields, RFC 9110 §5.3."""
    assert asks_for([b"text/html", b"application/problem+json;q=0.5"], PROBLEM, rather_than=JSON)
    assert not asks_for([b"application/json", b"application/problem+json;q=0.5"], PROBLEM, rather_than=JSON)
    assert not asks_for([], PROBLEM, rather_than=JSON)
