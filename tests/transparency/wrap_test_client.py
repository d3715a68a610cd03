"""A pytest plugin: every app that Starlette's TestClient is given is wrapped first.

`TRANSPARENCY_WRAPPER` names the wrapper: `nothing` (a callable that only calls through: the yardstick), `copy` (one
that hands on a copy of the scope, as ASGI asks of a middleware), `wrap` (the whole stack) or `quiet` (the stack without
the layers that add to an answer or give one). The ids of the tests that ran and of those that failed are written to the
file `TRANSPARENCY_REPORT`.
"""

import functools
import json
import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from asgi_resilience.context import ASGIApp


def nothing(app: ASGIApp) -> ASGIApp:
    async def call_through(scope, receive, send):
        await app(scope, receive, send)

    return call_through


def copy(app: ASGIApp) -> ASGIApp:
    async def call_with_a_copy(scope, receive, send):
        await app({**scope}, receive, send)

    return call_with_a_copy


def stack(app: ASGIApp) -> ASGIApp:
    from asgi_resilience import Settings, wrap

    return wrap(app, Settings(rewrite_error_responses=False, reraise=True))


def quiet(app: ASGIApp) -> ASGIApp:
    from asgi_resilience import Settings, wrap

    return wrap(app, Settings(request_id=False, error_envelope=False))


WRAPPERS = {"nothing": nothing, "copy": copy, "wrap": stack, "quiet": quiet}


def pytest_configure(config: pytest.Config) -> None:
    wrapper = WRAPPERS[os.environ["TRANSPARENCY_WRAPPER"]]
    original = TestClient.__init__

    @functools.wraps(original)
    def init(self, app, *args, **kwargs):
        original(self, wrapper(app), *args, **kwargs)
        self.app = app  # tests ask the client for the app that they gave it

    TestClient.__init__ = init
    if not hasattr(
        config, "workerinput"
    ):  # the workers of xdist send their results to the one that writes the report
        config.pluginmanager.register(_Report(Path(os.environ["TRANSPARENCY_REPORT"])))


class _Report:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._ran: set[str] = set()
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped:
            self._ran.add(report.nodeid)
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._path.write_text(json.dumps({"ran": sorted(self._ran), "failed": sorted(self._failed)}))
