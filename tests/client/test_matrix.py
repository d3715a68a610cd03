"""The decision matrix: what is known of each error, as the specification's table and the libraries say."""

import asyncio
import errno
import socket
import ssl

import httpx2
import pytest

from asgi_resilience.client import (
    AttemptTimedOut,
    CircuitOpen,
    DeadlineExceeded,
    ModelInferenceError,
    RateLimited,
)
from asgi_resilience.client.classification import Outcome, classify
from asgi_resilience.client.deferred import CallDeferred
from asgi_resilience.client.http.errors import ResponseFailed, as_transport_error
from asgi_resilience.client.matrix import DEFAULT_RULES, MODEL_RULES

SUCCESS, FAILURE, NEUTRAL, ANSWERED = Outcome
REQUEST = httpx2.Request("GET", "https://provider.example/")


def status(code, **headers):
    """A response with that status, as the transport raises it."""
    return ResponseFailed(
        httpx2.Response(code, headers={name.replace("_", "-"): value for name, value in headers.items()})
    )


def raised(name, **attributes):
    """An exception of a class that another library has, known by its dotted name."""
    module, _, qualname = name.rpartition(".")
    error = type(qualname, (Exception,), {"__module__": module})("x")
    error.__dict__.update(attributes)
    return error


def caused_by(error, cause):
    """An exception raised from another."""
    error.__cause__ = cause
    return error


def decided(error, rules=DEFAULT_RULES):
    """What the table says: retries, backoff and outcome."""
    rule = classify(error, rules).rule
    return rule.max_retries, rule.backoff, rule.outcome


EXPONENTIAL, LINEAR, IMMEDIATE = "exponential", "linear", "immediate"


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (TimeoutError(), (3, EXPONENTIAL, FAILURE)),
        (AttemptTimedOut("db", 1.0), (3, EXPONENTIAL, FAILURE)),
        (httpx2.ReadTimeout("x"), (3, EXPONENTIAL, FAILURE)),
        (httpx2.ConnectTimeout("x"), (3, EXPONENTIAL, FAILURE)),
        (ConnectionRefusedError(), (3, EXPONENTIAL, FAILURE)),
        (ConnectionResetError(), (3, EXPONENTIAL, FAILURE)),
        (raised("asyncpg.exceptions.DeadlockDetectedError", sqlstate="40P01"), (3, EXPONENTIAL, ANSWERED)),
        (raised("asyncpg.exceptions.SerializationError", sqlstate="40001"), (3, EXPONENTIAL, ANSWERED)),
        (raised("psycopg.errors.DeadlockDetected", sqlstate="40P01"), (3, EXPONENTIAL, ANSWERED)),
        (raised("psycopg2.errors.SerializationFailure", pgcode="40001"), (3, EXPONENTIAL, ANSWERED)),
        (
            raised("sqlalchemy.exc.DBAPIError", orig=raised("x.Y", sqlstate="40P01")),
            (3, EXPONENTIAL, ANSWERED),
        ),
        (status(429), (5, LINEAR, NEUTRAL)),
        (status(401), (0, EXPONENTIAL, ANSWERED)),
        (status(403), (0, EXPONENTIAL, ANSWERED)),
        (status(404), (0, EXPONENTIAL, ANSWERED)),
        (status(400), (0, EXPONENTIAL, ANSWERED)),
        (status(422), (0, EXPONENTIAL, ANSWERED)),
        (ModelInferenceError("out of memory"), (1, IMMEDIATE, FAILURE)),
        (status(502), (3, EXPONENTIAL, FAILURE)),
        (status(503), (3, EXPONENTIAL, FAILURE)),
        (status(504), (3, EXPONENTIAL, FAILURE)),
    ],
    ids=repr,
)
def test_the_specifications_rows(error, decision):
    """Each row of the specification's table is a row of ours."""
    assert decided(error) == decision


@pytest.mark.parametrize("code", [402, 405, 409, 410, 411, 412, 414, 415, 451, 501])
def test_statuses_that_never_change(code):
    """Statuses that the same request will get again are not retried, and not held against the dependency."""
    assert decided(status(code)) == (0, EXPONENTIAL, ANSWERED)


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (status(408), (3, EXPONENTIAL, ANSWERED)),
        (status(413), (0, EXPONENTIAL, ANSWERED)),
        (status(413, retry_after="9"), (1, EXPONENTIAL, NEUTRAL)),
        (status(421), (1, IMMEDIATE, ANSWERED)),
        (status(425), (1, IMMEDIATE, ANSWERED)),
        (status(500), (0, EXPONENTIAL, FAILURE)),
        (status(505), (0, EXPONENTIAL, FAILURE)),
        (status(511), (0, EXPONENTIAL, FAILURE)),
        (status(529), (1, IMMEDIATE, FAILURE)),
        (
            raised("openai.RateLimitError", status_code=429, code="insufficient_quota"),
            (0, EXPONENTIAL, NEUTRAL),
        ),
        (raised("openai.RateLimitError", status_code=429), (5, LINEAR, NEUTRAL)),
        (raised("openai.InternalServerError", status_code=500), (1, IMMEDIATE, FAILURE)),
        (raised("openai.APITimeoutError"), (3, EXPONENTIAL, FAILURE)),
    ],
    ids=repr,
)
def test_other_statuses(error, decision):
    """What RFC 9110 and the model services say of their statuses."""
    assert decided(error) == decision


@pytest.mark.parametrize("word", ["no", " No "])
def test_told_not_to_retry(word):
    """A server that says `X-Retry: no` with its error is left alone, and has failed all the same."""
    assert decided(status(503, x_retry=word)) == (0, EXPONENTIAL, FAILURE)
    assert decided(status(503, x_retry="yes")) == decided(status(503)) == (3, EXPONENTIAL, FAILURE)


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (httpx2.PoolTimeout("x"), (3, EXPONENTIAL, NEUTRAL)),
        (raised("sqlalchemy.exc.TimeoutError"), (3, EXPONENTIAL, NEUTRAL)),
        (httpx2.ReadError("x"), (3, EXPONENTIAL, FAILURE)),
        (httpx2.RemoteProtocolError("x"), (3, EXPONENTIAL, FAILURE)),
        (asyncio.IncompleteReadError(b"", 3), (3, EXPONENTIAL, FAILURE)),
        (OSError(errno.EHOSTUNREACH, "x"), (3, EXPONENTIAL, FAILURE)),
        (OSError(errno.ENOSPC, "x"), (0, EXPONENTIAL, FAILURE)),
        (FileNotFoundError(errno.ENOENT, "x"), (3, EXPONENTIAL, FAILURE)),  # of a Unix socket
        (FileNotFoundError(errno.ENOENT, "x", "model.bin"), (0, EXPONENTIAL, FAILURE)),
        (socket.gaierror(socket.EAI_AGAIN, "x"), (3, EXPONENTIAL, FAILURE)),
        (socket.gaierror(socket.EAI_NONAME, "x"), (0, EXPONENTIAL, FAILURE)),
        (
            caused_by(httpx2.ConnectError("x"), socket.gaierror(socket.EAI_NONAME, "x")),
            (0, EXPONENTIAL, FAILURE),
        ),
        (
            caused_by(httpx2.ConnectError("x"), ssl.SSLCertVerificationError(1, "x")),
            (0, EXPONENTIAL, FAILURE),
        ),
        (httpx2.TooManyRedirects("x"), (0, EXPONENTIAL, NEUTRAL)),
    ],
    ids=repr,
)
def test_the_network(error, decision):
    """What will not get better is not retried: a certificate, a name that does not exist."""
    assert decided(error) == decision


@pytest.mark.parametrize(
    ("sqlstate", "decision"),
    [
        ("08006", (3, EXPONENTIAL, FAILURE)),
        ("08007", (0, EXPONENTIAL, FAILURE)),
        ("40003", (0, EXPONENTIAL, FAILURE)),
        ("53300", (3, EXPONENTIAL, FAILURE)),
        ("57P01", (3, EXPONENTIAL, FAILURE)),
        ("57P03", (3, EXPONENTIAL, FAILURE)),
        ("25006", (3, EXPONENTIAL, FAILURE)),
        ("55P03", (3, EXPONENTIAL, ANSWERED)),
        ("57014", (0, EXPONENTIAL, FAILURE)),
        ("28P01", (0, EXPONENTIAL, FAILURE)),
        ("53100", (0, EXPONENTIAL, FAILURE)),
        ("23505", (0, EXPONENTIAL, ANSWERED)),
        ("42601", (0, EXPONENTIAL, ANSWERED)),
        ("22P02", (0, EXPONENTIAL, ANSWERED)),
        ("40002", (0, EXPONENTIAL, ANSWERED)),
    ],
)
def test_sqlstates(sqlstate, decision):
    """An interrupted connection is retried, one lost in the middle of a commit is not, a violated constraint is an answer."""
    assert decided(raised("asyncpg.exceptions.PostgresError", sqlstate=sqlstate)) == decision


@pytest.mark.parametrize(
    ("name", "decision"),
    [
        ("redis.exceptions.ConnectionError", (3, EXPONENTIAL, FAILURE)),
        ("redis.exceptions.TimeoutError", (3, EXPONENTIAL, FAILURE)),
        ("redis.exceptions.BusyLoadingError", (3, EXPONENTIAL, FAILURE)),
        ("redis.exceptions.ReadOnlyError", (3, EXPONENTIAL, FAILURE)),
        ("redis.exceptions.TryAgainError", (3, EXPONENTIAL, FAILURE)),
        ("redis.exceptions.ClusterDownError", (3, EXPONENTIAL, FAILURE)),
        ("redis.exceptions.AuthenticationError", (0, EXPONENTIAL, FAILURE)),
        ("redis.exceptions.ResponseError", (0, EXPONENTIAL, ANSWERED)),
        ("redis.exceptions.DataError", (0, EXPONENTIAL, NEUTRAL)),
        ("botocore.exceptions.ReadTimeoutError", (3, EXPONENTIAL, FAILURE)),
        ("botocore.exceptions.EndpointConnectionError", (3, EXPONENTIAL, FAILURE)),
        ("botocore.exceptions.ParamValidationError", (0, EXPONENTIAL, NEUTRAL)),
        ("aiohttp.client_exceptions.ClientConnectionError", (3, EXPONENTIAL, FAILURE)),
        ("psycopg.OperationalError", (3, EXPONENTIAL, FAILURE)),
    ],
)
def test_errors_by_name(name, decision):
    """The errors of drivers that are not imported are known by name."""
    assert decided(raised(name)) == decision


@pytest.mark.parametrize(
    ("message", "retries"),
    [
        ("connection is closed", 3),
        ("cannot call Connection.fetchval(): connection has been released back to the pool", 3),
        ("cannot perform operation: another operation is in progress", 0),
    ],
)
def test_asyncpgs_interface_error(message, retries):
    """The text alone says with asyncpg whether a connection is gone or was misused."""
    error = type("InterfaceError", (Exception,), {"__module__": "asyncpg.exceptions._base"})(message)
    assert decided(error) == (retries, EXPONENTIAL, FAILURE)


def test_the_names_of_redis_and_botocore_exist():
    """What the table calls errors of redis and botocore are classes of these packages."""
    packages = {"redis": "redis.exceptions", "botocore": "botocore.exceptions"}
    for package, module in packages.items():
        found = pytest.importorskip(module)
        names = [
            name for rule in DEFAULT_RULES for name in rule.errors if str(name).startswith(f"{package}.")
        ]
        assert len(names) > 3
        assert [name for name in names if not hasattr(found, name.rpartition(".")[2])] == []


@pytest.mark.parametrize(
    ("code", "http_status", "decision"),
    [
        ("SlowDown", 503, (5, LINEAR, NEUTRAL)),
        ("ThrottlingException", 400, (5, LINEAR, NEUTRAL)),
        ("RequestTimeout", 400, (3, EXPONENTIAL, ANSWERED)),
        ("InternalError", 500, (0, EXPONENTIAL, FAILURE)),
        ("ServiceUnavailable", 503, (3, EXPONENTIAL, FAILURE)),
        ("NoSuchKey", 404, (0, EXPONENTIAL, ANSWERED)),
        ("PreconditionFailed", 412, (0, EXPONENTIAL, ANSWERED)),
    ],
)
def test_s3(code, http_status, decision):
    """S3's error codes count before its statuses."""
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": http_status}}
    assert decided(raised("botocore.exceptions.ClientError", response=response)) == decision


@pytest.mark.parametrize(
    ("code", "decision"),
    [
        ("UNAVAILABLE", (3, EXPONENTIAL, FAILURE)),
        ("DEADLINE_EXCEEDED", (3, EXPONENTIAL, FAILURE)),
        ("RESOURCE_EXHAUSTED", (5, LINEAR, NEUTRAL)),
        ("INTERNAL", (0, EXPONENTIAL, FAILURE)),
    ],
)
def test_grpc(code, decision):
    """The codes of gRPC are known by name."""
    assert decided(raised("grpc.aio.AioRpcError", code=code)) == decision


@pytest.mark.parametrize(
    "error",
    [
        CircuitOpen("db", 3.0),
        RateLimited("db", 3.0),
        DeadlineExceeded("db"),
        CallDeferred("db", "key", 3.0),
        as_transport_error(CircuitOpen("db", 3.0), REQUEST),
        as_transport_error(DeadlineExceeded("db"), REQUEST),
    ],
    ids=repr,
)
def test_what_was_refused_before_it_was_sent(error):
    """A rejection by another of our policies is not retried, and says nothing about the dependency."""
    assert decided(error) == (0, EXPONENTIAL, NEUTRAL)


@pytest.mark.parametrize(
    "error",
    [TypeError(), AttributeError(), NameError(), AssertionError(), httpx2.UnsupportedProtocol("x")],
    ids=repr,
)
def test_bugs(error):
    """A mistake in the program is neither retried nor counted, and no fallback hides it."""
    assert decided(error) == (0, EXPONENTIAL, NEUTRAL)
    assert classify(error, DEFAULT_RULES).rule.bug


def test_only_429_and_its_like_hold_back_everybody():
    """Of the rules, those about rate limits share their wait."""
    assert {rule.name for rule in DEFAULT_RULES if rule.shared_wait} == {"rate limit"}


@pytest.mark.parametrize("error", [TimeoutError(), httpx2.ReadTimeout("x"), status(504)], ids=repr)
def test_a_model_that_is_slow(error):
    """For a model service, a timeout is retried once, at once."""
    assert decided(error, MODEL_RULES) == (1, IMMEDIATE, FAILURE)
    assert MODEL_RULES[1:] == DEFAULT_RULES
