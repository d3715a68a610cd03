"""Processes that were forked from one: what must differ does, and what must work does."""

import json
import os
import subprocess
import sys

import pytest

from tests.server.serving import PATIENCE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")

PROGRAM = """
import asyncio, json, os, sys
from asgi_resilience import Settings, configure_logging, current_request, wrap
from asgi_resilience.client import BreakerPolicy, CircuitOpen, Dependency
from asgi_resilience.faults import FaultPlan
from asgi_resilience.telemetry import snapshot
from asgi_resilience.testing import asgi_request

settings = Settings(service="forked")
logging = configure_logging(settings)


async def bare(scope, receive, send):
    record = current_request()
    ids.append(record.trace_id)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def refuse():
    raise ConnectionRefusedError


ids = []
app = wrap(bare, settings)
dependency = Dependency("postgres", retry=None, breaker=BreakerPolicy(failures_in_a_row=3))
plan = FaultPlan()


async def serve(requests):
    found = [(await asgi_request(app)).headers["x-request-id"] for _ in range(requests)]
    trips = 0
    for _ in range(5):
        try:
            await dependency.call(refuse)
        except CircuitOpen:
            trips += 1
        except ConnectionRefusedError:
            pass
    return found, trips


def work(requests):
    before = dependency.status().state
    found, trips = asyncio.run(serve(requests))
    counted = snapshot().count("api.requests.total")
    return {
        "request_ids": found,
        "trace_ids": ids[-requests:],
        "jitter": [dependency.rnd() for _ in range(3)],
        "faults": [plan.random() for _ in range(3)],
        "counted": counted,
        "before": before,
        "trips": trips,
        "after": dependency.status().state,
    }


asyncio.run(asgi_request(app))  # every stock is filled now
children = []
for number in (1, 2):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(work(3)).encode())
        logging.sink.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        children.append(json.load(pipe))
    os.waitpid(child, 0)
print(json.dumps({"children": children, "parent": work(3)}), file=sys.stderr)
"""


def test_what_forked_workers_have_in_common_is_nothing():
    """Ids, jitter, faults, counters, lines and circuit breakers of an application that is loaded before the fork."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DD_DOGSTATSD_DISABLE": "true",
        },
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stderr)
    processes = [told["parent"], *told["children"]]
    for kind in ("request_ids", "trace_ids", "jitter", "faults"):
        values = [value for process in processes for value in process[kind]]
        assert len(set(values)) == 9, kind
    assert [process["counted"] for process in processes] == [4, 3, 3]
    assert {process["before"] for process in processes} == {"closed"}
    assert {(process["trips"], process["after"]) for process in processes} == {(2, "open")}
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    logged = [line["request_id"] for line in lines if "http" in line]
    assert len(logged) == 10
    assert {each for process in processes for each in process["request_ids"]} < set(logged)
