"""Which requests count as errors."""

import pytest

from asgi_resilience.error_rule import ErrorRule


def test_statuses_classes_and_codes_are_told_apart():
    """A class holds its hundred statuses, a status itself, a code every answer that has it."""
    rule = ErrorRule(("5xx", 429, "404", "AUTH_TOKEN_EXPIRED"))
    assert [status for status in range(100, 600) if rule(status, None)] == [404, 429, *range(500, 600)]
    assert rule(401, "AUTH_TOKEN_EXPIRED")
    assert not rule(401, "AUTH_TOKEN_MISSING")
    assert not rule(None, None)


def test_one_entry_may_stand_alone():
    """A single word is not taken for its letters."""
    assert ErrorRule("4xx")(404, None)
    assert not ErrorRule("4xx")(500, None)
    assert not ErrorRule(())(500, None)


@pytest.mark.parametrize("entry", ["6xx", "5xy", 99, 600, "", "expired", 5.5, None])
def test_anything_else_is_refused(entry):
    """What is neither a status nor a code is a ValueError that shows it."""
    with pytest.raises(ValueError, match="expected a status, a class such as '5xx', or an error code"):
        ErrorRule((entry,))
