"""The public surface: what `import asgi_resilience` gives, and what it does not load."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import asgi_resilience

PACKAGE = Path(asgi_resilience.__file__).parent
PUBLIC = [
    "asgi_resilience",
    "asgi_resilience.client",
    "asgi_resilience.health_checks",
    "asgi_resilience.testing",
]
OPTIONAL = (
    "aiobreaker",
    "backoff",
    "click",
    "datadog",
    "ddtrace",
    "httpx2",
    "psutil",
    "redis",
    "uvicorn",
    "uvloop",
    "trio",
)


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_sorted_and_complete(name):
    """`__all__` is sorted, names what exists, and leaves out nothing public that the package itself defines."""
    module = importlib.import_module(name)
    assert sorted(module.__all__, key=lambda each: (not each.isupper(), not each[:1].isupper(), each)) == [
        *module.__all__
    ]
    public = {
        each
        for each, value in vars(module).items()
        if not each.startswith("_") and str(getattr(value, "__module__", "")).startswith("asgi_resilience")
    }
    assert public <= set(module.__all__)
    assert all(hasattr(module, each) for each in module.__all__)


def test_the_import_loads_no_optional_package():
    """`import asgi_resilience` works with the hard dependencies alone, and loads nothing else."""
    program = f"import sys, asgi_resilience; print([name for name in {OPTIONAL!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_is_typed():
    """Type checkers take the annotations into account: the marker file of PEP 561 is there."""
    assert (PACKAGE / "py.typed").is_file()


def test_the_init_holds_names_only():
    """`__init__.py` defines nothing itself, in fewer than 100 lines."""
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    assert "def " not in source
    assert len(source.splitlines()) < 100
