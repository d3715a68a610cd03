"""redis-py and a real Redis that is stopped and started again under load."""

import asyncio

import pytest

from asgi_resilience.client import BreakerPolicy, Call, StateChanged
from asgi_resilience.client.nested_retries import warn_of_nested_retries
from tests.real_servers import PATIENCE, RedisServer

redis = pytest.importorskip("redis.asyncio", reason="redis is not installed")

from redis.asyncio.retry import Retry  # noqa: E402
from redis.backoff import NoBackoff  # noqa: E402

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path):
    """A Redis of our own."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def cache(server):
    """A client without retries of its own."""
    async with redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0), decode_responses=True) as cache:
        yield cache


async def test_stopped_and_started_again(server, cache, make, events):
    """While Redis is down the cache is skipped and the circuit opens; when it is back the circuit closes."""
    database, stop = [], asyncio.Event()

    async def from_database(key):
        database.append(key)
        return "from the database"

    dependency = make(
        "redis",
        timeout=5.0,
        retry=None,
        breaker=BreakerPolicy(open_for=0.2, half_open_for=0.2),
        fallback=Call(from_database),
    )
    await cache.set("key", "cached")
    answers = []

    async def load():
        while not stop.is_set():
            answers.append(await dependency.call(cache.get, "key"))
            await asyncio.sleep(0.002)

    async def until(condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - it is another process's doing
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(load())
        await until(lambda: len(answers) > 50)
        assert set(answers) == {"cached"}
        assert database == []
        await asyncio.to_thread(server.stop)
        await until(lambda: dependency.breaker.label == "open")
        answers.clear()
        await until(lambda: len(answers) > 50)
        assert set(answers) == {"from the database"}
        await asyncio.to_thread(server.start)
        await cache.set("key", "cached")
        await until(lambda: answers[-50:] == ["cached"] * 50)
        stop.set()
    assert dependency.breaker.label == "closed"
    states = [each.new for each in events if isinstance(each, StateChanged)]
    assert states[0] == "open"
    assert states[-2:] == ["half_open", "closed"]


async def test_what_redis_refuses(cache, make):
    """A wrong command is an answer of Redis's: no fallback hides it, and the circuit stays closed."""
    dependency = make("redis", fallback=Call(pytest.fail))
    await cache.set("key", "text")
    for _ in range(10):
        with pytest.raises(redis.ResponseError):
            await dependency.call(cache.lpush, "key", 1)
    assert dependency.breaker.label == "closed"


async def test_its_own_retries(server, make, caplog):
    """A client of redis-py retries ten times by itself, which is warned about once; one with `retries=0` does not."""
    dependency = make("redis")
    async with redis.Redis(port=server.port) as eager:
        for _ in range(2):
            with pytest.raises(redis.ResponseError):
                await dependency.call(eager.execute_command, "NOSUCHCOMMAND")
    assert caplog.text.count("redis: Redis retries 10 times by itself; pass retry=Retry(NoBackoff(), 0)") == 1
    caplog.clear()
    with pytest.raises(TypeError):
        await make("other", retry=None).call(eager.get)
    async with redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as patient:
        warn_of_nested_retries("redis", patient.get)
    assert "by itself" not in caplog.text
