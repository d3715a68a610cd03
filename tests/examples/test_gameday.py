"""The game day: the rehearsal keeps every promise, and a promise that is broken is noticed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("rich", reason="rich is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from examples.inference_service.gameday.budgets import Budgets
from examples.inference_service.gameday.ledger import Answer, Change, Ledger, percentile
from examples.inference_service.gameday.report import report
from examples.inference_service.gameday.story import STORY
from examples.inference_service.gameday.timeline import timeline
from examples.inference_service.gameday.verdict import violations
from examples.inference_service.limits import Limits

ROOT = Path(__file__).parent.parent.parent
LIMITS = Limits()
PROMISES = ("hung", "envelope", "id", "unexpected", "opened", "stayed open", "closed")


@pytest.mark.real_time
@pytest.mark.usefixtures("servers")
def test_the_rehearsal(tmp_path):
    """With real servers killed one after the other under load, every promise is kept: exit code 0, and a picture of it."""
    command = [sys.executable, "-m", "examples.inference_service.gameday", "--rehearsal"]
    files = ["--svg", str(tmp_path / "timeline.svg"), "--report", str(tmp_path / "report.md")]
    done = subprocess.run(
        [*command, *files], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert told.count("- kept: ") == len(PROMISES)
    assert all(f"| {chapter.title} |" in told for chapter in STORY)
    ET.parse(tmp_path / "timeline.svg")


def change(at, dependency, old, new, reason=""):
    """A change of a circuit."""
    return Change(at, dependency, old, new, reason)


def answer(began=1.0, **facts):
    """A good answer."""
    return replace(Answer(began, 0.01, "req_1", "match", 200, None, ()), **facts)


@pytest.fixture
def ledger():
    """A game day on which everything went as it should."""
    kept = Ledger(
        chapters=[(chapter.title, 100.0 * number) for number, chapter in enumerate(STORY)], logged={"req_1"}
    )
    for begin, name in ((110.0, "redis"), (310.0, "model-service"), (410.0, "postgres")):
        kept.changes += [
            change(begin, name, "closed", "open", "5 failures in a row"),
            change(begin + 30, name, "open", "half_open", "time for probes"),
            change(begin + 31, name, "half_open", "open", "a probe failed"),
            change(520.0, name, "open", "half_open", "time for probes"),
            change(521.0, name, "half_open", "closed", "3 successes in a row"),
        ]
    kept.changes.sort(key=lambda each: each.at)
    kept.answers.append(answer())
    kept.finished_at(600.0)
    return kept


def broken(ledger):
    """Which promises were broken."""
    return [number for number, (_, found) in enumerate(violations(ledger, LIMITS)) if found]


def test_a_good_day(ledger):
    """When nothing was broken, nothing is found."""
    assert broken(ledger) == []


@pytest.mark.parametrize(
    ("facts", "promise"),
    [
        ({"seconds": 31.0}, "hung"),
        ({"status": 0, "problem": "no answer: ReadTimeout"}, "envelope"),
        ({"status": 500, "problem": "an error outside of the envelope"}, "envelope"),
        ({"lost_id": "the header says None"}, "id"),
        ({"request_id": "req_2"}, "id"),
    ],
)
def test_an_answer_that_breaks_a_promise(ledger, facts, promise):
    """Answers that are late, wrong or strange, and requests that the log does not know, are found."""
    ledger.answers.append(answer(**facts))
    assert broken(ledger) == [PROMISES.index(promise)]


def test_a_stack_trace_in_the_log(ledger):
    """An exception that nobody expected is found, although its client got an envelope."""
    ledger.unexpected.append("GET /matches 500: 'x'")
    assert broken(ledger) == [PROMISES.index("unexpected")]


@pytest.mark.parametrize(
    ("moved", "promises"),
    [
        (
            [change(50.0, "s3", "closed", "open"), change(90.0, "s3", "open", "half_open")],
            ("opened", "closed"),
        ),
        ([change(410.0, "s3", "half_open", "closed", "reset")], ("stayed open", "closed")),
        ([change(130.0, "redis", "open", "half_open")], ("stayed open",)),
    ],
)
def test_a_circuit_that_breaks_a_promise(ledger, moved, promises):
    """A circuit that opens without reason, moves as none may, or is probed too early is found."""
    ledger.changes += moved
    ledger.changes.sort(key=lambda each: each.at)
    assert set(map(PROMISES.index, promises)) <= set(broken(ledger))


def test_a_circuit_that_does_not_open(ledger):
    """A dependency that was killed, and whose circuit never moved, is found."""
    ledger.changes = [each for each in ledger.changes if each.dependency != "redis"]
    assert broken(ledger) == [PROMISES.index("opened")]


def test_the_log_is_read(tmp_path):
    """Changes of circuits, ids and unexpected errors are taken from the service's lines; the rest is left alone."""
    lines = tmp_path / "log"
    lines.write_text(
        '{"timestamp":"2026-11-23T14:30:00.000Z","message":"redis: circuit open","context":'
        '{"dependency":"redis","old":"closed","new":"open","reason":"5 failures in a row"}}\n'
        '{"logger":{"name":"asgi_resilience.access"},"request_id":"req_7","message":"GET / 500",'
        '"error":{"code":"INTERNAL_SERVER_ERROR","message":"boom","stack_trace":"…"}}\n'
        "not ours\n",
        encoding="utf-8",
    )
    ledger = Ledger()
    ledger.read_log(lines.open(encoding="utf-8"), tmp_path / "copy").join()
    assert ledger.breakers()["redis"] == "open"
    assert ledger.logged == {"req_7"}
    assert ledger.unexpected == ["GET / 500: boom"]
    assert (tmp_path / "copy").read_bytes() == lines.read_bytes()


def test_the_report_and_the_picture(ledger):
    """The report names what was broken; the picture has a lane for each circuit that has moved."""
    ledger.answers += [answer(20.0 * number, status=503, code="X_Y", seconds=40.0) for number in range(12)]
    budgets = Budgets()
    budgets.count(ledger.answers)
    budgets.close(ledger.now())
    told = report(ledger, budgets, violations(ledger, LIMITS))
    assert "- BROKEN: No request hung past 30 s" in told
    assert "    - and 2 more" in told
    assert "X_Y" in told
    picture = ET.fromstring(timeline(ledger))
    words = {each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"postgres", "redis", "model-service", *(chapter.title for chapter in STORY)} <= words


def test_percentiles():
    """A percentile is one of the values; of none it is nothing."""
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.95) == 3.0
    assert percentile([], 0.5) == 0.0
