"""What monitors and dashboards ask for is what the reference system sends."""

import re
import threading
import time
from urllib.request import Request, urlopen

import pytest

from asgi_resilience.metric_names import METRICS
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.objects import objects

pytestmark = pytest.mark.real_time

PATIENCE = 60.0
SERIES = re.compile(r"(?:avg|max|min|sum|count):([a-z0-9_.]+)\{")
# Sent when something has gone wrong, which nothing does here; after an interval of 15 s; by the Agent, which is not there.
NOT_HERE = {
    *("api.requests.errors", "load_shed.shed", "outbound.fallbacks", "outbound.rejected", "outbound.retries"),
    *("cpu.usage", "network.throughput", "runtime.loop_lag.p99"),
    *("network.http.can_connect", "system.io.r_await", "system.io.w_await"),
}


def asked():
    """Every metric in every query, by the name under which it is sent."""
    for each in objects(MonitoringConfig(service="inference-service")):
        for name in SERIES.findall(str(each.body)):
            yield re.sub(r"\.(95percentile|99percentile|median|count)$", "", name)


def read(output):
    """Read to the end, so that the writer never waits."""
    with output:
        for _ in output:
            pass


@pytest.fixture
def system(servers, monkeypatch):
    """A system of its own, whose numbers can be read."""
    from examples.inference_service.parts.system import Options, running

    monkeypatch.setenv("ASGI_RESILIENCE_PROMETHEUS_PATH", "/metrics")
    with running(Options(rehearsal=True, quiet=True)) as system:
        reader = threading.Thread(target=read, args=(system.service.output,))
        reader.start()
        yield system
    reader.join()


def test_no_graph_is_empty(system):
    """After some requests every metric that is asked for has been sent."""
    headers = {"Authorization": f"Bearer {system.token('read', 'predict')}"}
    wanted = {name.replace(".", "_") for name in set(asked()) - NOT_HERE}
    assert len(wanted) > 20
    give_up = time.monotonic() + PATIENCE
    missing = wanted
    while missing and time.monotonic() < give_up:
        for method, path in (("POST", "/matches/match_ars_tot/predictions"), ("GET", "/health/ready")):
            with urlopen(Request(system.url + path, method=method, headers=headers)) as answer:
                assert answer.status < 300
        with urlopen(f"{system.url}/metrics") as answer:
            sent = set(re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.MULTILINE))
        missing = wanted - sent - {name.removesuffix("_total") for name in sent}
        threading.Event().wait(0.5)
    assert missing == set()


def test_what_is_not_here_is_known():
    """The exceptions of the test above are asked for, and are metrics of the library or of the Agent."""
    assert set(asked()) >= NOT_HERE
    assert {name for name in NOT_HERE if name not in METRICS} == {
        "network.http.can_connect",
        "system.io.r_await",
        "system.io.w_await",
    }
