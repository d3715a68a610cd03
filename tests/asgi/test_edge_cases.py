"""Edge cases of the inbound stack that belong to no single layer; the numbers are those of the project's list."""

import pytest

from asgi_resilience.middleware.error_envelope import ErrorEnvelopeMiddleware
from asgi_resilience.testing import asgi_request

pytestmark = pytest.mark.anyio


async def test_a_client_that_leaves_during_the_error_answer_does_not_hide_the_error():
    """When `send` raises OSError while a 500 is answered, the app's own exception still goes on (edge cases 32, 60)."""

    async def app(scope, receive, send):
        raise ValueError("the cause")

    response = await asgi_request(ErrorEnvelopeMiddleware(app), disconnect_after=0, spec_version="2.4")
    assert isinstance(response.exception, ValueError)
