"""Which traces are kept whatever the rules of sampling say."""

import pytest

from asgi_resilience import context
from asgi_resilience.telemetry.keep import KeepRules


def scope(path="/", **others):
    return {"path": path, **others}


@pytest.mark.parametrize(
    ("rules", "path", "headers", "kept"),
    [
        ((), "/", (), False),
        ("/checkout", "/checkout", (), True),
        (["/checkout", "/orders"], "/orders/5", (), True),
        ("/checkout", "/checkouts", (), False),
        ("header:X-Debug", "/", [(b"x-debug", b"")], True),
        ("header:X-Debug", "/", [(b"x-other", b"1")], False),
        ("header:X-Tier=gold", "/", [(b"x-tier", b"gold")], True),
        ("header:X-Tier=gold", "/", [(b"x-tier", b"lead")], False),
        (["header:X-Tier=gold", "header:X-Tier=silver"], "/", [(b"x-tier", b"silver")], True),
        (lambda scope: scope["path"].endswith(".pdf"), "/a.pdf", (), True),
        ([lambda _: False, lambda _: True], "/", (), True),
    ],
)
def test_a_request_is_kept_when_one_rule_says_so(rules, path, headers, kept):
    """Rules are about a path and what is below it, a header, its value, or anything in the scope."""
    assert KeepRules(rules).match(scope(path), headers) is kept


def test_no_rules_are_false():
    """Without rules there is nothing to ask."""
    assert not KeepRules(())
    assert all(KeepRules(rule) for rule in ("/a", "header:a", len))


def test_the_headers_that_are_asked_for_are_named():
    """Who reads headers once for all learns which ones."""
    assert KeepRules(["/a", "header:X-Debug", "header:X-Tier=1"]).header_names == (b"x-debug", b"x-tier")


def test_a_rule_that_raises_keeps_nothing(monkeypatch):
    """A mistake in a rule is counted, and the next one asked."""
    monkeypatch.setattr(context, "failures", {})
    monkeypatch.setattr(context._logger, "disabled", True)

    def broken(_scope):
        raise LookupError

    assert KeepRules(broken).match(scope(), ()) is False
    assert KeepRules([broken, lambda _: True]).match(scope(), ()) is True
    assert sum(context.failures.values()) == 2


@pytest.mark.parametrize("rule", ["checkout", "", "header:", "header:=a", "header:X Debug", "header:é"])
def test_what_is_no_rule_is_named(rule):
    """The error names the rule and the forms that there are."""
    with pytest.raises(ValueError, match=f"keep: '{rule}'"):
        KeepRules([rule])
