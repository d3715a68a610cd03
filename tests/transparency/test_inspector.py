"""An independent inspector of the ASGI protocol, outside and inside of every layer: it must find no difference."""

from collections import Counter

import anyio
import pytest
from hypothesis import HealthCheck, given, settings

from asgi_resilience.testing import asgi_request, asgi_websocket
from tests.asgi.layers import NAMES, CountingSink, layer
from tests.asgi.scripts import EXTENSIONS, REQUEST_BODY, Script, complete_scripts, materialised

asgion = pytest.importorskip("asgion", reason="asgion has wheels for Python 3.12 and later only")


def violations(inspector):
    """What was found, without what differs by its nature: the number of the connection."""
    return Counter((found.rule_id, found.message) for found in inspector.violations)


async def serve(name, app, client):
    """Serve one connection to `Inspector(layer(Inspector(app)))`, and give both their findings."""
    inside = asgion.Inspector(app)
    outside = asgion.Inspector(layer(name, CountingSink())(inside))
    await client(outside)
    return violations(inside), violations(outside)


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=complete_scripts(longest_sleep=0.0))
def test_no_http_response_gets_worse(name, script: Script):
    """For every legal response the inspector outside finds nothing that the one inside does not find."""

    async def app(scope, receive, send):
        for step in script.steps:
            if step[0] == "receive":
                await receive()
            elif step[0] == "send":
                # asgion takes nothing but a list for headers, and looks for a content type only where there is one.
                message = materialised(step[1], "list")
                if message["type"] == "http.response.start":
                    message.setdefault("headers", [])
                await send(message)

    async def client(outside):
        response = await asgi_request(outside, script.method, "/x", body=REQUEST_BODY, extensions=EXTENSIONS)
        assert response.complete

    inside, outside = anyio.run(serve, name, app, client)
    assert outside <= inside


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", ["return", "raise"])
def test_no_failing_app_gets_worse(name, ending):
    """An app that raises, or returns without a response, is answered or left alone; nothing illegal comes of it."""

    async def app(scope, receive, send):
        if ending == "raise":
            raise ValueError

    async def client(outside):
        await asgi_request(outside)

    inside, outside = anyio.run(serve, name, app, client)
    assert outside <= inside


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", ["close", "raise", "refuse"])
def test_no_websocket_gets_worse(name, ending):
    """Conversations, refusals and failures of a websocket app stay as legal as they were."""

    async def app(scope, receive, send):
        await receive()
        if ending != "refuse":
            await send({"type": "websocket.accept", "headers": [(b"x-a", b"1")]})
            await send({"type": "websocket.send", "text": "a"})
            await receive()
        if ending == "raise":
            raise ValueError
        await send({"type": "websocket.close", "code": 1000})

    async def client(outside):
        await asgi_websocket(outside, messages=["a"], extensions={"websocket.http.response": {}})

    inside, outside = anyio.run(serve, name, app, client)
    assert outside <= inside
