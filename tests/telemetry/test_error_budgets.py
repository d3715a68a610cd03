"""Error budgets fed by batches: what counts, what is told, and what survives a restart."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from asgi_resilience import context
from asgi_resilience.slo import SLO, AlertStarted, BudgetReset, BurnAlert, PolicyChanged, StateFile
from asgi_resilience.telemetry.batch import Batch
from asgi_resilience.telemetry.error_budgets import ErrorBudgets, keep_error_budgets
from asgi_resilience.telemetry.pipeline import Pipeline

START = 1_760_000_400.0
AVAILABILITY = SLO("a", target=0.999)
DAY = 86_400
TOTAL, ERRORS, DURATION = "api.requests.total", "api.requests.errors", "api.requests.duration"
OK = ("method:GET", "route:/buy", "status:200", "status_class:2xx", "outcome:ok")
BAD = ("method:GET", "route:/buy", "status:500", "status_class:5xx", "outcome:server_error", "error_code:X")
GONE = ("method:GET", "route:/buy", "status:none", "status_class:none", "outcome:aborted_by_client")
ELSEWHERE = ("method:GET", "route:/", "status:200", "status_class:2xx", "outcome:ok")


class Gauges:
    """A sink that keeps the last value of each gauge."""

    def __init__(self):
        self.values = {}

    def gauge(self, name, /, value, tags=()):
        self.values[name, *tags] = value

    def increment(self, name, /, value=1, tags=()):
        raise AssertionError

    histogram = increment


def batch(at, ok=0, bad=0, gone=0, elsewhere=0, durations=None):
    """Ten seconds that end at `at`."""
    counters = {
        (TOTAL, OK): ok,
        (TOTAL, BAD): bad,
        (TOTAL, GONE): gone,
        (TOTAL, ELSEWHERE): elsewhere,
        (ERRORS, BAD): bad,
        ("api.requests.by_endpoint", ("method:GET",)): 10**6,
    }
    histograms = {(DURATION, tags): found for tags, found in (durations or {}).items()}
    histograms["outbound.duration", ()] = [10**6]
    return Batch(at=at, seconds=10.0, counters=counters, gauges={}, histograms=histograms)


def minutes(budgets, count, start=0, **numbers):
    for minute in range(start, start + count):
        budgets.export(batch(START + 60 * minute + 30, **numbers))


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger="asgi_resilience.slo")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_failures_count_against_every_objective_that_is_about_them():
    """Errors are failures, aborted requests say nothing, and the tags of an objective choose its requests."""
    budgets = ErrorBudgets(
        [
            SLO("all", target=0.9, measure="requests"),
            SLO("buy", target=0.9, measure="requests", tags=("route:/buy", "method:GET")),
            SLO("none", target=0.9, measure="requests", tags=("route:/nowhere",)),
            SLO("down", target=0.9),
        ]
    )
    minutes(budgets, 2, ok=8, bad=2, gone=90, elsewhere=10)
    status = {name: budget.status for name, budget in budgets.budgets.items()}
    assert (status["all"].requests, status["all"].failed) == (20, 2)
    assert (status["buy"].requests, status["buy"].failed) == (10, 2)
    assert (status["none"].requests, status["none"].failed) == (0, 0)
    assert status["down"].used == pytest.approx(0.1)


def test_series_beyond_the_bound_of_tags_still_count():
    """Requests that were folded into one series are requests, and their errors are errors."""
    budgets = ErrorBudgets([SLO("all", target=0.9, measure="requests")])
    overflow = ("overflow:true",)
    for at in (START, START + 60):
        counters = {(TOTAL, overflow): 10.0, (ERRORS, overflow): 3.0}
        budgets.export(Batch(at=at + 30, seconds=10, counters=counters, gauges={}, histograms={}))
    assert (budgets.budgets["all"].status.requests, budgets.budgets["all"].status.failed) == (10, 3)


def test_latency_is_about_requests_that_were_served():
    """Slow is above the threshold; what failed or was given up fast says nothing, slowly it is slow."""
    p95 = SLO("p95", target=0.95, measure="latency", threshold_ms=500.0)
    budgets = ErrorBudgets([p95, replace(p95, name="elsewhere", tags=("route:/",))])
    durations = {OK: [1.0, 500.0, 500.1], BAD: [2.0, 900.0], GONE: [3.0, 4.0, 30_000.0]}
    minutes(budgets, 2, ok=3, bad=2, gone=3, durations=durations)
    status = budgets.budgets["p95"].status
    assert (status.requests, status.failed) == (5, 3)
    assert budgets.budgets["elsewhere"].status.requests == 0


def test_a_batch_belongs_to_the_minute_of_its_middle():
    """Ten seconds that end one second after the minute are of the minute before."""
    budgets = ErrorBudgets([SLO("all", target=0.9, measure="requests")])
    budgets.export(batch(START + 61, ok=5))
    budgets.export(batch(START + 71, ok=7))
    assert budgets.budgets["all"].status.requests == 5


def test_the_memory_of_tags_is_bounded(monkeypatch):
    """Whether a series belongs to an objective is remembered for so many series, and found out again after that."""
    monkeypatch.setattr("asgi_resilience.telemetry.budget_counts._MOST_TAGS", 2)
    budgets = ErrorBudgets([SLO("buy", target=0.9, measure="requests", tags=("route:/buy",))])
    minutes(budgets, 3, ok=1, bad=1, elsewhere=1)
    assert budgets.budgets["buy"].status.requests == 4


def test_the_defaults_are_the_three_objectives():
    """Availability, success and latency."""
    assert list(ErrorBudgets().budgets) == ["availability", "request_success", "latency_p95"]


def test_two_objectives_have_two_names():
    """Their gauges and their states would be the same."""
    with pytest.raises(ValueError, match=r"slos=.*: expected SLOs with different names"):
        ErrorBudgets([SLO("a", target=0.9), SLO("a", target=0.99)])


def test_gauges_tell_the_budget():
    """What is left, how fast it goes, the policy and each alert."""
    sink = Gauges()
    budgets = ErrorBudgets([SLO("a", target=0.99, window=DAY)], sink=sink)
    minutes(budgets, 1, ok=90)
    assert sink.values["slo.budget_remaining", "slo:a"] == 1.0
    assert sink.values["slo.alert_active", "slo:a", "alert:1h"] == 0
    minutes(budgets, 10, start=1, bad=9)
    assert sink.values == {
        ("slo.budget_remaining", "slo:a"): pytest.approx(1 - 9 / 14.4),
        ("slo.policy_state", "slo:a"): 1,
        ("slo.burn_rate", "slo:a", "window:5m"): pytest.approx(100),
        ("slo.burn_rate", "slo:a", "window:30m"): pytest.approx(30),
        ("slo.burn_rate", "slo:a", "window:1h"): pytest.approx(15),
        ("slo.burn_rate", "slo:a", "window:6h"): pytest.approx(2.5),
        ("slo.alert_active", "slo:a", "alert:1h"): 1,
        ("slo.alert_active", "slo:a", "alert:6h"): 0,
    }


def test_every_change_is_a_log_line(told, caplog):
    """Policy changes and alerts, from both sides, with the budget as it is."""
    alerts = (BurnAlert(14.4, long=3600, short=300, urgent=True), BurnAlert(2, long=6 * 3600, short=1800))
    budgets = ErrorBudgets([SLO("a", target=0.99, window=DAY, alerts=alerts)])
    minutes(budgets, 20, bad=9)
    minutes(budgets, 1500, start=20, ok=10)
    assert told() == [
        ("WARNING", "Error budget of a: slow_down, 44.4% left"),
        ("WARNING", "Error budget of a burns more than 2 times too fast"),
        ("ERROR", "Error budget of a burns more than 14.4 times too fast"),
        ("ERROR", "Error budget of a: freeze, -4.2% left"),
        ("INFO", "Error budget of a no longer burns more than 14.4 times too fast"),
        ("INFO", "Error budget of a no longer burns more than 2 times too fast"),
        ("WARNING", "Error budget of a: slow_down, 2.8% left"),
        ("INFO", "Error budget of a: normal, 58.3% left"),
    ]
    first = caplog.records[0]
    assert (first.slo, first.policy, first.before) == ("a", "slow_down", "normal")
    assert first.error_budget["used"] == 8
    assert caplog.records[2].alert == "1h"


def test_listeners_hear_of_every_event():
    """Each in order, and one that fails keeps no other from it."""
    heard = []

    def fail(event):
        raise LookupError(event.slo.name)

    before = context.failures.get(fail.__qualname__, 0)
    budgets = ErrorBudgets([SLO("a", target=0.99, window=DAY)], listeners=[fail])
    budgets.listeners.append(heard.append)
    minutes(budgets, 12, bad=9)
    assert [type(event) for event in heard] == [PolicyChanged, AlertStarted]
    assert context.failures[fail.__qualname__] == before + 2


def test_the_report_is_plain_json():
    """For a page of status: rounded, with the unit of each budget."""
    budgets = ErrorBudgets([SLO("a", target=0.999), SLO("b", target=0.995, measure="requests")])
    minutes(budgets, 2, ok=999, bad=1)
    assert json.loads(json.dumps(budgets.report())) == {
        "a": {
            "target": 0.999,
            "policy": "normal",
            "unit": "minutes",
            "budget": 43.2,
            "used": 0.001,
            "remaining_share": 1.0,
            "burn_rates": {"5m": 0.2, "30m": 0.0333, "1h": 0.0167, "6h": 0.0028},
            "alerts": [],
        },
        "b": {
            "target": 0.995,
            "policy": "normal",
            "unit": "requests",
            "budget": 216_000.0,
            "used": 1.0,
            "remaining_share": 1.0,
            "burn_rates": {"5m": 0.04, "30m": 0.0067, "1h": 0.0033, "6h": 0.0006},
            "alerts": [],
        },
    }


# --------------------------------------------------------------------------------------------------- across a restart


def loaded(budgets, at=START):
    """Export empty batches until the state file was read."""
    give_up = time.monotonic() + 10
    while budgets._state.loading or budgets._state._phase == "new":
        budgets.export(Batch(at=at, seconds=0, counters={}, gauges={}, histograms={}))
        assert time.monotonic() < give_up
    return budgets


def kept(path, slos=(AVAILABILITY,), clock=lambda: START + 3600):
    return ErrorBudgets(slos, state_file=path, clock=clock)


def test_budgets_survive_a_restart(tmp_path, told):
    """Also the minute that was open."""
    path = tmp_path / "slo.json"
    first = loaded(kept(path))
    minutes(first, 11, bad=9)
    first.close()
    second = loaded(kept(path), at=START + 660)
    assert second.budgets["a"].status.used == 11
    second.close()
    assert not [message for _, message in told() if "afresh" in message]


def test_batches_wait_until_the_file_was_read(tmp_path):
    """What is counted meanwhile comes on top of what stood in it."""
    path = tmp_path / "slo.json"
    first = loaded(kept(path))
    minutes(first, 11, bad=9)
    first.close()
    second = kept(path)
    minutes(second, 3, start=11, bad=9)
    loaded(second, at=START + 60 * 14)
    minutes(second, 1, start=14)
    assert second.budgets["a"].status.used == 14
    second.close()


def test_the_file_is_written_once_a_minute(tmp_path):
    """A crash costs at most what was counted since."""
    path = tmp_path / "slo.json"
    budgets = loaded(kept(path))
    for minute in range(2):
        minutes(budgets, 1, start=minute, bad=9)
        budgets._state._writing.result(10)
    written = path.read_text()
    budgets.export(batch(START + 110, bad=9))
    budgets._state._executor.submit(int).result(10)
    assert path.read_text() == written
    minutes(budgets, 1, start=2)
    budgets._state._writing.result(10)
    (_, *counts), (_, *late) = json.loads(path.read_text())["slos"]["a"]["recent"]
    assert (counts, late) == ([9.0, 9.0, 1.0], [18.0, 18.0, 1.0])
    budgets.close()


def test_a_slow_disk_gets_no_second_task(tmp_path):
    """While one write is under way there is no other."""
    budgets = loaded(kept(tmp_path / "slo.json"))
    minutes(budgets, 1)
    waiting = threading.Event()
    budgets._state._writing = writing = budgets._state._executor.submit(waiting.wait, 10)
    minutes(budgets, 2, start=1)
    assert budgets._state._writing is writing
    waiting.set()
    budgets.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not JSON: JSONDecodeError"),
        ('{"version": 0, "slos": {}}', "it is of version 0, expected 1"),
        ('{"version": 1, "slos": {"a": {}}}', "KeyError: 'counted'"),
    ],
)
def test_a_file_that_can_not_be_used_is_said_so_and_replaced(tmp_path, told, text, reason):
    """The budgets begin full, and the next state is a good one."""
    path = tmp_path / "slo.json"
    path.write_text(text)
    heard = []
    budgets = ErrorBudgets([SLO("a", target=0.9)], state_file=path, listeners=[heard.append])
    loaded(budgets)
    assert told() == [("WARNING", f"Error budget of a starts afresh: the state file can't be used: {reason}")]
    assert heard == [BudgetReset(budgets.budgets["a"].slo, f"the state file can't be used: {reason}")]
    budgets.close()
    assert list(json.loads(path.read_text())["slos"]) == ["a"]


def test_a_file_from_the_future_is_not_used(tmp_path, told):
    """As after a clock that ran ahead: its minutes would stay in the window for too long."""
    path = tmp_path / "slo.json"
    first = loaded(kept(path))
    minutes(first, 2, bad=9)
    first.close()
    second = loaded(kept(path, clock=lambda: START - 3600))
    assert second.budgets["a"].status.used == 0
    assert told()[-1][1].endswith("the state file can't be used: it is from the future")
    second.close()


def test_an_objective_that_is_new_begins_full(tmp_path, told):
    """That it is not in the file is nothing to warn of."""
    path = tmp_path / "slo.json"
    first = loaded(kept(path))
    minutes(first, 11, bad=9)
    first.close()
    both = loaded(kept(path, slos=(SLO("b", target=0.9), SLO("a", target=0.999))), at=START + 660)
    assert [budget.status.used for budget in both.budgets.values()] == [0, 11]
    assert not [message for _, message in told() if "afresh" in message]
    both.close()


def test_a_place_that_can_not_be_used_is_said_so_and_left_alone(tmp_path, told):
    """Without a directory there is no file, and the budgets work all the same."""
    path = tmp_path / "absent" / "slo.json"
    budgets = loaded(kept(path))
    minutes(budgets, 3, bad=9)
    assert budgets.budgets["a"].status.used == 2
    assert "can't be used: [Errno 2]" in told()[0][1]
    budgets.close()
    assert not path.parent.exists()


def test_a_full_disk_is_reported_once(tmp_path, monkeypatch):
    """The budgets go on in memory."""
    budgets = loaded(kept(tmp_path / "slo.json"))

    def full(self, states):
        raise OSError("no space")

    monkeypatch.setattr(StateFile, "save", full)
    before = context.failures.get("StateFile", 0)
    minutes(budgets, 2, bad=9)
    budgets.close()
    assert context.failures["StateFile"] > before
    assert budgets.budgets["a"].status.used == 1


def test_a_process_that_is_forked_later_leaves_the_file_alone(tmp_path, monkeypatch):
    """The lock and the thread are its parent's."""
    path = tmp_path / "slo.json"
    budgets = loaded(kept(path))
    minutes(budgets, 1)
    budgets._state._executor.submit(int).result(10)
    path.write_text("the parent's")
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        minutes(budgets, 3, start=1, bad=9)
        assert budgets.budgets["a"].status.used == 2
        budgets.close()
        assert path.read_text() == "the parent's"
    budgets.close()
    assert path.read_text() != "the parent's"


def test_the_last_flush_of_a_process_is_in_the_file(tmp_path):
    """Whichever comes first at exit: the end of the file's thread, or the flush; also where it is the only one."""
    program = """
import atexit, sys
from asgi_resilience.slo import SLO
from asgi_resilience.telemetry.batch import Batch
from asgi_resilience.telemetry.error_budgets import ErrorBudgets

budgets = ErrorBudgets([SLO("a", target=0.999)], state_file=sys.argv[1])

def export():
    counters = {("api.requests.total", ()): 5.0}
    budgets.export(Batch(at=1_760_000_430, seconds=10.0, counters=counters, gauges={}, histograms={}))

atexit.register(export)
if sys.argv[2] == "before":
    export()
    reading = budgets._state._reading
    reading and reading.result(10)
    export()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    path = tmp_path / "slo.json"
    for when, requests in (("only", 5), ("before", 20), ("only", 25)):
        command = [sys.executable, "-c", program, str(path), when]
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(path.read_text())["slos"]["a"]["open"] == [requests, 0.0]


def test_a_process_that_ends_before_it_has_read_catches_up(tmp_path, monkeypatch):
    """What it has counted is added to what stands in the file."""
    path = tmp_path / "slo.json"
    first = loaded(kept(path))
    minutes(first, 11, bad=9)
    first.close()
    slow = threading.Event()
    load = StateFile.load
    monkeypatch.setattr(StateFile, "load", lambda self: slow.wait(10) and load(self))
    hasty = kept(path)
    minutes(hasty, 2, start=11, bad=9)
    assert hasty._state.loading
    slow.set()
    hasty.close()
    hasty.close()
    state = json.loads(path.read_text())["slos"]["a"]
    assert (len(state["recent"]), state["open"]) == (12, [9.0, 9.0])
    minutes(hasty, 1, start=13, bad=9)  # somebody still exports: it counts in memory
    assert json.loads(path.read_text())["slos"]["a"] == state


def test_the_end_of_the_application_writes_the_file(tmp_path):
    """`Pipeline.close` asks for it, as servers may end the process right after; and the process may go on."""
    path = tmp_path / "slo.json"
    pipeline = Pipeline()
    first = keep_error_budgets(pipeline, [AVAILABILITY], str(path))
    assert keep_error_budgets(pipeline, [AVAILABILITY], str(path)) is first
    assert keep_error_budgets(pipeline, [AVAILABILITY], None) is not first
    for requests in (1, 2):
        pipeline.increment("api.requests.total")
        pipeline.close()
        assert json.loads(path.read_text())["slos"]["a"]["open"] == [requests, 0]
    first.close()
    first.finish()


def test_a_disk_that_hangs_does_not_hold_up_the_end_of_the_application(tmp_path, monkeypatch):
    """After a while it ends without; what was not read is not overwritten."""
    path = tmp_path / "slo.json"
    path.write_text("precious")
    hanging = threading.Event()
    monkeypatch.setattr(StateFile, "load", lambda self: hanging.wait(10) and {})
    monkeypatch.setattr("asgi_resilience.telemetry.budget_state._PATIENCE", 0.01)
    budgets = kept(path)
    minutes(budgets, 1)
    budgets.finish()
    assert path.read_text() == "precious"
    hanging.set()
    budgets.close()
    assert path.read_text() != "precious"


def test_a_place_that_can_not_be_used_is_not_written_at_the_end(tmp_path):
    """Neither by the shutdown nor by the exit."""
    budgets = loaded(kept(tmp_path / "absent" / "slo.json"))
    budgets.finish()
    budgets.close()
    assert list(tmp_path.iterdir()) == []


def test_without_a_batch_nothing_is_touched(tmp_path):
    """A process that ends before its first one leaves the file as it is, and so does one without a file."""
    for budgets in (kept(tmp_path / "slo.json"), ErrorBudgets([])):
        budgets.finish()
        budgets.close()
    assert list(tmp_path.iterdir()) == []
