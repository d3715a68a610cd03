"""The programs under examples/, asked without a server."""

import importlib
import sys
from pathlib import Path

import pytest

from asgi_resilience import Settings, wrap
from asgi_resilience.testing import asgi_request

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))

# Quart runs on asyncio only.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)]


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    """Examples are imported from the repository's root, as the command line does."""
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in EXAMPLES:
        sys.modules.pop(f"examples.{name}", None)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_answers_with_an_id(name):
    """Every example is an ASGI app that answers, wrapped or to be wrapped."""
    module = importlib.import_module(f"examples.{name}")
    app = wrap(module.app, Settings()) if name == "quickstart" else module.app
    answer = await asgi_request(app, path="/no/such/page")
    assert answer.status == 404
    assert answer.headers["x-request-id"].startswith("req_")
    assert len((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 80
