"""The staged timeout against a model of it, over made-up courses of time."""

from dataclasses import dataclass

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_resilience.errors import RequestTimedOut
from asgi_resilience.middleware.timeout import TimeoutMiddleware
from asgi_resilience.testing import ASGILint, asgi_request, virtual_time

RESPONSE, IDLE, EVENT_IDLE, STREAM = 30.0, 20.0, 45.0, 100.0
PAUSES = (0.0, 7.013, 19.517, 20.539, 29.561, 31.177, 46.289, 200.0)  # no sum of them is a limit

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
EVENTS = {**START, "headers": [(b"content-type", b"text/event-stream; charset=utf-8")]}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}
HINT = {"type": "http.response.early_hint", "links": []}


@dataclass(frozen=True)
class Course:
    """Pauses before each message; `client_delay`: seconds that each `send` takes; `stubborn`: cancellation is ignored."""

    steps: tuple[tuple[float, dict], ...]
    tail: float
    client_delay: float
    stubborn: bool


@dataclass
class Expected:
    """What the model says: when each message leaves, and how it ends."""

    times: list[float]
    kinds: list[str]
    answered: bool = False
    cut: bool = False


def model(course: Course) -> Expected:
    """The stages, in plain arithmetic."""
    now, idle = 0.0, IDLE
    waiting, done = True, False
    idle_ends = stream_ends = float("inf")
    expected = Expected([], [])
    for pause, message in course.steps:
        limit = RESPONSE if waiting else float("inf") if done else min(idle_ends, stream_ends)
        if now + pause > limit:
            expected.answered, expected.cut = waiting, not waiting
            if waiting:
                expected.times += [RESPONSE, RESPONSE + course.client_delay]
                expected.kinds += ["http.response.start", "http.response.body"]
            return expected
        now += pause
        expected.times.append(now)
        expected.kinds.append(message["type"])
        if message["type"] == "http.response.start":
            waiting = False
            idle = EVENT_IDLE if message is EVENTS else IDLE
            stream_ends = now + STREAM
        done = done or (message["type"] == "http.response.body" and not message.get("more_body", False))
        if now + course.client_delay > RESPONSE and waiting:
            expected.answered = True
            expected.times += [RESPONSE, RESPONSE + course.client_delay]
            expected.kinds += ["http.response.start", "http.response.body"]
            return expected
        if now + course.client_delay > stream_ends and not done:
            expected.cut = True
            return expected
        now += course.client_delay
        idle_ends = now + idle
    return expected


@st.composite
def courses(draw):
    pause = st.sampled_from(PAUSES)
    start = draw(st.sampled_from((START, EVENTS)))
    steps = [(draw(pause), HINT)] if draw(st.booleans()) else []
    steps.append((draw(pause), start))
    steps += [(draw(pause), PART) for _ in range(draw(st.integers(0, 4)))]
    steps.append((draw(pause), {"type": "http.response.body"}))
    delay = draw(st.sampled_from((0.0, 0.0, 25.331)))
    return Course(tuple(steps), draw(st.sampled_from((0.0, 1000.0))), delay, draw(st.booleans()))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(course=courses())
def test_the_timeout_follows_its_model(backend, course):
    """Each message leaves when it should, the 504 at its moment, a cut response raises, background work runs to its end.

    (Edge cases 37, 38, 39, 43, 44.)
    """
    kinds, times, finished = [], [], []
    stubborn = course.stubborn and backend == "asyncio"

    async def app(scope, receive, send):
        for pause, message in course.steps:
            try:
                await anyio.sleep(pause)
                await send(message)
            except anyio.get_cancelled_exc_class():
                if not stubborn:
                    raise
        await anyio.sleep(course.tail)
        finished.append(True)

    guarded = ASGILint(
        TimeoutMiddleware(
            app, seconds=RESPONSE, stream_idle=IDLE, event_stream_idle=EVENT_IDLE, stream=STREAM
        )
    )

    async def slow_client(scope, receive, send):
        async def slow_send(message):
            kinds.append(message["type"])
            times.append(anyio.current_time())
            await anyio.sleep(course.client_delay)
            await send(message)

        await guarded(scope, receive, slow_send)

    async def main():
        return await asgi_request(slow_client, extensions={"http.response.early_hint": {}})

    name, options = virtual_time(backend)
    response = anyio.run(main, backend=name, backend_options=options)
    expected = model(course)
    assert kinds == expected.kinds
    assert times == pytest.approx(expected.times, abs=0.01)
    assert isinstance(response.exception, RequestTimedOut) is expected.cut
    assert response.status == (504 if expected.answered else 200)
    assert response.complete is not expected.cut
    assert bool(finished) is not (expected.cut or expected.answered) or stubborn
