"""The benchmarks measure what they say, their budgets mean something, and the documentation tells what they found."""

import asyncio
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from asgi_resilience import stack
from asgi_resilience.telemetry.pipeline import Pipeline
from asgi_resilience.testing import captured_logs
from benchmarks import (
    assembly,
    budgets,
    callgrind,
    chart,
    instructions,
    load,
    memory,
    open_load,
    overload,
    pages,
    refusal,
    saturated,
    server,
)
from benchmarks.answer import Answer, Curve, Plot, Table, spell
from benchmarks.command import QUESTIONS, main
from benchmarks.costs import BARE, UNIT, Costs
from benchmarks.subject import (
    everything,
    everything_on,
    hello,
    http_scope,
    name_of,
    no_ops,
    pausing,
    receive,
)
from benchmarks.timing import BURST, Effort, per_request, quartiles, serve

ROOT = Path(__file__).parent.parent
SVG = "{http://www.w3.org/2000/svg}"
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
TINY = Effort(rounds=3, requests=2 * BURST, warm_up=BURST)


async def answered(app: Any) -> list[dict[str, Any]]:
    """What an app sends for one request of the benchmarks."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await app(http_scope(), receive, send)
    return sent


# ------------------------------------------------------------------------------------------------ what is measured


def test_everything_is_on():
    """The whole stack that is measured has every layer."""
    assert [name_of(each) for each in stack(everything_on())] == [
        "health",
        "request id",
        "trace context",
        "access log",
        "metrics",
        "error envelope",
        "rate limit",
        "timeout",
    ]


def test_every_layer_works():
    """A request of the benchmarks is answered, logged, counted, and told its quota."""
    sink = Pipeline()
    with captured_logs() as logs:
        start, body = asyncio.run(answered(everything(metric_sink=sink)))
    names = {name for name, _ in start["headers"]}
    assert (start["status"], body["body"]) == (200, b"Hello, world!")
    assert names >= {b"x-request-id", b"ratelimit", b"ratelimit-policy"}
    sink.flush()
    assert sink.windows.snapshot(60).count("api.requests.total") == 1
    assert [line["http"]["status_code"] for line in logs.of_requests()] == [200]


def test_a_no_op_layer_does_nothing():
    """What the unit of cost sends is what the app has sent."""
    assert asyncio.run(answered(no_ops(3, hello))) == asyncio.run(answered(hello))


@pytest.mark.parametrize("name", assembly.peers())
def test_peers_answer(name):
    """The other packages, too, let the request through and answer it as the app does."""
    start, body = asyncio.run(answered(assembly.peers()[name](pausing)))[:2]
    assert (start["status"], body["body"]) == (200, b"Hello, world!")


def test_scopes_are_fresh():
    """No request sees the headers or the state of another one."""
    one, other = http_scope(), http_scope()
    assert one["headers"] == other["headers"]
    assert one["headers"] is not other["headers"]
    assert one["state"] is not other["state"]


# ----------------------------------------------------------------------------------------------------- how


def test_every_request_is_a_task_of_its_own():
    """So many requests are made, each in a task, and a hundred are open at once."""
    tasks: set[Any] = set()
    most = now = 0

    async def app(*_: Any) -> None:
        nonlocal most, now
        tasks.add(asyncio.current_task())
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    asyncio.run(serve(app, 3 * BURST))
    assert (len(tasks), most) == (3 * BURST, BURST)


@pytest.mark.parametrize("loop", TINY.loops)
def test_every_round_has_a_sample_of_each(loop):
    """Each subject has one turn in each round."""
    samples = per_request("benchmarks.costs:baselines", loop, TINY)
    assert {name: len(each) for name, each in samples.items()} == {BARE: 3, UNIT: 3}


def test_costs_are_in_no_op_layers():
    """A cost is a difference, in eighths of what eight no-op layers cost in the same round."""
    costs = Costs({BARE: [2.0, 20.0], UNIT: [10.0, 100.0], "one": [3.0, 30.0], "two": [5.0, 50.0]})
    assert costs.each("one") == [1.0, 1.0]
    assert costs.of("two", "one") == 2.0
    assert costs.unit == (55 - 11) / 8


def test_a_single_sample_has_no_spread():
    """The quartiles of few samples lie between them."""
    assert quartiles([1.0, 2.0]) == (1.25, 1.5, 1.75)


@pytest.mark.skipif(callgrind.why_not() is not None, reason=str(callgrind.why_not()))
def test_instructions_are_counted():
    """A no-op layer is some thousand instructions, whatever else the machine does."""
    counted = instructions.count("benchmarks.costs:baselines", run=BURST)
    costs = Costs({name: [number] for name, number in counted.items()})
    assert 1000 < costs.unit < 20_000


def test_counts_are_those_between_marks(tmp_path):
    """What one part of the work costs is the longer stretch less the shorter one."""
    for number, total in ((1, "9 9"), (2, "100 5"), (3, "180 12")):
        (tmp_path / f"out.{number}").write_text(
            f"events: Ir I1mr\n1 2 3\ntotals: {total}\n", encoding="utf-8"
        )
    assert callgrind.between(str(tmp_path)) == {"Ir": 80, "I1mr": 7}


def test_wrk_is_understood():
    """Throughput, latencies and errors are read from what wrk says."""
    said = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  Latency Distribution
     50%  501.00us
     75%  0.98ms
     90%  1.23ms
     99%    2.00s
  4000 requests in 2.00s, 0.60MB read
  Socket errors: connect 0, read 1, write 0, timeout 2
  Non-2xx or 3xx responses: 4
"""
    found = load.understood(said)
    assert found == load.Load(4000, 2.0, pytest.approx(0.000501), 2.0, 7)
    assert found.throughput == 2000


@pytest.mark.real_time
def test_our_own_load_is_as_good():
    """Where wrk is missing, the generator of our own asks the same server and counts its answers."""
    with server.Served("bare") as served:
        load.exactly(served.port, 4, 8)
        found = load.own(served.port, 4, 0.2)
        assert served.cpu() > 0
    assert found.errors == 0
    assert found.requests > 0
    assert found.p50 <= found.p99


@pytest.mark.real_time
def test_clients_that_do_not_wait():
    """Each comes when it is to come, is answered in time, is refused, or gives up; nobody is forgotten."""
    with overload.served(f"{saturated.WAITS}, shedding") as port:
        crowd = open_load.offer(port, 100.0, 0.1, 0.5, 0.5)
        assert crowd.good
        assert crowd.offered == len(crowd.good)
        assert 0.05 <= min(crowd.good) <= crowd.p99 <= 0.5
        assert open_load.offer(port, 100.0, 0.1, 0.2, 0.01).gone > 0


def test_refusals_are_weighed():
    """What is called refused is refused, and what is called answered is answered."""
    statuses = {}
    for name, request in refusal.subjects().items():
        with captured_logs() as logs:
            asyncio.run(request())
        statuses[name] = [line["http"]["status_code"] for line in logs.of_requests()]
    assert statuses == {
        BARE: [],
        UNIT: [],
        refusal.NOT_FOUND: [404],
        refusal.REFUSED: [503],
        refusal.WAITED: [503],
        refusal.WITHOUT: [200],
        refusal.ADMITTED: [200],
    }


# -------------------------------------------------------------------------------------------------- what is told


def test_every_question_is_asked():
    """Each question is one module, with a name that README tells."""
    listed = re.findall(
        r"^\| `(\w+)` \|", (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert listed == list(QUESTIONS)
    for name in QUESTIONS.values():
        module = import_module(f"benchmarks.{name}")
        assert module.QUESTION.endswith("?")
        assert module.steps(Effort.of(quick=True)) > 0


def test_an_unknown_question_is_refused(capsys, monkeypatch):
    """A misspelt question is an error that names those there are."""
    monkeypatch.setattr("sys.argv", ["benchmarks", "layer"])
    with pytest.raises(SystemExit):
        main()
    assert "no such question: layer; there are layers, " in capsys.readouterr().err


def test_budgets_are_of_questions():
    """Each budget names a question, and a figure that the recorded answer has."""
    recorded = {path.stem: json.loads(path.read_text(encoding="utf-8"))["figures"] for path in RESULTS}
    for budget in budgets.BUDGETS:
        question, _, figure = budget.figure.partition(".")
        assert question in QUESTIONS
        assert figure in recorded.get(question, {figure})


def test_recorded_answers_keep_to_the_budgets():
    """What is on record holds every budget whose breach fails the build."""
    for path in RESULTS:
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
        assert not [verdict for verdict in budgets.judge(path.stem, figures) if verdict.fails]


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"most": 1, "least": 1},
        {"most": 1, "reason": ""},
        {"most": 1, "on_breach": "shrug"},
        {"most": 1, "goal": 1},
        {"most": 1, "title": "t"},
    ],
    ids=["no limit", "two limits", "no reason", "unknown breach", "goal without title", "title without goal"],
)
def test_budgets_are_complete(limits):
    """A budget has one limit, a reason, and a consequence; a goal has a title."""
    with pytest.raises(ValueError, match=r"^q\.f: "):
        budgets.Budget("q.f", **{"reason": "why", "on_breach": "fail", **limits})


def test_a_budget_is_judged():
    """A figure at its limit holds; above `most` and below `least` it does not."""
    most = budgets.Budget("q.f", reason="why", on_breach="fail", most=2)
    least = budgets.Budget("q.f", reason="why", on_breach="warn", least=2)
    assert [most.holds(value) for value in (1, 2, 3)] == [True, True, False]
    assert [least.holds(value) for value in (1, 2, 3)] == [False, True, True]
    assert [budgets.Verdict(each, value).fails for each, value in ((most, 3), (least, 1))] == [True, False]


def test_a_goal_is_reached_or_not():
    """A goal lies in the direction of the limit; without one there is nothing to reach."""
    most = budgets.Budget("q.f", reason="why", on_breach="warn", most=4, goal=2, title="less")
    least = budgets.Budget("q.f", reason="why", on_breach="warn", least=1, goal=2, title="more")
    none = budgets.Budget("q.f", reason="why", on_breach="warn", most=4)
    assert [most.reaches(value) for value in (1, 2, 3)] == [True, True, False]
    assert [least.reaches(value) for value in (1, 2, 3)] == [False, True, True]
    assert none.reaches(5)


def test_a_question_that_fails_takes_no_other_with_it(monkeypatch, capsys, tmp_path):
    """The others are answered and written, and the exit status says that one is missing."""
    asked: list[Effort] = []

    def answer(effort: Effort, progress: Any) -> Answer:
        asked.append(effort)
        progress()
        return Answer("memory", "How much?", figures={"optional_modules": 0.0})

    def fail(*_: Any) -> Answer:
        raise RuntimeError("no load generator")

    monkeypatch.setattr(server, "answer", fail)
    monkeypatch.setattr(memory, "answer", answer)
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    monkeypatch.setattr(pages, "PAGES", ())
    monkeypatch.setattr("sys.argv", ["benchmarks", "server", "memory", "--save", "--rounds", "5"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().out
    assert ended.value.code == 1
    assert "no load generator" in said
    assert "holds memory.optional_modules" in said
    assert "without an answer: server" in said
    assert [each.rounds for each in asked] == [5]
    written = json.loads((tmp_path / "memory.json").read_text(encoding="utf-8"))
    assert (written["question"], written["rounds"], written["quick"]) == ("How much?", 5, False)
    assert written["machine"]["packages"].keys() >= {"starlette", "orjson"}


def test_bars_are_drawn():
    """Each number is a bar as long as it is large, with the number beside it; names are escaped."""
    picture = ET.fromstring(chart.bars("a < b", ["one", "two"], {"x": [1.0, 2.0], "y": [None, 4.0]}))
    bars = [
        float(each.get("width", "0")) for each in picture.iter(f"{SVG}rect") if each.get("height") == "14"
    ]
    texts = ["".join(each.itertext()) for each in picture.iter(f"{SVG}text")]
    assert bars == pytest.approx([bars[2] / 4, bars[2] / 2, bars[2]], abs=0.1)
    assert {"a < b", "1.00", "2.00", "4.00"} <= set(texts)


def test_curves_are_drawn():
    """Each point is on its line, the higher the larger."""
    curve = Curve("routes", {1: 10.0, 100: 20.0, 10_000: 40.0})
    picture = ET.fromstring(chart.curves("growth", [curve]))
    heights = [float(each.get("cy", "0")) for each in picture.iter(f"{SVG}circle")]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == 3


def test_lines_are_drawn():
    """Both scales begin at 0, and the ticks are the points that were measured."""
    picture = ET.fromstring(
        chart.lines("goodput", {"with": {0: 0.0, 1: 100.0}, "without": {0: 0.0, 2: 50.0}})
    )
    places = [
        (float(each.get("cx", "0")), float(each.get("cy", "0"))) for each in picture.iter(f"{SVG}circle")
    ]
    assert places[0] == places[2]
    assert places[1][0] - places[0][0] == pytest.approx((places[3][0] - places[0][0]) / 2, abs=0.1)
    assert places[0][1] - places[3][1] == pytest.approx((places[0][1] - places[1][1]) / 2, abs=0.1)
    texts = ["".join(each.itertext()) for each in picture.iter(f"{SVG}text")]
    assert {"goodput", "with", "without", "0", "1", "2"} <= set(texts)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (None, "–"),
        (0.0, "0.00"),
        (0.0123, "0.012"),
        (0.123, "0.12"),
        (9.876, "9.88"),
        (23.45, "23.4"),
        (12_345.6, "12,346"),
    ],
)
def test_numbers_have_the_digits_they_deserve(number, told):
    """Three or so; a number that could not be had is a dash."""
    assert spell(number) == told


def test_an_answer_is_told_between_the_marks(tmp_path, monkeypatch):
    """A page has the tables of the recorded answer, and keeps what it says around them."""
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    page = "before\n<!-- benchmark: layers -->\nold\n<!-- end of benchmark -->\nafter\n"
    assert pages.fill(page) == page
    answer = {
        "machine": {"python": "CPython", "processor": "chip"},
        "date": "today",
        "notes": ["Noted."],
        "curves": [],
    }
    answer["tables"] = [{"title": "Costs", "columns": ["a"], "rows": {"x": [1.5]}}]
    (tmp_path / "layers.json").write_text(json.dumps(answer), encoding="utf-8")
    told = pages.fill(page)
    assert told.startswith("before\n<!-- benchmark: layers -->\n")
    assert "| Costs | a |\n| --- | ---: |\n| x | 1.50 |" in told
    assert "CPython on chip, today. Noted." in told
    assert told.endswith("<!-- end of benchmark -->\nafter\n")
    assert "old" not in told


def test_figures_and_goals_are_told(tmp_path, monkeypatch):
    """A figure in the text and the table of goals come from the record; what is not on record stays."""
    goal = budgets.Budget("layers.stack", reason="why", on_breach="warn", most=40, goal=12, title="the stack")
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    monkeypatch.setattr(pages, "BUDGETS", (goal,))
    page = (
        "costs <!-- figure: layers.stack -->1<!-- -->, not <!-- figure: layers.other -->2<!-- -->\n"
        "<!-- benchmark: goals -->\n<!-- end of benchmark -->\n"
    )
    assert pages.fill(page) == page
    answer = {"figures": {"stack": 36.81}}
    (tmp_path / "layers.json").write_text(json.dumps(answer), encoding="utf-8")
    told = pages.fill(page)
    assert (
        "costs <!-- figure: layers.stack -->36.8<!-- -->, not <!-- figure: layers.other -->2<!-- -->" in told
    )
    assert "| the stack | ≤ 12.0 | 36.8 | **no** |" in told


def test_figures_in_pages_are_on_record():
    """A figure that a page names exists, once its question has a record."""
    recorded = {path.stem: json.loads(path.read_text(encoding="utf-8"))["figures"] for path in RESULTS}
    for page in pages.PAGES:
        for question, figure in re.findall(
            r"<!-- figure: (\w+)\.([\w.]+) -->", page.read_text(encoding="utf-8")
        ):
            assert question in QUESTIONS
            assert figure in recorded.get(question, {figure})


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_the_documentation_tells_what_is_on_record(page):
    """No number in a page is older than the record that it comes from."""
    text = page.read_text(encoding="utf-8")
    assert pages.fill(text) == text


def test_a_picture_is_of_the_table_or_of_the_curves():
    """An answer without either has no picture."""
    table = Table("costs", ["one"], {"x": [1.0]})
    curve = Curve("routes", {1: 1.0, 10: 1.0})
    assert "costs" in str(pages.draw(Answer("q", "?", picture=table)))
    assert "routes" in str(pages.draw(Answer("q", "?", curves=[curve])))
    assert "lines" in str(pages.draw(Answer("q", "?", picture=Plot("lines", {"x": {0.0: 0.0, 1.0: 1.0}}))))
    assert pages.draw(Answer("q", "?")) is None
