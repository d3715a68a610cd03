"""What the client of this service is told when a dependency fails: by name in the log, never in the answer."""

import httpx2
import pytest

from asgi_resilience.client import AttemptTimedOut, CallDeferred, CircuitOpen, DeadlineExceeded, RateLimited
from asgi_resilience.client.http.errors import ResponseFailed, as_transport_error
from asgi_resilience.error_catalogue import catalogue

REQUEST = httpx2.Request("GET", "https://provider.example/")


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (CircuitOpen("db", 12.5), 503, 12.5),
        (RateLimited("db", 7.0), 503, 7.0),
        (CallDeferred("db", "key", 300.0), 503, 300.0),
        (AttemptTimedOut("db", 1.0), 504, None),
        (DeadlineExceeded("db"), 504, None),
        (as_transport_error(CircuitOpen("db", 12.5), REQUEST), 503, 12.5),
        (as_transport_error(AttemptTimedOut("db", 1.0), REQUEST), 504, None),
        (TimeoutError(), 504, None),
    ],
    ids=repr,
)
def test_the_catalogue_knows_them(error, status, retry_after):
    """An open circuit is 503 with the time left, a timeout 504; both were expected."""
    failure = catalogue.classify(error)
    assert (failure.spec.status, failure.retry_after, failure.known) == (status, retry_after, True)
    assert "db" not in failure.message
    assert failure.details is None
    assert failure.context == ({"dependency": "db"} if hasattr(error, "dependency") else None)


def test_a_response_by_its_status():
    """An error response is named by its status where an exception is shown."""
    assert str(ResponseFailed(httpx2.Response(503))) == "HTTP status 503"
