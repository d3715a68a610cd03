"""The benchmark of quotas decides what it says, with and without Redis."""

import importlib.util

import pytest

from benchmarks import quota


@pytest.fixture(scope="module")
def url():
    """A Redis of the benchmark's own."""
    pytest.importorskip("redis", reason="redis is not installed")
    with quota.redis_server() as url:
        yield url


@pytest.mark.parametrize("name", quota.SUBJECTS)
def test_every_subject_decides(name, url):
    """Each subject decides in a process of its own, and tells how often."""
    _, asks, package = quota.SUBJECTS[name]
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")

    with quota._Worker(name, url if asks else "") as worker:
        worker.begin(2, 0.02)
        decisions, seconds, cpu = worker.end()
    assert decisions >= 2 * quota.STRIDE
    assert 0.02 <= seconds < quota.PATIENCE
    assert cpu > 0


def test_processes_decide_together(url):
    """What several processes did at a time is added up."""
    with quota._Worker(quota.OURS, "") as first, quota._Worker(quota.STRICT, url) as second:
        decisions, seconds, cpu = quota._together([first, second], 2, 0.05)
    assert decisions > 100
    assert 0.05 <= seconds < 5
    assert cpu > 0
