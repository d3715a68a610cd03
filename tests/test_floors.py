"""The floors of the house: which module may import which, and where each optional package may be imported at all."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "asgi_resilience"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
FLOORS = (
    # what knows nothing of a request
    (
        *(
            "accept",
            "alarms",
            "drain_phase",
            "error_rule",
            "errors",
            "health_check",
            "logs.output",
            "logs.patterns",
            "metric_names",
            "metric_sink",
            "paths",
            "process_life",
        ),
        *("quota.gcra", "retry_after", "slo", "timeouts", "traceparent"),
    ),
    ("context", "error_specs", "logs.redaction", "quota", "route", "shedding", "trace_headers", "trace_ids"),
    ("error_catalogue", "logs", "faults", "lifespan", "peers", "recorder", "request_headers", "telemetry"),
    ("error_response",),
    ("exchange", "plain_error"),
    ("settings",),
    # the layers and the policies
    ("client", "logs.gunicorn", "logs.setup", "middleware"),
    ("quota.of_settings", "quota.redis"),  # a store that is reached as an outbound dependency is
    # what puts them together
    ("health_checks", "monitoring", "stack", "testing"),
    ("__main__", "command", ""),
)
TOP = len(FLOORS) - 1
OURS = re.compile(r"asgi_resilience\b").match
# The one file, or folder, that may import an optional package for a purpose; everything else works without it.
OPTIONAL = {
    "aiobreaker": "client.breaker",
    "backoff": "client.retry",
    "click": "command",
    "datadog": ("monitoring.account", "telemetry.statsd"),
    "gunicorn": "logs.gunicorn",
    "structlog": "logs.structlog",
    "ddtrace": "telemetry.tracing",
    "dotenv": "command",
    "httpx2": "client.http",
    "psutil": "telemetry.runtime.portable",
    "pytest": "testing.fixtures",
    "redis": "quota.redis",
    "uvicorn": "command",
}


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, anywhere in it, but for those that only the type checker sees."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else str(node.module)


def short(module: str) -> str:
    """`asgi_resilience.logs.sink` is `logs.sink`."""
    return module.removeprefix("asgi_resilience").removeprefix(".")


def floor(module: str) -> int:
    """The floor of a module: that of its own name, else that of the package it stands in."""
    while True:
        for number, names in enumerate(FLOORS):
            if module in names:
                return number
        assert "." in module, f"{module!r} stands on no floor: add it to FLOORS"
        module = module.rpartition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_floors_below_its_own(module):
    """A module imports from lower floors, or from its own package on its own floor; middlewares not even that."""
    name = short(module)
    package = name.partition(".")[0]
    for imported in map(short, filter(OURS, imports(MODULES[module]))):
        neighbour = floor(name) == TOP or (package == imported.partition(".")[0] and package != "middleware")
        allowed = floor(imported) < floor(name) or (floor(imported) == floor(name) and neighbour)
        assert allowed, f"{name} (floor {floor(name)}) imports {imported} (floor {floor(imported)})"


@pytest.mark.parametrize("module", MODULES)
def test_an_optional_package_has_one_place(module):
    """Each optional package has one file, or one folder, that imports it; datadog, which is two things, has two."""
    packages = {name.partition(".")[0] for name in imports(MODULES[module])}
    for places in (OPTIONAL[each] for each in packages & OPTIONAL.keys()):
        allowed = (places,) if isinstance(places, str) else places
        assert f"{short(module)}.".startswith(tuple(f"{place}." for place in allowed))


@pytest.mark.parametrize("module", MODULES)
def test_a_file_holds_one_idea(module):
    """No file is longer than 300 lines."""
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 300
