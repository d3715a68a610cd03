"""The package as it is imported."""

import asyncio
import subprocess
import sys
from time import monotonic

import pytest

from asgi_resilience.client.clock import loop_time


@pytest.mark.parametrize("package", ["aiobreaker", "backoff", "httpx2"])
def test_a_missing_package(package):
    """Without one of its packages, the import says which command installs it."""
    program = f"import sys; sys.modules[{package!r}] = None; import asgi_resilience.client"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    expected = f"ImportError: asgi_resilience.client needs {package}: pip install 'asgi-resilience[client]'"
    assert done.stderr.strip().splitlines()[-1] == expected


def test_another_missing_package():
    """What is missing for other reasons is reported as it is."""
    program = "import sys; sys.modules['asgi_resilience.client.retry'] = None; import asgi_resilience.client"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError: import of asgi_resilience.client.retry halted" in done.stderr
    assert "pip install" not in done.stderr


def test_the_clock():
    """Inside of an event loop its clock counts, outside the monotonic one."""

    async def inside():
        return asyncio.get_running_loop().time() - loop_time()

    assert asyncio.run(inside()) == pytest.approx(0.0, abs=0.1)
    assert loop_time() == pytest.approx(monotonic(), abs=0.1)
