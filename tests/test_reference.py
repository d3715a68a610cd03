"""The reference is complete: what can be set, logged, heard of or imported stands on a page, as it is in the code."""

import ast
import dataclasses
import importlib
import inspect
import json
import logging
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import yaml

import asgi_resilience
from asgi_resilience import client
from asgi_resilience.client import events
from asgi_resilience.context import RequestContext, request_scope
from asgi_resilience.logs.schema import ACCESS_LOGGER, LineFormatter
from asgi_resilience.logs.sink import LogSink
from asgi_resilience.metric_names import METRICS
from asgi_resilience.telemetry.runtime.sampler import RuntimeMetrics

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
SOURCES = sorted((ROOT / "asgi_resilience").rglob("*.py"))


def page(name: str) -> str:
    """The text of a page of the reference."""
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the tables whose first column is headed `first`."""
    found = re.findall(rf"^\| {first} \|.*\n\|[ :|-]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [
        [cell.strip() for cell in line[1:-1].split("|")] for table in found for line in table.splitlines()
    ]


def quoted(cell: str) -> list[str]:
    """What stands in backquotes before a colon or a comma explains it."""
    return re.findall(r"`([\w.]+)`", re.split(r": |, such as|, `None`", cell)[0])


# ------------------------------------------------------------------------------------------------------ what can be set

OPTIONS = {
    "access-log": asgi_resilience.AccessLogMiddleware,
    "circuit-breaker": client.BreakerPolicy,
    "dependency": client.Dependency,
    "error-envelope": asgi_resilience.ErrorEnvelopeMiddleware,
    "health": asgi_resilience.HealthMiddleware,
    "load-shedding": asgi_resilience.LoadShedMiddleware,
    "logging": LogSink,
    "metrics": asgi_resilience.MetricsMiddleware,
    "rate-limit": asgi_resilience.RateLimitMiddleware,
    "request-id": asgi_resilience.RequestIDMiddleware,
    "retry": client.RetryPolicy,
    "runtime-metrics": RuntimeMetrics,
    "timeout": asgi_resilience.TimeoutMiddleware,
    "trace-context": asgi_resilience.TraceContextMiddleware,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_documented_with_its_default(name):
    """The table of options names every option of the class and no other; a default that is a literal is the class's."""
    text = page(name)
    heading = re.search(r"^\| option \|.*$", text, re.MULTILINE)
    assert heading
    place = [cell.strip() for cell in heading[0][1:-1].split("|")].index("default")
    documented = {option: cells[place] for cells in rows(text, "option") for option in quoted(cells[0])}
    signature = inspect.signature(OPTIONS[name]).parameters
    options = {option: each.default for option, each in signature.items() if option != "app"}
    assert documented.keys() == options.keys()
    for option, cell in documented.items():
        literal = re.match(r"`([^`]+)`", cell)
        if literal and not re.match(r"[A-Z]\w*\(|[\w.]+\.\w+$|new_|DEFAULT_", literal[1]):
            assert ast.literal_eval(literal[1]) == options[option], option


# ----------------------------------------------------------------------------------------------------- what can be logged


def leaves(fields: dict, path: str = "") -> set[str]:
    """The dotted names of a line's fields; `context` and flat names such as `dd.trace_id` are one each."""
    found = set()
    for name, value in fields.items():
        if isinstance(value, dict) and name != "context":
            found |= leaves(value, f"{path}{name}.")
        else:
            found.add(path + name)
    return found


def everything() -> set[str]:
    """The fields of a request's line that has all of them, and of a record's."""
    formatter = LineFormatter(service="shop", environment="test", version="1")
    record = RequestContext({"type": "http", "method": "GET", "path": "/"}, clock=lambda: 0.0)
    record.status, record.outcome, record.route = 500, "server_error", "/"
    record.first_byte_at = record.ended_at = 0.0
    record.request_id, record.user_id, record.error_code = "req_1", "ann", "INTERNAL_SERVER_ERROR"
    record.trace_id, record.span_id = "1" * 32, "1" * 16
    record.log_tags = {"dd.service": "shop", "dd.env": "test", "dd.version": "1"}
    record.exception = ValueError("why")
    record.bind(order=7)
    line = formatter.request(record, "ERROR", "10.0.0.1", b"curl", query=b"a=1", sample_rate=0.5)
    with request_scope(record):
        written = logging.makeLogRecord(
            {"msg": "hello", "levelno": logging.INFO, "threadName": "worker", "duration_ms": 1.0}
        )
        other = formatter.record(written)
    return leaves(json.loads(line)) | leaves(json.loads(other)) | leaves(json.loads(formatter.dropped({})))


def test_every_log_field_is_documented():
    """The page of log fields names each field that a line can have, and none besides."""
    documented = {quoted(cells[0])[0] for cells in rows(page("log-fields"), "field")}
    assert documented == everything()


def keys(node: ast.AST | None) -> set[str]:
    """The keys of a dict display that are plain text."""
    if not isinstance(node, ast.Dict):
        return set()
    return {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}


def told(tree: ast.Module) -> set[str]:
    """What a module puts into the context of lines: by `bind`, by `extra`, by hand."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="bind"), keywords=keywords) if keywords:
                found |= {each.arg for each in keywords if each.arg}
            case ast.Call(func=ast.Name(id="_log"), args=arguments):
                found |= set().union(*map(keys, arguments))
            case ast.keyword(arg="extra", value=value):
                found |= keys(value)
            case ast.Dict(keys=[*_, ast.Constant(value="context")], values=[*_, inner]):
                found |= keys(inner)
            case ast.AnnAssign(target=ast.Name(id="extra"), value=value):
                found |= keys(value)
            case ast.Subscript(
                value=ast.Name(id="context" | "extra"), slice=ast.Constant(value=str(name)), ctx=ast.Store()
            ):
                found.add(name)
            case (
                ast.Assign(targets=[ast.Name(id="_FIELD")], value=ast.Constant(value=str(name)))
                | ast.AnnAssign(target=ast.Name(id="_FIELD"), value=ast.Constant(value=str(name)))
            ):
                found.add(name)
    return found


def test_every_key_of_the_context_is_documented():
    """What the package itself puts into the context of a line stands on the page of log fields, and nothing besides."""
    documented = {quoted(cells[0])[0] for cells in rows(page("log-fields"), "key")}
    assert documented == set().union(*(told(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES))


def test_every_logger_is_documented():
    """The page of log fields names each logger of the package."""
    documented = {quoted(cells[0])[0] for cells in rows(page("log-fields"), "logger")}
    found = {
        name
        for path in SOURCES
        for name in re.findall(r'getLogger\("(asgi_resilience[\w.]*)"\)', path.read_text(encoding="utf-8"))
    }
    assert documented == found | {ACCESS_LOGGER}


# ---------------------------------------------------------------------------------------------------- what can be counted


def test_the_index_of_metrics_is_complete():
    """The page of all metrics names each one once, in order, with its kind, and leads to the page whose table has it."""
    listed = re.findall(
        r"^\| \[`([\w.]+)`\]\(([\w-]+)\.md\) \| (\w+) \| (.*) \|$", page("every-metric"), re.MULTILINE
    )
    assert [(name, kind, text) for name, _, kind, text in listed] == sorted(
        (each.name, each.kind, each.description) for each in METRICS.values()
    )
    assert [name for name, where, _, _ in listed if f"\n| `{name}` | " not in page(where)] == []


# -------------------------------------------------------------------------------------------------- what can be heard of


def test_every_event_is_documented():
    """The page of outbound events has each event with its fields, and every reason to give up."""
    text = page("outbound-events")
    documented = {quoted(cells[0])[0]: quoted(cells[1]) for cells in rows(text, "event")}
    assert documented == {
        event.__name__: [field.name for field in dataclasses.fields(event)][1:]
        for event in events.Event.__subclasses__()
    }
    reasons = re.search(r"`GaveUp.reason` is one of ([^.]*)\.", text)
    assert reasons
    assert set(re.findall(r"`(\w+)`", reasons[1])) == set(get_args(events.GiveUpReason))


# -------------------------------------------------------------------------------------------------- what can be imported


PUBLIC = [
    "asgi_resilience",
    *(
        f"asgi_resilience.{name}"
        for name in ("client", "faults", "health_checks", "slo", "telemetry", "testing")
    ),
]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name):
    """Each name that a public module exports is told of in the documentation."""
    text = "\n".join(each.read_text(encoding="utf-8") for each in sorted(REFERENCE.parent.rglob("*.md")))
    assert [
        each for each in importlib.import_module(name).__all__ if not re.search(rf"\b{each}\b", text)
    ] == []


def test_every_dependency_is_documented_with_its_extra():
    """The table of dependencies names each package that the project asks for, where it asks for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"–": project["dependencies"], **project["optional-dependencies"]}
    del wanted["all"]
    text = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")
    documented = {(cells[0].split()[0], cells[1].strip("`")) for cells in rows(text, "package")}
    assert documented == {
        (re.split(r"[^\w-]", package)[0], extra) for extra, packages in wanted.items() for package in packages
    }


# ------------------------------------------------------------------------------------------------------ what can be run


@pytest.mark.parametrize("name", ["deploy", "kubernetes-probes"])
def test_the_probes_that_are_shown_are_those_of_the_manifest(name):
    """What a page shows of the probes stands in the manifest of the example, number by number."""
    manifest = (ROOT / "examples" / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8")
    containers = [
        container
        for document in yaml.safe_load_all(manifest)
        if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    text = (ROOT / "docs" / "how-to" / f"{name}.md").read_text(encoding="utf-8")
    shown = yaml.safe_load(re.search(r"```yaml\n(startupProbe:.*?)```", text, re.DOTALL)[1])
    assert any(
        all(container[probe] | numbers == container[probe] for probe, numbers in shown.items())
        for container in containers
    )
