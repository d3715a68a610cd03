"""Rules: the first that matches decides, and a group is judged by its leaves."""

import pytest

from asgi_resilience.client.classification import UNKNOWN, Outcome, Rule, classify

TIMEOUT = Rule("timeout", 3, errors=(TimeoutError,))
MISSING = Rule("missing", 0, outcome=Outcome.ANSWERED, errors=(LookupError,))
LIMITED = Rule("limited", 5, outcome=Outcome.NEUTRAL, errors=("builtins.BlockingIOError",))
BUG = Rule("bug", 0, outcome=Outcome.NEUTRAL, errors=(TypeError,), bug=True)
RULES = (TIMEOUT, MISSING, LIMITED, BUG)


def rule_of(error, rules=RULES):
    """The rule that decides."""
    return classify(error, rules).rule


def test_a_subclass_matches():
    """A rule for a class is one for its subclasses, named or imported."""
    assert rule_of(KeyError("x")) is MISSING
    assert rule_of(BlockingIOError()) is LIMITED
    assert rule_of(ConnectionError(), (Rule("os", 1, errors=("builtins.OSError",)),)).name == "os"


def test_the_first_rule_decides():
    """A service puts its own rules in front of the table."""
    mine = Rule("mine", 1, errors=(KeyError,))
    assert rule_of(KeyError(), (mine, *RULES)) is mine
    assert rule_of(KeyError(), (*RULES, mine)) is MISSING


def test_what_no_rule_knows():
    """An unknown error is not retried, and counts as a failure."""
    assert rule_of(OSError()) is UNKNOWN
    assert (UNKNOWN.max_retries, UNKNOWN.outcome) == (0, Outcome.FAILURE)


def test_a_predicate_alone_is_a_condition():
    """`when` alone decides; beside a condition, both must hold."""
    locked = Rule("locked", 2, when=lambda error: "locked" in str(error))
    assert rule_of(OSError("database is locked"), (locked,)) is locked
    assert rule_of(OSError("gone"), (locked,)) is UNKNOWN
    both = Rule("both", 2, errors=(OSError,), when=lambda error: error.errno == 5)
    assert rule_of(OSError(5, "x"), (both,)) is both
    assert rule_of(OSError(6, "x"), (both,)) is UNKNOWN
    assert rule_of(ValueError(5), (both,)) is UNKNOWN


def test_a_rule_without_conditions_matches_nothing():
    """A rule that says nothing about errors is about none."""
    assert rule_of(OSError(), (Rule("empty", 3),)) is UNKNOWN


def test_a_class_of_sqlstates():
    """A SQLSTATE of two characters is the class of those that begin with it."""

    def raised(state):
        error = Exception()
        error.sqlstate = state
        return error

    connection = Rule("connection", 3, sqlstates=frozenset(("08", "57P01")))
    assert rule_of(raised("08006"), (connection,)) is connection
    assert rule_of(raised("57P01"), (connection,)) is connection
    assert rule_of(raised("57014"), (connection,)) is UNKNOWN


@pytest.mark.parametrize(
    ("leaves", "retries", "outcome"),
    [
        ([TimeoutError(), TimeoutError()], 3, Outcome.FAILURE),
        ([TimeoutError(), KeyError()], 0, Outcome.FAILURE),
        ([KeyError(), LookupError()], 0, Outcome.ANSWERED),
        ([BlockingIOError(), TimeoutError()], 3, Outcome.FAILURE),
        ([BlockingIOError(), BlockingIOError()], 5, Outcome.NEUTRAL),
        ([ExceptionGroup("inner", [TimeoutError()]), BlockingIOError()], 3, Outcome.FAILURE),
        ([TimeoutError(), OSError()], 0, Outcome.FAILURE),
    ],
)
def test_a_group(leaves, retries, outcome):
    """A group is retried as often as the least of its leaves, and a failure if one of them is."""
    rule = rule_of(ExceptionGroup("group", leaves))
    assert (rule.max_retries, rule.outcome) == (retries, outcome)


def test_a_bug_in_a_group_is_a_bug():
    """A mistake among errors that are not retried either is what the group is."""
    assert rule_of(ExceptionGroup("group", [KeyError(), TypeError()])).bug


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_retries": -1}, "max_retries=-1 of rule 'x'"),
        ({"max_retries": 1, "base": 0.0}, "base=0.0 of rule 'x'"),
        ({"max_retries": 1, "base": float("inf")}, "base=inf"),
        ({"max_retries": 1, "backoff": "fibonacci"}, "backoff='fibonacci' of rule 'x'"),
    ],
)
def test_values_out_of_range(options, named):
    """A rule names the value that it can't have."""
    with pytest.raises(ValueError, match=named):
        Rule("x", **options)
