"""The error family: what an application raises."""

import copy
import pickle

import pytest

from asgi_resilience import errors
from asgi_resilience.error_specs import STANDARD
from asgi_resilience.errors import AppError, NotFound, is_error_code

FAMILY = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, AppError)]


@pytest.mark.parametrize(
    "code", ["AUTH_TOKEN_EXPIRED", "A_B", "HTTP2_STREAM_RESET", "DOMAIN_3XX_LOOP", f"A_{'B' * 121}"]
)
def test_a_code_is_upper_case_words(code):
    """Two upper-case words or more, joined by single underscores, at most 123 characters, are a code."""
    assert is_error_code(code)


@pytest.mark.parametrize(
    "code",
    [
        *(
            "",
            "AUTH",
            "auth_token",
            "AUTH__TOKEN",
            "_AUTH_TOKEN",
            "AUTH_TOKEN_",
            "AUTH-TOKEN",
            "AUTH_TOKEN\n",
        ),
        *("2FA_CODE_WRONG", "AUTH_TÖKEN", "AUTH_\u0661", f"A_{'B' * 122}", None, 404, b"AUTH_TOKEN"),
    ],
)
def test_anything_else_is_no_code(code):
    """What could be mistaken, injected, or not fit into a websocket's close reason is no code."""
    assert not is_error_code(code)


@pytest.mark.parametrize("kind", FAMILY)
def test_the_family_is_in_the_standard_table(kind):
    """Every class of the family has a code of the standard table, and its docstring names the status."""
    (spec,) = [spec for spec in STANDARD if spec.code == kind.code]
    assert kind is AppError or kind.__doc__.startswith(f"{spec.status}: ")


def test_a_subclass_with_a_malformed_code_is_refused_where_it_is_defined():
    """A class whose code has another form can't be defined; the error names code, class and form."""
    with pytest.raises(ValueError, match=r"code='token-expired' of .*TokenExpired: .*AUTH_TOKEN_EXPIRED"):

        class TokenExpired(AppError):
            code = "token-expired"


def test_the_code_of_the_instance_wins():
    """`code=` is in place of the class's code, for this one error."""
    assert NotFound(code="MATCH_NOT_FOUND").error_code == "MATCH_NOT_FOUND"
    assert NotFound().error_code == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NotFound(), "RESOURCE_NOT_FOUND"),
        (NotFound("No such match"), "RESOURCE_NOT_FOUND: No such match"),
        (NotFound("No such match", details={"id": 9}), "RESOURCE_NOT_FOUND: No such match: {'id': 9}"),
        (NotFound(details=0), "RESOURCE_NOT_FOUND: 0"),
    ],
)
def test_the_text_tells_code_message_and_details(error, text):
    """`str(error)` is what a log says: the code, and what else there is."""
    assert str(error) == text


@pytest.mark.parametrize("clone", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize(
    "error", [NotFound(), NotFound("Gone", details=[1], headers={"A": "b"}, retry_after=2.5)]
)
def test_an_error_survives_copying_and_pickling(clone, error):
    """An error can cross a process boundary with everything it says."""
    cloned = clone(error)
    assert type(cloned) is NotFound
    assert vars(cloned) == vars(error)
    assert cloned.args == error.args
