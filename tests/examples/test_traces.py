"""The trace of a prediction, as Datadog's own agent for tests gets it: the tree of the specification."""

import json
import shutil
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("httpx2", reason="httpx2 is not installed")

import httpx2

from examples.inference_service.parts.process import Process, free_port

pytestmark = pytest.mark.real_time

PATIENCE = 15.0
REQUEST = "POST /matches/{match_id}/predictions"
PARENTS = {
    "Auth Verification": REQUEST,
    "Database Query - Match Data": REQUEST,
    "Inference Service": REQUEST,
    "Feature Service Call": "Inference Service",
    "Database Query - Team Stats": "Feature Service Call",
    "Feature Computation": "Feature Service Call",
    "Model Service Call": "Inference Service",
    "Load Model from Cache": "Model Service Call",
    "Model Inference": "Model Service Call",
    "Save Prediction to DB": "Inference Service",
    "Response Serialization": REQUEST,
}


@pytest.fixture
def agent(tmp_path):
    """The agent; it forgets everything at its end."""
    if find_spec("ddtrace") is None:  # not loaded: other tests count on its absence
        pytest.skip("ddtrace is not installed")
    command = shutil.which("ddapm-test-agent", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("ddapm-test-agent is not installed")
    port = free_port()
    others = ["--otlp-http-port", str(free_port()), "--otlp-grpc-port", str(free_port())]
    agent = Process("agent", [command, "--port", str(port), *others], port, log=tmp_path / "agent.log")
    agent.start()
    yield agent
    agent.stop()


def spans(agent):
    """The spans of the prediction, once they are there."""
    give_up, nobody = time.monotonic() + PATIENCE, threading.Event()
    while time.monotonic() < give_up:
        traces = json.loads(httpx2.get(f"http://{agent.address}/test/session/traces").text)
        for trace in traces:
            if any(span["resource"] == REQUEST for span in trace):
                return trace
        nobody.wait(0.2)
    pytest.fail("no trace has arrived")


@pytest.mark.usefixtures("servers")
def test_the_tree(agent, tmp_path):
    """Each piece of work is a span below the one that it is a part of, and the request's span knows match and model."""
    from examples.inference_service.gameday.ledger import Ledger
    from examples.inference_service.parts.system import Options, running

    with running(Options(agent=agent.address, rehearsal=True, quiet=True)) as system:
        reader = Ledger().read_log(system.service.output, tmp_path / "log")
        headers = {"Authorization": f"Bearer {system.token('predict')}"}
        path = "/matches/match_ars_tot/predictions"
        assert httpx2.post(f"{system.url}{path}", headers=headers, timeout=PATIENCE).status_code == 201
        found = spans(agent)
    reader.join()
    names = {span["span_id"]: span["resource"] for span in found}
    parents = {span["resource"]: names.get(span["parent_id"]) for span in found}
    assert {name: parents.get(name) for name in PARENTS} == PARENTS
    (request,) = [span for span in found if span["resource"] == REQUEST]
    told = request["meta"]
    assert (told["match_id"], told["model_id"], told["http.status_code"]) == ("match_ars_tot", "v2.3", "201")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    (line,) = [each for each in lines if each["message"] == f"POST {path} 201"]
    assert line["dd.span_id"] == str(request["span_id"])
