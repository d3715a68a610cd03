"""A lifespan for every application."""

import anyio
import pytest
from starlette.applications import Starlette

from asgi_resilience.lifespan import Lifespan
from asgi_resilience.testing import ASGILint

pytestmark = pytest.mark.anyio

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}


async def live(app, *events):
    """Send the events; what happened, in order."""
    happened = []
    waiting = list(events)

    async def receive():
        return waiting.pop(0)

    async def send(message):
        happened.append(message["type"])

    async def end():
        await anyio.lowlevel.checkpoint()
        happened.append("end")

    await ASGILint(Lifespan(app, end))({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    assert not waiting
    return happened


async def raises(scope, receive, send):
    """An application without lifespan."""
    raise LookupError


async def returns(scope, receive, send):
    """Another one."""


@pytest.mark.parametrize("app", [raises, returns, Starlette()])
async def test_every_application_has_one(app):
    """Also one that raises or returns at the lifespan scope: the server is answered, and the end is heard of."""
    happened = await live(app, STARTUP, SHUTDOWN)
    assert happened == ["lifespan.startup.complete", "end", "lifespan.shutdown.complete"]


async def test_a_failed_startup_stays_one():
    """What an application raises after it has asked is its own, and nothing is answered in its place."""

    async def fails(scope, receive, send):
        await receive()
        raise LookupError

    with pytest.raises(LookupError):
        await live(fails, STARTUP)


async def test_requests_pass():
    """The arguments are the application's, untouched."""
    seen = []

    async def app(*arguments):
        seen.append(arguments)

    scope = {"type": "http"}
    await Lifespan(app, print)(scope, "receive", "send")
    assert seen == [(scope, "receive", "send")]
    assert seen[0][0] is scope
