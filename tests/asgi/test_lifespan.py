"""Lifespan, and kinds of connections that nobody knows yet, pass through every layer."""

import pytest

from tests.asgi.layers import NAMES, CountingSink, layer

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("name", NAMES)]


async def serve(app, scope, *questions):
    """What the app answers to these messages; the messages themselves must arrive as they are."""
    asked = list(questions)
    answers = []

    async def receive():
        return asked.pop(0)

    async def send(message):
        answers.append(message)

    await app(scope, receive, send)
    return answers


def lifespan_scope():
    return {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}


async def test_a_lifespan_passes(name):
    """Startup, its state and shutdown reach the app, and its answers the server (edge case 17)."""
    seen = []

    async def app(scope, receive, send):
        seen.append(await receive())
        scope["state"]["pool"] = "ready"
        await send({"type": "lifespan.startup.complete"})
        seen.append(await receive())
        await send({"type": "lifespan.shutdown.complete"})

    questions = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    scope = lifespan_scope()
    answers = await serve(layer(name, CountingSink())(app), scope, *questions)
    assert answers == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    assert seen == questions
    assert scope["state"] == {"pool": "ready"}


async def test_a_failed_startup_is_told(name):
    """`startup.failed` and its message reach the server (edge case 17)."""
    failed = {"type": "lifespan.startup.failed", "message": "no database"}

    async def app(scope, receive, send):
        await receive()
        await send(failed)

    assert await serve(layer(name, CountingSink())(app), lifespan_scope(), {"type": "lifespan.startup"}) == [
        failed
    ]


async def test_an_app_without_lifespan_raises_unchanged(name, caplog):
    """The exception of an app that knows no lifespan reaches the server, and nobody logs it (edge case 18)."""
    error = NotImplementedError("http only")

    async def app(scope, receive, send):
        raise error

    with pytest.raises(NotImplementedError) as raised:
        await serve(layer(name, CountingSink())(app), lifespan_scope(), {"type": "lifespan.startup"})
    assert raised.value is error
    assert caplog.records == []


async def test_an_unknown_kind_of_connection_passes(name):
    """A scope of an unknown type reaches the app as the very same object (edge case 19)."""
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await send({"type": "quic.answer", "to": await receive()})

    scope = {"type": "quic"}
    answers = await serve(layer(name, CountingSink())(app), scope, {"type": "quic.question"})
    assert answers == [{"type": "quic.answer", "to": {"type": "quic.question"}}]
    assert scopes[0] is scope
