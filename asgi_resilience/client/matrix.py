"""The decision matrix: every kind of failure that is known, what to do about it, and what it says of the dependency.

Read from the top; the first row that matches decides. The rows of one driver are next to those of the others that mean
the same. Libraries are named, never imported.
"""

import errno
import socket
import ssl
from typing import Final

from asgi_resilience.client.classification import Outcome, Rule
from asgi_resilience.client.facts import causes

__all__ = ("DEFAULT_RULES", "MODEL_RULES", "ModelInferenceError")

_ANSWERED, _FAILURE, _NEUTRAL = Outcome.ANSWERED, Outcome.FAILURE, Outcome.NEUTRAL


class ModelInferenceError(Exception):
    """A model that failed to infer: raise it, or a subclass, for the row that retries once and at once."""


def _untrusted(error: BaseException) -> bool:
    return any(isinstance(each, ssl.SSLCertVerificationError) for each in causes(error))


def _no_such_host(error: BaseException) -> bool:
    return any(
        isinstance(each, socket.gaierror) and each.errno == socket.EAI_NONAME for each in causes(error)
    )


def _too_large_now(error: BaseException) -> bool:
    response = getattr(error, "response", None)
    return "retry-after" in getattr(response, "headers", ())


def _closed_meanwhile(error: BaseException) -> bool:
    return "closed" in str(error) or "released back to the pool" in str(error)


def _told_not_to_retry(error: BaseException) -> bool:
    headers = getattr(getattr(error, "response", None), "headers", None)
    return headers is not None and str(headers.get("x-retry", "")).strip().lower() == "no"


_UNREACHABLE: Final = frozenset(
    (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL)
)


def _unreachable(error: BaseException) -> bool:
    if not isinstance(error, OSError):
        return False
    # A Unix socket that nobody listens on is gone; unlike a file that is missing, it is not named.
    no_socket = error.errno == errno.ENOENT and error.filename is None
    return error.errno in _UNREACHABLE or isinstance(error, socket.gaierror) or no_socket


_CLIENT_ERRORS: Final = frozenset(range(400, 500))
_SERVER_ERRORS: Final = frozenset(range(500, 600))

_OWN: Final = (
    Rule(
        "bug in the program",
        max_retries=0,
        outcome=_NEUTRAL,
        bug=True,
        errors=(
            TypeError, AttributeError, NameError, AssertionError, NotImplementedError, ImportError, SyntaxError,
            RecursionError,
            "httpx2.InvalidURL", "httpx2.UnsupportedProtocol", "httpx2.LocalProtocolError", "httpx2.StreamError",
            "httpx.InvalidURL", "httpx.UnsupportedProtocol", "httpx.LocalProtocolError", "httpx.StreamError",
            "botocore.exceptions.ParamValidationError", "redis.exceptions.DataError",
        ),
    ),
    Rule(
        "refused before it was sent",
        max_retries=0,
        outcome=_NEUTRAL,
        errors=(
            "aiobreaker.state.CircuitBreakerError",
            "asgi_resilience.client.gate.RateLimited",
            "asgi_resilience.client.deadline.DeadlineExceeded",
            "asgi_resilience.client.deferred.CallDeferred",
        ),
    ),
    Rule("redirected too often", max_retries=0, outcome=_NEUTRAL, errors=("httpx2.TooManyRedirects", "httpx.TooManyRedirects")),
    Rule(
        "no free connection",
        max_retries=3,
        outcome=_NEUTRAL,
        errors=("httpx2.PoolTimeout", "httpx.PoolTimeout", "sqlalchemy.exc.TimeoutError", "psycopg_pool.errors.PoolTimeout"),
    ),
    Rule("certificate not trusted", max_retries=0, when=_untrusted),
    Rule("no such host", max_retries=0, when=_no_such_host),
)  # fmt: skip

_DATABASE: Final = (
    Rule(
        "deadlock or serialization failure",
        max_retries=3,
        outcome=_ANSWERED,
        sqlstates=frozenset(("40P01", "40001")),
    ),
    Rule("lock not available", max_retries=3, outcome=_ANSWERED, sqlstates=frozenset(("55P03",))),
    Rule("statement may have completed", max_retries=0, sqlstates=frozenset(("40003", "08007"))),
    Rule(
        "database connection failure",
        max_retries=3,
        sqlstates=frozenset(("08", "53300", "57P01", "57P02", "57P03", "25006")),
    ),
    Rule("database statement timeout", max_retries=0, sqlstates=frozenset(("57014",))),
    Rule("database credentials", max_retries=0, sqlstates=frozenset(("28", "3D"))),
    Rule("database out of resources", max_retries=0, sqlstates=frozenset(("53", "58", "XX"))),
    Rule(
        "rejected by the database",
        max_retries=0,
        outcome=_ANSWERED,
        sqlstates=frozenset(("0A", "21", "22", "23", "25", "2F", "40", "42", "44", "P0")),
    ),
    Rule(
        # asyncpg's word for misuse is also that for a connection which the server has ended between two queries.
        "database connection closed",
        max_retries=3,
        errors=("asyncpg.exceptions._base.InterfaceError",),
        when=_closed_meanwhile,
    ),
    Rule(
        "database connection failure",
        max_retries=3,
        errors=("psycopg.OperationalError", "psycopg.errors.OperationalError"),
    ),
)

_THROTTLED: Final = (
    Rule("quota spent", max_retries=0, outcome=_NEUTRAL, codes=frozenset(("insufficient_quota", "billing_hard_limit_reached"))),
    Rule(
        "rate limit",
        max_retries=5,
        backoff="linear",
        outcome=_NEUTRAL,
        shared_wait=True,
        statuses=frozenset((429,)),
        codes=frozenset((
            "SlowDown", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestLimitExceeded",
            "RequestThrottledException", "TooManyRequestsException", "ProvisionedThroughputExceededException",
            "BandwidthLimitExceeded", "RESOURCE_EXHAUSTED",
        )),
    ),
    Rule("too large for now", max_retries=1, outcome=_NEUTRAL, statuses=frozenset((413,)), when=_too_large_now),
)  # fmt: skip

_REDIS: Final = (
    Rule(
        "redis credentials",
        max_retries=0,
        errors=("redis.exceptions.AuthenticationError", "redis.exceptions.AuthorizationError"),
    ),
    Rule(
        "redis is not ready",
        max_retries=3,
        errors=(
            "redis.exceptions.BusyLoadingError", "redis.exceptions.ReadOnlyError", "redis.exceptions.TryAgainError",
            "redis.exceptions.ClusterDownError", "redis.exceptions.MasterDownError",
        ),
    ),
    Rule("rejected by redis", max_retries=0, outcome=_ANSWERED, errors=("redis.exceptions.ResponseError",)),
)  # fmt: skip

_HTTP: Final = (
    Rule("told not to retry", max_retries=0, statuses=_SERVER_ERRORS, when=_told_not_to_retry),
    Rule("bad gateway, unavailable or gateway timeout", max_retries=3, statuses=frozenset((502, 503, 504))),
    Rule("model overloaded", max_retries=1, backoff="immediate", statuses=frozenset((529,))),
    Rule("wrong connection or too early", max_retries=1, backoff="immediate", outcome=_ANSWERED, statuses=frozenset((421, 425))),
    Rule("request did not arrive", max_retries=3, outcome=_ANSWERED, statuses=frozenset((408,)), codes=frozenset(("RequestTimeout",))),
    Rule("not implemented", max_retries=0, outcome=_ANSWERED, statuses=frozenset((501,))),
    Rule("client error", max_retries=0, outcome=_ANSWERED, statuses=_CLIENT_ERRORS),
)  # fmt: skip

_MODEL: Final = (
    Rule(
        "model inference error",
        max_retries=1,
        backoff="immediate",
        errors=(
            ModelInferenceError,
            "openai.InternalServerError", "anthropic.InternalServerError",
            "tritonclient.utils.InferenceServerException", "torch.OutOfMemoryError",
            "xgboost.core.XGBoostError",
        ),
    ),
)  # fmt: skip

_NETWORK: Final = (
    Rule("server error", max_retries=0, statuses=_SERVER_ERRORS),
    Rule(
        "network timeout",
        max_retries=3,
        codes=frozenset(("DEADLINE_EXCEEDED",)),
        errors=(
            TimeoutError,
            "httpx2.TimeoutException", "httpx.TimeoutException", "redis.exceptions.TimeoutError",
            "botocore.exceptions.ConnectTimeoutError", "botocore.exceptions.ReadTimeoutError", "psycopg.errors.ConnectionTimeout",
            "openai.APITimeoutError", "anthropic.APITimeoutError",
        ),
    ),
    Rule(
        "connection failure",
        max_retries=3,
        codes=frozenset(("UNAVAILABLE",)),
        errors=(
            ConnectionError, "asyncio.exceptions.IncompleteReadError",
            "httpx2.NetworkError", "httpx2.RemoteProtocolError", "httpx2.ProxyError",
            "httpx.NetworkError", "httpx.RemoteProtocolError", "httpx.ProxyError",
            "aiohttp.client_exceptions.ClientConnectionError", "aiohttp.client_exceptions.ClientPayloadError",
            "redis.exceptions.ConnectionError",
            "botocore.exceptions.EndpointConnectionError", "botocore.exceptions.ConnectionClosedError",
            "botocore.exceptions.ResponseStreamingError",
            "openai.APIConnectionError", "anthropic.APIConnectionError",
        ),
    ),
    Rule("host unreachable", max_retries=3, when=_unreachable),
)  # fmt: skip

DEFAULT_RULES: Final[tuple[Rule, ...]] = (
    *_OWN, *_DATABASE, *_THROTTLED, *_REDIS, *_MODEL, *_HTTP, *_NETWORK,
)  # fmt: skip
"""The specification's rows, and those for what its dependencies raise besides."""

MODEL_RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "inference timeout",
        max_retries=1,
        backoff="immediate",
        errors=(TimeoutError, "httpx2.TimeoutException", "httpx.TimeoutException"),
        statuses=frozenset((504,)),
    ),
    *DEFAULT_RULES,
)
"""For a model service: a slow inference is retried once, at once; it is too dear for more."""
