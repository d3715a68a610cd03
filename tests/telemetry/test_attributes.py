"""What handlers tell their span, where there is no tracer; with one, see `test_tracing.py`."""

import sys

import pytest
from starlette.responses import PlainTextResponse

from asgi_resilience import TraceContextMiddleware, current_request
from asgi_resilience.telemetry import keep_trace, set_attributes
from asgi_resilience.testing import asgi_request

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def test_outside_of_a_request_nothing_happens():
    """Code that is shared with scripts may call them anywhere."""
    set_attributes(match_id="a1", cache_hit=True)
    keep_trace()
    assert "ddtrace.trace" not in sys.modules


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [{}, {"traceparent": TRACEPARENT}])
async def test_a_trace_that_is_kept_is_sampled_from_then_on(headers):
    """Without a tracer the services that are called are told to keep the trace; attributes have nowhere to go."""
    seen = []

    async def app(scope, receive, send):
        record = current_request()
        seen.append(None if record.trace is None else record.trace.sampled)
        set_attributes(match_id="a1")
        keep_trace()
        seen.append((record.trace.sampled, record.trace.priority))
        await PlainTextResponse("ok")(scope, receive, send)

    await asgi_request(TraceContextMiddleware(app), headers=headers)
    assert seen == [False if headers else None, (True, 2)]
