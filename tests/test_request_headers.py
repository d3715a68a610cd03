"""The one pass over the request headers: what it finds, and what it remembers."""

import pytest

from asgi_resilience import request_headers
from asgi_resilience.context import RequestContext
from asgi_resilience.request_headers import watch, watched


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Nobody else's names, and none seen yet."""
    monkeypatch.setattr(request_headers, "_wanted", set())
    monkeypatch.setattr(request_headers, "_ignored", set())
    watch(b"x-one", b"x-two")


def request(*headers):
    scope = {"type": "http", "path": "/", "headers": headers}
    return RequestContext(scope), scope


def test_watched_headers_are_found_in_any_case_and_in_order():
    """Names are given in lower case, however a server spells them; values, and their order, are the client's."""
    request_ = request((b"X-Two", b"2"), (b"host", b"x"), (b"x-one", b"1"), (b"x-two", b"3"))
    assert watched(*request_) == [(b"x-two", b"2"), (b"x-one", b"1"), (b"x-two", b"3")]


def test_a_request_is_looked_through_once():
    """Every layer after the first gets what that one has found."""
    record, scope = request((b"x-one", b"1"))
    found = watched(record, scope)
    assert watched(record, {}) is found


def test_a_name_that_is_watched_later_is_found_from_then_on():
    """Names that nobody asked for are remembered only until somebody does."""
    assert watched(*request((b"x-late", b"1"))) == []
    watch(b"x-late")
    assert watched(*request((b"x-late", b"1"))) == [(b"x-late", b"1")]


def test_names_that_clients_make_up_do_not_settle():
    """What is remembered is bounded, in names and in their length."""
    watched(*request((b"x" * 100, b"")))
    assert request_headers._ignored == set()
    watched(*request(*((b"x-%d" % number, b"") for number in range(2000))))
    assert len(request_headers._ignored) == 1024
    assert watched(*request((b"x-1", b""), (b"x-1999", b""), (b"X-ONE", b"1"))) == [(b"x-one", b"1")]
