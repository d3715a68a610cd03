"""Faults in the place of the application, as the client, the log and the other layers meet them."""

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from asgi_resilience import FaultInjectionMiddleware, Settings, stack, wrap
from asgi_resilience.faults import Abort, ErrorStatus, Fault, FaultPlan, Latency, Raise, SlowBody, Truncate
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio
pytest_plugins = ["asgi_resilience.testing.fixtures"]


async def hello(request):
    return PlainTextResponse("hello")


async def parts(request):
    async def body():
        for _ in range(3):
            yield b"0123456789"

    return StreamingResponse(body())


async def file(scope, receive, send):
    """Lets the server send a file by itself wherever it can."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if "http.response.pathsend" in scope["extensions"]:
        await send({"type": "http.response.pathsend", "path": __file__})
    else:
        await send({"type": "http.response.body", "body": b"file"})


APP = Starlette(routes=[Route("/", hello), Route("/parts", parts), Mount("/file", file)])


async def get(effect, path="/", app=APP, **options):
    """Ask the app alone behind a fault."""
    faulty = FaultInjectionMiddleware(app, faults=[Fault(effect)])
    return await asgi_request(ASGILint(faulty), path=path, **options)


async def test_no_fault_no_change(fault_plan):
    """An empty plan, and a plan for others, hand a request on as it is."""
    app = FaultInjectionMiddleware(APP, faults=fault_plan)
    for faults in ((), (Fault(Abort(), path="/other"),)):
        fault_plan.replace(*faults)
        response = await asgi_request(app)
        assert (response.status, response.body) == (200, b"hello")
        assert "x-injected-fault" not in response.headers
    assert fault_plan.injected == {}


async def test_latency():
    """The application is asked later; the response is marked."""
    response = await get(Latency(2.0))
    assert response.times == [2, 2]
    assert response.headers["x-injected-fault"] == "inbound:latency"


async def test_an_error_status_is_the_envelope():
    """The application is not asked; the answer is the envelope of that status, with the wait."""

    async def never(scope, receive, send):
        raise AssertionError("asked")

    response = await get(ErrorStatus(503, retry_after=7.0), app=never)
    assert response.status == 503
    assert response.headers["retry-after"] == "7"
    assert response.headers["x-injected-fault"] == "inbound:status_503"
    assert response.json()["error"]["code"] == "SERVICE_UNAVAILABLE"


async def test_an_exception():
    """It is raised as it is, for the envelope outside."""
    response = await get(Raise(KeyError))
    assert isinstance(response.exception, KeyError)
    assert response.messages == []


async def test_an_abort_ends_without_an_answer():
    """Headers announce a body that never comes; the exception makes the server cut the connection."""
    response = await get(Abort())
    assert response.body == b""
    assert response.headers["content-length"] == "1"
    assert not response.complete
    assert str(response.exception) == "injected fault: abort"


@pytest.mark.parametrize(
    ("path", "after", "arrives"),
    [
        ("/", 0, b""),
        ("/", 2, b"he"),
        ("/", 100, b"hell"),
        ("/parts", 0, b""),
        ("/parts", 15, b"012345678901234"),
        ("/parts", 100, b"0123456789" * 3),
        ("/file/", 3, b"fil"),
    ],
)
async def test_a_body_is_cut(path, after, arrives):
    """So many bytes arrive, never the whole response, and the connection is cut; also of a file."""
    response = await get(Truncate(after), path=path, extensions={"http.response.pathsend": {}})
    assert response.body == arrives
    assert not response.complete
    assert "injected fault: truncated_body" in str(response.exception)
    assert response.headers["x-injected-fault"] == "inbound:truncated_body"


async def test_an_application_that_catches_is_cut_all_the_same():
    """What swallows the exception of `send`, and goes on sending, adds nothing."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            try:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
            except Exception:
                continue

    response = await get(Truncate(1), app=app)
    assert response.body == b"x"
    assert str(response.exception) == "injected fault: truncated_body"


async def test_a_body_trickles():
    """It arrives complete, in pieces, no faster than said."""
    response = await get(SlowBody(10.0))
    assert response.body == b"hello"
    assert response.times == pytest.approx([0, 0, 0.1, 0.2, 0.3, 0.4])
    response = await get(SlowBody(10.0), path="/parts")
    assert response.body == b"0123456789" * 3
    assert response.times[-1] == pytest.approx(3.0)
    assert response.complete


async def test_several_faults_add_up(fault_plan):
    """Late, slow, and cut: each is made, in order, and each is marked."""
    fault_plan.replace(Fault(Latency(1.0)), Fault(SlowBody(10.0)), Fault(Truncate(3)))
    response = await asgi_request(FaultInjectionMiddleware(APP, faults=fault_plan))
    assert response.body == b"hel"
    assert (
        response.headers["x-injected-fault"] == "inbound:latency, inbound:slow_body, inbound:truncated_body"
    )
    assert response.times[0] == 1
    assert fault_plan.injected == {"latency": 1, "slow_body": 1, "truncated_body": 1}


async def test_in_the_stack_every_layer_meets_it(kept_lines, fault_plan):
    """A latency runs into the timeout, an exception into the envelope; the line names the fault."""
    app = wrap(APP, Settings(faults=fault_plan, timeout=5.0, environment="staging"))
    fault_plan.replace(Fault(Latency(60.0)))
    response = await asgi_request(app)
    assert (response.status, response.times[0]) == (504, 5)
    fault_plan.replace(Fault(Raise(RuntimeError)))
    response = await asgi_request(app)
    assert response.json()["error"]["code"] == "INTERNAL_SERVER_ERROR"
    assert response.headers["x-injected-fault"] == "inbound:exception"
    fault_plan.replace(Fault(Truncate()))
    await asgi_request(app)
    lines = kept_lines.of_requests()
    assert [line["outcome"] for line in lines] == ["timeout", "server_error", "truncated"]
    assert [line["context"]["injected_faults"] for line in lines] == [
        ["inbound:latency"],
        ["inbound:exception"],
        ["inbound:truncated_body"],
    ]


def test_a_production_stack_refuses():
    """Settings that say production don't build a stack with faults, whoever made the plan."""
    for faults in (FaultPlan(), [Fault(Abort())]):
        with pytest.raises(ValueError, match="no faults in production"):
            stack(Settings(faults=faults, environment="production"))


async def test_websockets():
    """A websocket waits, is denied, or fails; a body fault does not concern it."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    async def connect(effect):
        return await asgi_websocket(FaultInjectionMiddleware(app, faults=[Fault(effect)]))

    started = anyio.current_time()
    assert (await connect(Latency(3.0))).accepted
    assert anyio.current_time() - started == 3
    assert not (await connect(ErrorStatus(503))).accepted
    assert (await connect(Truncate())).accepted
    assert str((await connect(Abort())).exception) == "injected fault: abort"


async def test_lifespan_passes():
    """Other scopes are handed on."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    await FaultInjectionMiddleware(app, faults=[Fault(Abort())])({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]
