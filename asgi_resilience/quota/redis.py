"""The quota store that several processes and machines share: one Redis (6.2 or later) or Valkey, through redis-py.

A decision about all rules of a request is one call of a script, which is atomic. It has a budget of time and a circuit
breaker; without an answer the process decides by itself, so that a quota store that is down takes no request with it.
"""

import logging
import time
from asyncio import CancelledError, current_task
from collections.abc import Callable
from typing import Any, Final, cast

from asgi_resilience.context import report_failure
from asgi_resilience.health_check import HealthStatus
from asgi_resilience.metric_names import RATE_LIMIT_UNSHARED
from asgi_resilience.metric_sink import MetricSink
from asgi_resilience.quota.alone import Alone, WhenLost
from asgi_resilience.quota.gcra import Decision, Rules, decide
from asgi_resilience.quota.lease import Leases
from asgi_resilience.quota.redis_script import SCRIPT, SCRIPT_ID, arguments, decision
from asgi_resilience.telemetry.process_sink import process_sink

try:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import NoScriptError

    from asgi_resilience.client.dependency import Dependency
    from asgi_resilience.client.window import BreakerPolicy
except ImportError as error:
    raise ImportError("RedisQuota needs more: pip install 'asgi-resilience[redis,client]'") from error

__all__ = ("RedisQuota",)

_logger: Final = logging.getLogger("asgi_resilience.rate_limit")
_NANOSECONDS: Final = 1_000_000_000
_QUIET: Final = 1.0
"""Seconds without a failure after which the store counts as found again: one that answers now and then is lost."""


class RedisQuota:
    """Counts that every process shares that asks the same Redis. For asyncio.

    Args:
        redis: A URL, such as `"redis://localhost:6379/0"`, or a `redis.asyncio` client, which should not retry by itself.
        leased: Take tokens a batch at a time and spend them here. Default: ask for each request.
        lease: For how many seconds they may be spent: above 0, at most an hour. Default 1.0.
        lease_share: Of the smallest burst, how much a lease takes at most: above 0, at most 1. Default 0.02.
        budget: Seconds for a decision. Default 0.05.
        breaker: When to stop asking a store that does not answer, and for how long. None: never. By default it opens for a second.
        when_lost: Without an answer, hold clients to a share of their limit in this process (`"local"`, the default),
            admit them (`"open"`), or refuse them for a second (`"closed"`).
        local_share: That share: above 0, at most 1. Default 0.25.
        prefix: Of the keys. Who has another one shares nothing.
        name: Of the dependency, for logs, metrics and `dependency_check`.
        connections: How many this process opens at most to a URL, 1 or more. Default 16.
        metrics: Gets the numbers; None: the sink of the process.
        clock: Seconds, the same for everybody. None: the time of the server.

    Attributes:
        dependency: What every question goes through.
        lost: Whether this process decides by itself, as the store does not answer.
        shared: True: others use the same keys, so what names a client must be hashed alike by all of them.

    Raises:
        ValueError: An option is out of its range; it names the option, the value and the range.
        ImportError: Of the module: without the extras `redis` and `client`.
    """

    shared: Final = True

    def __init__(
        self,
        redis: Any,
        *,
        leased: bool = False,
        lease: float = 1.0,
        lease_share: float = 0.02,
        budget: float = 0.05,
        breaker: BreakerPolicy | None = BreakerPolicy(open_for=1.0, half_open_for=1.0),  # noqa: B008 - frozen
        when_lost: WhenLost = "local",
        local_share: float = 0.25,
        prefix: str = "asgi_resilience:quota",
        name: str = "redis-quota",
        connections: int = 16,
        metrics: MetricSink | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if not 0 < budget < float("inf"):
            raise ValueError(f"budget={budget!r}: expected seconds above 0")
        if "{" in prefix:
            raise ValueError(
                f"prefix={prefix!r}: expected text without '{{', which would put all keys into one slot"
            )
        if connections < 1:
            raise ValueError(f"connections={connections!r}: expected 1 or more")
        self.lost = False
        self._alone = Alone(when_lost, local_share)
        self._leases = Leases(self._reserve, seconds=lease, share=lease_share) if leased else None
        self._redis: Any = _client(redis, connections) if isinstance(redis, str) else redis
        self._policy = when_lost
        self._prefix = prefix
        self._metrics = metrics
        self._tags = (f"policy:{when_lost}",)
        self._clock = clock
        self._failed_at = 0.0
        self._unshared = 0
        self.dependency = Dependency(name, timeout=budget, retry=None, breaker=breaker, metrics=metrics)

    async def take_async(self, key: str, rules: Rules, cost: int = 1) -> Decision:
        """Admit a request of the client `key`, or refuse it; a store that does not answer is no error.

        Args:
            key: Who asks. The same key always comes with the same rules.
            rules: All must admit it; otherwise none is charged.
            cost: What it costs of each, at most the smallest burst.

        Raises:
            ValueError: As `decide`.
        """
        if cost != 1:
            decide(rules, None, 0, cost)
        try:
            if self._leases is not None:
                decided = await self._leases.take(key, rules, cost)
            else:
                _, decided = await self._reserve(key, rules, cost, cost)
        except CancelledError as error:
            task = current_task()
            if task is None or task.cancelling():
                raise
            self._failed(error)  # nobody cancelled this task: it is what a connection ended in
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no reason to turn a client away
            self._failed(error)
        else:
            return decided
        return self._alone.take(key, rules, cost)

    async def health(self) -> HealthStatus:
        """Degraded while this process decides by itself: for a `HealthCheck` that is not critical. Asks nobody."""
        return "degraded" if self.lost else "healthy"

    async def aclose(self) -> None:
        """Close the connections; a decision after that opens new ones."""
        await self._redis.aclose()

    async def _reserve(self, key: str, rules: Rules, need: int, most: int) -> tuple[int, Decision]:
        now = None if self._clock is None else int(self._clock() * _NANOSECONDS)
        asked = arguments(rules, need, most, now)
        answer = await self.dependency.call(self._run, f"{self._prefix}:{{{key}}}", asked)
        if self.lost:
            self._answered()
        return decision(rules, need, answer)

    async def _run(self, key: str, asked: str) -> Any:
        try:
            return await self._redis.execute_command("EVALSHA", SCRIPT_ID, 1, key, asked)
        except NoScriptError:  # never loaded, or restarted since
            return await self._redis.execute_command("EVAL", SCRIPT, 1, key, asked)

    def _failed(self, error: BaseException) -> None:
        self._failed_at = time.monotonic()
        self._unshared += 1
        if not self.lost:
            self.lost = True
            _logger.warning(
                "%s does not answer (%s): quotas are %s in this process until it does",
                *(self.dependency.name, type(error).__qualname__, _MEANINGS[self._policy]),
            )
        sink = process_sink() if self._metrics is None else self._metrics
        try:
            sink.increment(RATE_LIMIT_UNSHARED.name, 1, self._tags)
        except Exception as failure:  # noqa: BLE001 - telemetry may never change an outcome
            report_failure(sink, failure)

    def _answered(self) -> None:
        if time.monotonic() - self._failed_at >= _QUIET:
            self.lost = False
            _logger.warning(
                "%s answers again: quotas are shared; %s decisions were made without it",
                *(self.dependency.name, self._unshared),
            )
            self._unshared = 0


_MEANINGS: Final = {"local": "held to a share", "open": "not held", "closed": "taken for used up"}


def _client(url: str, connections: int) -> Any:
    options: dict[str, Any] = {
        "max_connections": connections,
        "retry": Retry(NoBackoff(), 0),
        "timeout": None,
    }
    # The budget is the only limit: redis-py keeps each of its own by a task for every command.
    options |= {"socket_timeout": None, "socket_connect_timeout": None}
    pool = cast("Any", BlockingConnectionPool).from_url(
        url, **options
    )  # whose options redis-py does not type
    return Redis.from_pool(pool)
