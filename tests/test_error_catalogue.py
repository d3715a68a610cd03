"""The catalogue: which exception means what, and how an application adds to it."""

import asyncio

import pytest
import trio
from starlette.exceptions import HTTPException

from asgi_resilience import context, error_catalogue
from asgi_resilience.error_catalogue import ErrorCatalogue
from asgi_resilience.error_specs import BESIDES, STANDARD
from asgi_resilience.errors import AppError, Conflict, NotFound, RateLimitExceeded, ServiceUnavailable


@pytest.fixture
def catalogue():
    return ErrorCatalogue()


@pytest.fixture(autouse=True)
def failures(monkeypatch):
    """What telemetry has failed at, during this test alone."""
    counted: dict[str, int] = {}
    monkeypatch.setattr(context, "failures", counted)
    return counted


class DriverError(Exception):
    """What a driver raises that knows nothing of HTTP."""


class ConnectionLost(DriverError):
    """One of its subclasses."""


# ------------------------------------------------------------------------------------------------- what is known


@pytest.mark.parametrize("spec", STANDARD, ids=lambda spec: spec.code)
def test_every_code_and_every_status_of_the_table_is_found(catalogue, spec):
    """A code gives its row of the table as an AppError, the status gives it as an HTTPException."""
    assert catalogue.classify(AppError(code=spec.code)).spec is spec
    assert catalogue.classify(HTTPException(spec.status)).spec is spec
    assert catalogue.for_status(spec.status) is catalogue[spec.code] is spec
    assert list(catalogue) == [*STANDARD, *BESIDES]


def test_facts_of_the_error_are_kept(catalogue):
    """Message, details, headers, seconds and context of an AppError go into the failure."""
    facts = {"details": [1], "headers": {"a": "b"}, "retry_after": 2.5, "context": {"shard": 3}}
    failure = catalogue.classify(NotFound("No such match", **facts))
    assert failure.message == "No such match"
    assert {name: getattr(failure, name) for name in facts} == facts
    assert failure.known


@pytest.mark.parametrize("message", [None, "", 404, ValueError("secret")])
def test_without_a_message_in_words_that_of_the_table_is_told(catalogue, message):
    """Anything but text in the place of the message is not shown to the client."""
    assert catalogue.classify(NotFound(message)).message == "Resource not found"


@pytest.mark.parametrize(
    "kind", [TimeoutError, asyncio.TimeoutError, type("DriverTimeout", (TimeoutError,), {})]
)
def test_a_timeout_is_a_504(catalogue, kind):
    """`TimeoutError` and its subclasses mean 504, and their text stays inside."""
    failure = catalogue.classify(kind("secret"))
    assert (failure.spec.status, failure.details, failure.known) == (504, None, True)
    assert "secret" not in failure.message


@pytest.mark.parametrize(
    "error", [ValueError("secret"), KeyError(), OSError(), AssertionError(), Exception()]
)
def test_an_unknown_exception_tells_nothing(catalogue, error):
    """What nobody mapped is INTERNAL_SERVER_ERROR, unknown, and nothing of it is kept."""
    failure = catalogue.classify(error)
    assert (failure.spec.code, failure.known) == ("INTERNAL_SERVER_ERROR", False)
    assert (failure.message, failure.details, failure.headers) == (failure.spec.message, None, None)


def test_an_unregistered_code_is_a_500_with_that_code(catalogue):
    """A code that nobody registered still reaches the client, as a server error that alerts."""
    failure = catalogue.classify(AppError("Sorry", code="PREDICTION_GENERATION_FAILED", details=1))
    assert (failure.spec.code, failure.spec.status) == ("PREDICTION_GENERATION_FAILED", 500)
    assert failure.spec.alert
    assert (failure.message, failure.details) == ("Sorry", 1)


@pytest.mark.parametrize("code", ["no code", 404])
def test_a_malformed_code_never_leaves(catalogue, code):
    """A code of another form is INTERNAL_SERVER_ERROR."""
    assert catalogue.classify(AppError(code=code)).spec.code == "INTERNAL_SERVER_ERROR"


# ------------------------------------------------------------------------------------------ Starlette's exceptions


@pytest.mark.parametrize("detail", [None, "", "Not Found"])
def test_the_standard_phrase_is_no_detail(catalogue, detail):
    """A detail that only repeats the status is null in the envelope."""
    assert catalogue.classify(HTTPException(404, detail)).details is None


class Ambiguous:
    """Like an array: comparing it gives something that is neither true nor false."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise ValueError("ambiguous")

    __hash__ = None


@pytest.mark.parametrize("detail", ["No such match", {"loc": ["body"]}, [1], 0, False, {}, Ambiguous()])
def test_a_detail_of_any_type_is_kept(catalogue, detail):
    """FastAPI's HTTPException takes anything for a detail."""
    assert catalogue.classify(HTTPException(404, detail)).details is detail


@pytest.mark.parametrize("status", [419, 499, 520, 599])
def test_a_status_that_http_does_not_know_is_answered(catalogue, status):
    """A status without a standard phrase keeps its number and its detail (edge case 69)."""
    failure = catalogue.classify(HTTPException(status, "Unusual"))
    general = "INTERNAL_SERVER_ERROR" if status >= 500 else "REQUEST_INVALID_PARAMETERS"
    assert (failure.spec.status, failure.spec.code, failure.details) == (status, general, "Unusual")


def test_headers_of_an_http_exception_are_kept(catalogue):
    """`WWW-Authenticate` and its like go with the answer."""
    headers = {"WWW-Authenticate": "Bearer"}
    assert catalogue.classify(HTTPException(401, headers=headers)).headers == headers


@pytest.mark.parametrize("status", [100, 200, 204, 304, 307, 600, 999, "404"])
def test_an_http_exception_that_is_no_error_is_unknown(catalogue, status):
    """Outside 400 to 599 there is nothing that an error answer could say."""
    assert not catalogue.classify(HTTPException(status, "detail")).known


# ---------------------------------------------------------------------------------------------------------- groups


def group(*errors):
    return ExceptionGroup("several", errors)


@pytest.mark.parametrize(
    ("error", "code", "known"),
    [
        (group(NotFound()), "RESOURCE_NOT_FOUND", True),
        (group(group(NotFound()), NotFound()), "RESOURCE_NOT_FOUND", True),
        (group(HTTPException(404), NotFound()), "RESOURCE_NOT_FOUND", True),
        (group(NotFound(), Conflict()), "RESOURCE_STATE_CONFLICT", True),
        (group(ServiceUnavailable(), NotFound()), "SERVICE_UNAVAILABLE", True),
        (group(ServiceUnavailable(), ValueError()), "INTERNAL_SERVER_ERROR", False),
        (group(NotFound(), group(TimeoutError(), group(ValueError()))), "INTERNAL_SERVER_ERROR", False),
        (BaseExceptionGroup("", [NotFound(), KeyboardInterrupt()]), "INTERNAL_SERVER_ERROR", False),
    ],
)
def test_a_group_is_what_its_leaves_agree_on_else_the_worst(catalogue, error, code, known):
    """Leaves that agree decide; else the unknown one, then the highest status (edge case 61)."""
    failure = catalogue.classify(error)
    assert (failure.spec.code, failure.known) == (code, known)


def test_a_group_keeps_the_facts_of_the_leaf_that_decides(catalogue):
    """Details and headers are those of the deciding leaf."""
    failure = catalogue.classify(group(NotFound(details="a"), Conflict("b", details="c", headers={"d": "e"})))
    assert (failure.message, failure.details, failure.headers) == ("b", "c", {"d": "e"})


def test_a_group_nested_too_deep_is_unknown(catalogue, failures):
    """Not even a group thousands of levels deep makes the classification fail."""
    error = NotFound()
    for _ in range(5_000):
        error = group(error)
    assert not catalogue.classify(error).known
    assert failures


# -------------------------------------------------------------------------------------------------- registration


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AUTH_TOKEN_EXPIRED", 401),
        ("PREDICTION_GENERATION_FAILED", 500),
        ("DATABASE_CONNECTION_FAILED", 503),
    ],
)
def test_an_application_registers_its_own(catalogue, code, status):
    """A registered code has its status, message, docs path and flags; the default of that status stays."""
    standard = catalogue.for_status(status)
    spec = catalogue.register(code, status=status, message="Own", docs_path="own", retry=True, alert=True)
    assert catalogue.classify(AppError(code=code)).spec is spec is catalogue[code]
    assert (spec.status, spec.message, spec.docs_path, spec.retry, spec.alert) == (
        status,
        "Own",
        "own",
        True,
        True,
    )
    assert catalogue.for_status(status) is standard
    assert spec in list(catalogue)


@pytest.mark.parametrize(("status", "alert"), [(499, False), (500, True)])
def test_a_server_error_alerts_unless_told_otherwise(catalogue, status, alert):
    """`alert` follows from the status when it is not given."""
    assert catalogue.register("A_B_C", status=status, message="x").alert is alert
    assert catalogue.register("A_B_C", status=500, message="x", alert=False).alert is False


def test_the_message_of_a_standard_status_can_be_replaced(catalogue):
    """Registering the code of a standard row again changes what everybody with that status says."""
    catalogue.register("REQUEST_VALUES_INVALID", status=422, message="Invalid search values")
    assert catalogue.classify(HTTPException(422)).message == "Invalid search values"
    assert ErrorCatalogue().for_status(422).message == "Invalid filter values"


def test_the_default_of_a_status_can_be_another_code(catalogue):
    """`default=True` makes a code the one for errors of that status that name none."""
    own = catalogue.register("SEARCH_FILTER_INVALID", status=422, message="Bad filter", default=True)
    teapot = catalogue.register("KITCHEN_POT_WRONG", status=418, message="Short and stout", default=True)
    assert catalogue.classify(HTTPException(422)).spec is own
    assert catalogue.classify(HTTPException(418)).spec is teapot


@pytest.mark.parametrize(("code", "status"), [("token", 401), ("A_B", 200), ("A_B", "401")])
def test_a_wrong_registration_is_refused(catalogue, code, status):
    """A malformed code or status is refused when it is registered, and changes nothing."""
    with pytest.raises(ValueError, match="expected"):
        catalogue.register(code, status=status, message="x")
    assert list(catalogue) == [*STANDARD, *BESIDES]


# ------------------------------------------------------------------------------------------------------- mapping


def test_a_mapping_covers_subclasses(catalogue):
    """An exception is looked up along its MRO, and the nearest entry wins."""
    catalogue.map(DriverError, "UPSTREAM_BAD_GATEWAY")
    assert catalogue.classify(ConnectionLost("secret")).spec.status == 502
    catalogue.map(ConnectionLost, "SERVICE_UNAVAILABLE")
    assert catalogue.classify(ConnectionLost("secret")).spec.status == 503
    assert catalogue.classify(DriverError("secret")).spec.status == 502


def test_the_first_base_with_an_entry_wins(catalogue):
    """Of several bases the order of inheritance decides, for the built-in entries too."""
    catalogue.map(DriverError, "UPSTREAM_BAD_GATEWAY")
    cases = {
        type("A", (DriverError, TimeoutError), {}): 502,
        type("B", (TimeoutError, DriverError), {}): 504,
        type("C", (NotFound, TimeoutError), {}): 404,
        type("D", (DriverError, NotFound), {}): 502,
    }
    assert {kind: catalogue.classify(kind()).spec.status for kind in cases} == cases


def test_built_in_meanings_can_be_replaced(catalogue):
    """An entry for TimeoutError, HTTPException, or a kind of group replaces what is known from the start."""
    for kind in (TimeoutError, HTTPException, ExceptionGroup):
        catalogue.map(kind, "RESOURCE_STATE_CONFLICT")
    for error in (TimeoutError(), HTTPException(404), group(ValueError())):
        assert catalogue.classify(error).spec.status == 409


def test_a_callable_decides_by_the_exception(catalogue):
    """A mapping may be a callable that returns a code or an AppError."""
    catalogue.map(DriverError, lambda error: error.args[0])
    assert catalogue.classify(DriverError("SERVICE_UNAVAILABLE")).spec.status == 503
    answer = RateLimitExceeded("Slow down", retry_after=7)
    failure = catalogue.classify(DriverError(answer))
    assert (failure.spec.status, failure.message, failure.retry_after) == (429, "Slow down", 7)


@pytest.mark.parametrize("nonsense", [None, 404, "NOT_REGISTERED_HERE", ValueError("secret"), object()])
def test_a_callable_that_returns_nonsense_is_reported(catalogue, failures, nonsense):
    """What is neither an AppError nor a registered code is a mistake: it is counted, and the exception is unknown."""

    def meaning(error):
        return nonsense

    catalogue.map(DriverError, meaning)
    assert not catalogue.classify(DriverError()).known
    assert failures == {meaning.__qualname__: 1}


def test_a_callable_that_raises_is_reported(catalogue, failures, caplog):
    """A mapping that fails does not hide the exception that it was to explain (edge case 66)."""

    def meaning(error):
        raise LookupError("the mapping itself")

    catalogue.map(DriverError, meaning)
    assert not catalogue.classify(DriverError()).known
    assert failures == {meaning.__qualname__: 1}
    assert "the mapping itself" in caplog.text


@pytest.mark.parametrize("exception", ["ValueError", ValueError(), int, None])
def test_only_exception_classes_are_mapped(catalogue, exception):
    """Anything but an exception class is refused, and named."""
    with pytest.raises(TypeError, match="expected an exception class, got"):
        catalogue.map(exception, "RESOURCE_NOT_FOUND")


def test_only_registered_codes_are_mapped_to(catalogue):
    """A mapping to a code that does not exist is refused when it is made."""
    with pytest.raises(ValueError, match=r"code='NO_SUCH_CODE' of .*DriverError is not registered"):
        catalogue.map(DriverError, "NO_SUCH_CODE")


def test_the_shared_catalogue_is_what_the_short_names_change():
    """`register_error` and `map_exception` are those of the shared catalogue."""
    assert error_catalogue.register_error.__self__ is error_catalogue.catalogue
    assert error_catalogue.map_exception.__self__ is error_catalogue.catalogue


def test_trios_timeout_is_a_timeout():
    """`trio.fail_after` raises an exception of its own, which means what `TimeoutError` means."""
    failure = ErrorCatalogue().classify(trio.TooSlowError())
    assert (failure.spec.code, failure.known) == ("REQUEST_TIMED_OUT", True)
