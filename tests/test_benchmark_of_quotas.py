"""The benchmark of quotas decides what it says, with and without Redis."""

import asyncio
import importlib.util

import pytest

from asgi_resilience.quota.gcra import Decision
from benchmarks import quota


@pytest.fixture(autouse=True)
def blockbuster():
    """No guard: that a peer blocks is its affair."""


@pytest.fixture(scope="module")
def url():
    """A Redis of the benchmark's own."""
    pytest.importorskip("redis", reason="redis is not installed")
    with quota.redis_server() as url:
        yield url


@pytest.mark.parametrize("name", quota.SUBJECTS)
def test_every_subject_decides(name, url):
    """Each subject admits its client, by as many decisions as are told."""
    make, asks, package = quota.SUBJECTS[name]
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")

    async def run():
        decide = await make(url if asks else "")
        decision = await decide()
        assert not isinstance(decision, Decision) or decision.remaining == quota.PER_MINUTE - 1
        assert decision is not False
        assert await quota._decide(decide, 0.0) == 0

    asyncio.run(run())


def test_processes_decide_together(url):
    """What several processes did at a time is added up."""
    with quota._Worker(quota.OURS, "") as first, quota._Worker(quota.STRICT, url) as second:
        decisions, seconds, cpu = quota._together([first, second], 2, 0.05)
    assert decisions > 100
    assert 0.05 <= seconds < 5
    assert cpu > 0
