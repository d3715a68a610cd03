"""The DogStatsD exporter: what it sends, and that an agent in another process gets all of it."""

import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading

import pytest

from asgi_resilience import context
from asgi_resilience.telemetry import Batch, DogStatsDExporter, statsd
from tests.telemetry.dogstatsd_agent import Agent

NONE = Batch(0.0, 1.0, {}, {}, {})


def batch(counters=(), gauges=(), histograms=()):
    return Batch(0.0, 1.0, dict(counters), dict(gauges), dict(histograms))


def count(number=1):
    return batch({("hits", ()): number})


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    """What the machine says of its agent does not count."""
    for name in [each for each in os.environ if each.startswith(("DD_", "DATADOG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(statsd, "_PATIENCE", 0.2)


@pytest.fixture
def make(monkeypatch):
    """Exporters to an address, closed after the test."""
    made = []

    def make(url, **options):
        monkeypatch.setenv("DD_DOGSTATSD_URL", url)
        made.append(DogStatsDExporter(**options))
        return made[-1]

    yield make
    for each in made:
        each.close(0.1)


@pytest.fixture
def udp():
    """A socket that an agent could have."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        yield listener


def address(listener):
    return "udp://{}:{}".format(*listener.getsockname())


# --------------------------------------------------------------------------------------------------- what is sent


def test_a_batch_becomes_lines(make, udp):
    """Counters, gauges and histograms have their types and tags; observations of one series share lines."""
    exporter = make(address(udp))
    tags = ("method:GET", "route:/a/{id}")
    exporter.export(batch({("hits", tags): 3.0}, {("open", ()): 1.5}, {("took", tags): [12.5, 0.25, 7.0]}))
    assert exporter.flush()
    assert udp.recv(9999).decode().splitlines() == [
        "hits:3|c|#method:GET,route:/a/_id_",
        "open:1.5|g",
        "took:12.5:0.25:7|h|#method:GET,route:/a/_id_",
    ]


def test_histograms_may_be_distributions(make, udp):
    """As an option, for percentiles over all hosts."""
    exporter = make(address(udp), distribution=True)
    exporter.export(batch(histograms={("took", ()): [1.0]}))
    exporter.flush()
    assert udp.recv(9999) == b"took:1|d\n"


def test_the_environment_says_where_and_who(monkeypatch, udp):
    """`DD_AGENT_HOST`, `DD_DOGSTATSD_PORT` and the unified tags are read; they win over the tags that are given."""
    host, port = udp.getsockname()
    monkeypatch.setenv("DD_AGENT_HOST", host)
    monkeypatch.setenv("DD_DOGSTATSD_PORT", str(port))
    monkeypatch.setenv("DD_SERVICE", "orders")
    monkeypatch.setenv("DD_ENV", "test")
    exporter = DogStatsDExporter(tags=["service:other", "version:1.2"])
    exporter.export(count())
    exporter.close()
    assert exporter.address == f"udp://{host}:{port}"
    name, kind, tags = udp.recv(9999).decode().strip().split("|")
    assert (name, kind) == ("hits:1", "c")
    assert set(tags[1:].split(",")) == {"service:orders", "env:test", "version:1.2"}


@pytest.mark.parametrize(
    ("value", "off"), [("true", True), ("1", True), ("YES", True), ("", False), ("0", False)]
)
def test_the_operator_can_switch_it_off(monkeypatch, value, off):
    """By the variable that switches the `datadog` client off."""
    monkeypatch.setenv("DD_DOGSTATSD_DISABLE", value)
    assert statsd.agent_is_switched_off() is off


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    """An ImportError names the extra."""
    monkeypatch.setitem(sys.modules, "datadog.dogstatsd.base", None)
    with pytest.raises(ImportError, match=r"pip install 'asgi-resilience\[datadog\]'"):
        DogStatsDExporter()


def test_tags_are_joined_once(make, udp, monkeypatch):
    """The text of a combination of tags is kept, but not without bound."""
    monkeypatch.setattr(statsd, "_MOST_FIELDS", 2)
    exporter = make(address(udp))
    for number in (1, 2, 1, 3):
        exporter.export(batch({("hits", (f"a:{number}",)): 1}))
    exporter.flush()
    assert [udp.recv(999) for _ in range(4)] == [b"hits:1|c|#a:%d\n" % number for number in (1, 2, 1, 3)]
    assert len(exporter._fields) == 1


def test_nothing_is_not_sent(make, udp):
    """An empty batch costs no packet and no thread."""
    exporter = make(address(udp))
    exporter.export(NONE)
    assert exporter.flush()
    assert exporter._thread is None


# ---------------------------------------------------------------------------------------------- nobody takes it


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def many(number=100):
    return batch(histograms={(f"took.{each}", ()): [1.0] * 700 for each in range(number)})


def test_nobody_listening_is_logged_once_and_costs_little(make, caplog):
    """Each batch is tried until it is refused, which is soon: the rest of it is not even formatted."""
    exporter = make(f"udp://127.0.0.1:{free_port()}")
    sent = []
    send = exporter._send
    exporter._send = lambda packet: (sent.append(packet), send(packet))
    for _ in range(5):
        exporter.export(many())
        assert exporter.flush()
    assert len(sent) <= 5 * 3
    (record,) = [each for each in caplog.records if each.name == "asgi_resilience"]
    assert record.levelno == logging.WARNING
    assert "No DogStatsD agent takes metrics at udp://127.0.0.1:" in record.message


def test_an_agent_that_comes_back_gets_everything_from_then_on(make, caplog):
    """The first packet to it is refused for the sake of an earlier one, and sent again; and it hears of what is missing."""
    port = free_port()
    exporter = make(f"udp://127.0.0.1:{port}")
    for _ in range(3):
        exporter.export(count())
        exporter.flush()
    assert len(caplog.records) == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", port))
        agent.settimeout(10)
        exporter.export(count(7))
        exporter.flush()
        assert agent.recv(999) == b"hits:7|c\nasgi_resilience.metrics.incomplete_flushes:1|c\n"
        exporter.export(count(8))
        exporter.flush()
        assert agent.recv(999) == b"hits:8|c\nasgi_resilience.metrics.incomplete_flushes:1|c\n"
        exporter.export(count(9))
        exporter.flush()
        assert agent.recv(999) == b"hits:9|c\n"


def test_a_name_that_leads_nowhere_holds_up_nobody(make, caplog):
    """It is looked up by the thread, and what can't be sent is lost."""
    exporter = make("udp://nobody.invalid:8125")
    exporter.export(count())
    assert exporter.flush(10)
    assert exporter._incomplete == 1
    assert "nobody.invalid" in caplog.text


@pytest.mark.parametrize("kind", ["unix", "unixstream"])
def test_a_socket_that_is_made_again_is_found_again(make, caplog, tmp_path, kind):
    """An agent that was restarted has another socket behind the same path; nothing is lost but what came in between."""
    path = tmp_path / "dsd.socket"
    exporter = make(f"{kind}://{path}")
    exporter.export(count(1))
    exporter.flush()
    for number in (2, 3):
        with Agent(f"{kind}://{path}") as agent:
            exporter.export(count(number))
            assert exporter.flush()
        assert agent.got["counts"]["hits"] == number
        path.unlink()
    assert [each.name for each in caplog.records if "No DogStatsD agent" in each.message] == [
        "asgi_resilience"
    ]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_reader_that_does_not_read_holds_up_nobody(make, caplog, tmp_path, kind, monkeypatch):
    """After a moment the rest of a batch is given up; what waits is bounded, and all of it is counted."""
    monkeypatch.setattr(statsd, "_MOST_BATCHES", 2)
    with socket.socket(socket.AF_UNIX, kind) as agent:
        agent.bind(str(tmp_path / "dsd.socket"))
        if kind == socket.SOCK_STREAM:
            agent.listen()
        exporter = make(f"unix://{tmp_path}/dsd.socket")
        with exporter._sending:  # the thread waits
            for _ in range(5):
                exporter.export(batch(histograms={("took", ()): [1.0] * 2_000_000}))
            assert len(exporter._waiting) <= 2
            assert not exporter.flush(0.01)
        assert exporter.flush(30)
    assert exporter._incomplete >= 4
    assert "the agent does not read" in caplog.text


def test_a_failure_of_another_kind_ends_no_thread(make, udp):
    """It is counted, and the next batch is sent."""
    exporter = make(address(udp))
    before = sum(context.failures.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context._logger, "disabled", True)
        exporter.export(batch(histograms={("took", ()): ["no number"]}))
        exporter.flush()
    assert sum(context.failures.values()) == before + 1
    exporter.export(count())
    exporter.flush()
    assert udp.recv(999) == b"hits:1|c\n"


def test_without_a_thread_the_flush_sends(make, udp, monkeypatch):
    """As at the end of the interpreter, when no thread can be started any more."""

    def refuse(self):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    exporter = make(address(udp))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    exporter.export(count())
    assert exporter.flush()
    assert udp.recv(999) == b"hits:1|c\n"


def test_a_closed_exporter_opens_again(make, udp):
    """After `close`, a batch starts a thread and a socket anew."""
    exporter = make(address(udp))
    for number in (1, 2):
        exporter.export(count(number))
        exporter.close()
        assert exporter._thread is None
        assert udp.recv(999) == b"hits:%d|c\n" % number


def test_a_child_leaves_what_waits_to_its_parent(make, udp):
    """What is in the queue at a fork is sent once, by the parent."""
    exporter = make(address(udp))
    with exporter._sending:
        exporter.export(count(1))
        exporter.export(count(2))
        exporter.after_fork()
    assert not exporter._waiting
    assert exporter.flush()


# ----------------------------------------------------------------------------------------------- real processes

PROGRAM = """
    import asyncio, os, sys
    from asgi_resilience import Settings, wrap
    from asgi_resilience.logs.sink import LogSink, set_default_sink
    from asgi_resilience.testing import asgi_request

    set_default_sink(LogSink(os.open(os.devnull, os.O_WRONLY)))

    async def app(scope, receive, send):
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": b"hello"}})

    service = wrap(app, Settings(service="orders", timeout=None, stream_idle_timeout=None))

    async def requests(number):
        for _ in range(number):
            await asgi_request(service)

    {end}
"""


def run(agent, end, **environment):
    """A program that serves requests and ends in this way; all of its metrics go to the agent."""
    code = textwrap.dedent(PROGRAM).format(end=textwrap.dedent(end))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, "DD_DOGSTATSD_URL": agent.url, **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")


def urls(tmp_path):
    return {"udp": "udp://", "unix": f"unix://{tmp_path}/s", "unixstream": f"unixstream://{tmp_path}/s"}


@pytest.mark.parametrize("kind", ["udp", "unix", "unixstream"])
def test_an_exit_loses_nothing(tmp_path, kind):
    """A program without lifespan that simply ends has sent every request, over each kind of socket."""
    with Agent(urls(tmp_path)[kind]) as agent:
        run(agent, "asyncio.run(requests(1000))", DD_ENV="test")
    got = agent.got
    assert got["counts"] == {"api.requests.total": 1000, "api.requests.by_endpoint": 1000}
    assert got["values"] == {"api.requests.duration": 1000}
    assert got["gauges"] == {"api.requests.in_flight": 0}
    assert got["bad"] == []
    assert all("env:test" in each and "service:orders" in each for each in got["tags"])
    assert got["longest"] <= (1432 if kind == "udp" else 8192)


def test_an_exception_loses_nothing():
    """Also a program that ends by one."""
    with Agent() as agent:
        end = """
            try:
                asyncio.run(requests(100))
            finally:
                sys.exit(0)
        """
        run(agent, end)
    assert agent.got["counts"]["api.requests.total"] == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("kind", ["udp", "unixstream"])
def test_a_fork_loses_and_doubles_nothing(tmp_path, kind):
    """Parent and child send what each of them has served: before the fork, after it, and with the client at work."""
    end = """
        import warnings

        asyncio.run(requests(100))
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork while threads run
        child = os.fork()
        asyncio.run(requests(10 if child else 1000))
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """
    with Agent(urls(tmp_path)[kind]) as agent:
        run(agent, end)
    assert agent.got["counts"]["api.requests.total"] == 1110
    assert agent.got["values"] == {"api.requests.duration": 1110}
    assert agent.got["bad"] == []


def test_a_child_of_multiprocessing_loses_nothing():
    """Such a process ends without `atexit`."""
    end = """
        import multiprocessing

        def child():
            asyncio.run(requests(50))

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        asyncio.run(requests(5))
    """
    with Agent() as agent:
        run(agent, end)
    assert agent.got["counts"]["api.requests.total"] == 55


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_counts_are_exact(tmp_path, kind):
    """100,000 requests are 100,000 at the agent, and so are their durations."""
    end = """
        async def receive():
            return {"type": "http.request"}

        async def send(message):
            pass

        async def main():
            scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
            for number in range(100_000):
                await service(scope.copy(), receive, send)
                if number % 100 == 0:
                    await asyncio.sleep(0)

        only = dict.fromkeys(("health", "request_id", "trace_context", "access_log", "error_envelope"), False)
        service = wrap(app, Settings(timeout=None, stream_idle_timeout=None, **only))
        asyncio.run(main())
    """
    with Agent(urls(tmp_path)[kind]) as agent:
        run(agent, end)
    assert agent.got["counts"] == {"api.requests.total": 100_000, "api.requests.by_endpoint": 100_000}
    assert agent.got["values"] == {"api.requests.duration": 100_000}


def test_metrics_of_a_trio_program_arrive():
    """The interval and the exit work without asyncio."""
    end = """
        import trio

        async def main():
            await requests(100)
            await trio.sleep(1.2)
            await requests(10)

        trio.run(main)
    """
    with Agent() as agent:
        run(agent, end)
    assert agent.got["counts"]["api.requests.total"] == 110
    assert agent.got["packets"] >= 2
