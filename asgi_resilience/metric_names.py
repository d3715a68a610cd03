"""Every metric that this library emits: its name, kind, unit, tags and meaning.

The code emits from these constants, the tables of the documentation are checked against them, and dashboards and
monitors are built from them, so a name stands in one place.
"""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ("METRICS", "Kind", "Metric")

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What is known of one metric before it is emitted.

    Attributes:
        name: As it goes out, in Datadog's form; Prometheus gets underscores for the dots.
        kind: How its numbers add up. A histogram is sent as DogStatsD's `distribution` where that is asked for.
        unit: Of its numbers, by Datadog's name of the unit.
        tags: The keys of its tags; those in `optional` are left out where there is nothing to say.
        description: What it tells, in one sentence.
        optional: The keys that not every series has.
    """

    name: str
    kind: Kind
    unit: str
    tags: tuple[str, ...]
    description: str
    optional: tuple[str, ...] = ()


# One metric is one line.
# fmt: off

# ------------------------------------------------------------------------------------------------------------- inbound

_ENDPOINT: Final = ("method", "route")
_REQUEST: Final = (*_ENDPOINT, "status", "status_class", "outcome", "error_code")
_CODE: Final = ("error_code",)

API_REQUESTS_TOTAL: Final = Metric("api.requests.total", "counter", "request", _REQUEST, "Requests that have ended.", _CODE)
API_REQUESTS_ERRORS: Final = Metric("api.requests.errors", "counter", "request", _REQUEST, "Those that count as errors.", _CODE)
API_REQUESTS_DURATION: Final = Metric("api.requests.duration", "histogram", "millisecond", _REQUEST, "Until the last byte was sent.", _CODE)
API_REQUESTS_BY_ENDPOINT: Final = Metric("api.requests.by_endpoint", "counter", "request", _ENDPOINT, "Traffic of each endpoint.")
API_REQUESTS_IN_FLIGHT: Final = Metric("api.requests.in_flight", "gauge", "request", (), "Requests that are being served.")
WEBSOCKET_CONNECTIONS_TOTAL: Final = Metric("websocket.connections.total", "counter", "connection", _REQUEST, "Connections that have ended.", _CODE)
WEBSOCKET_CONNECTIONS_ERRORS: Final = Metric("websocket.connections.errors", "counter", "connection", _REQUEST, "Those that count as errors.", _CODE)
WEBSOCKET_CONNECTIONS_DURATION: Final = Metric("websocket.connections.duration", "histogram", "millisecond", _REQUEST, "From the handshake to the end.", _CODE)
WEBSOCKET_CONNECTIONS_BY_ENDPOINT: Final = Metric("websocket.connections.by_endpoint", "counter", "connection", _ENDPOINT, "Connections to each endpoint.")
WEBSOCKET_CONNECTIONS_IN_FLIGHT: Final = Metric("websocket.connections.in_flight", "gauge", "connection", (), "Connections that are open.")

# ------------------------------------------------------------------------------------------------------------ outbound

_DEPENDENCY: Final = ("dependency",)
_CALL: Final = (*_DEPENDENCY, "outcome")

OUTBOUND_CALLS: Final = Metric("outbound.calls", "counter", "request", _CALL, "Calls that have ended.")
OUTBOUND_DURATION: Final = Metric("outbound.duration", "histogram", "millisecond", _CALL, "Of a call, its retries included.")
OUTBOUND_RETRIES: Final = Metric("outbound.retries", "counter", "attempt", _DEPENDENCY, "Attempts after the first.")
OUTBOUND_REJECTED: Final = Metric("outbound.rejected", "counter", "request", _CALL, "Calls that were not made; the outcome is the reason.")
OUTBOUND_FALLBACKS: Final = Metric("outbound.fallbacks", "counter", "request", _CALL, "Answers of a fallback; the outcome is its kind.")
OUTBOUND_BREAKER_STATE: Final = Metric("outbound.breaker.state", "gauge", "", _DEPENDENCY, "0 closed, 1 half open, 2 open.")

# ------------------------------------------------------------------------------------------------------- error budgets

_OBJECTIVE: Final = ("slo",)

SLO_BUDGET_REMAINING: Final = Metric("slo.budget_remaining", "gauge", "fraction", _OBJECTIVE, "What is left of the budget, 1 to 0; negative when overspent.")
SLO_BURN_RATE: Final = Metric("slo.burn_rate", "gauge", "", (*_OBJECTIVE, "window"), "How many times as fast as allowed it is spent.")
SLO_POLICY_STATE: Final = Metric("slo.policy_state", "gauge", "", _OBJECTIVE, "0 normal, 1 slow down, 2 freeze.")
SLO_ALERT_ACTIVE: Final = Metric("slo.alert_active", "gauge", "", (*_OBJECTIVE, "alert"), "1 while the alert of that long window is active.")

# ------------------------------------------------------------------------------------------------------- load shedding

LOAD_SHED_SHED: Final = Metric("load_shed.shed", "counter", "request", ("reason", "priority"), "Requests refused as there was too much work.")
LOAD_SHED_LIMIT: Final = Metric("load_shed.limit", "gauge", "request", (), "How many may be worked on at once, now.")
LOAD_SHED_IN_FLIGHT: Final = Metric("load_shed.in_flight", "gauge", "request", (), "How many are being worked on.")
LOAD_SHED_WAITING: Final = Metric("load_shed.waiting", "gauge", "request", (), "How many wait for their turn.")

# ------------------------------------------------------------------------------------------------------- shared quotas

RATE_LIMIT_UNSHARED: Final = Metric("rate_limit.unshared", "counter", "request", ("policy",), "Decisions of this process alone, as the shared store did not answer.")

# ----------------------------------------------------------------------------------------------------- fault injection

FAULTS_INJECTED: Final = Metric("faults.injected", "counter", "fault", ("fault", "target"), "Faults that were made on purpose.")

# --------------------------------------------------------------------------------------------------------- application

_TIMED: Final = ("outcome", "error")

PREDICTIONS_GENERATED: Final = Metric("predictions.generated", "counter", "item", ("sport", "model"), "Predictions made.", ("sport", "model"))
PREDICTIONS_CACHE_HIT_RATE: Final = Metric("predictions.cache_hit_rate", "gauge", "fraction", (), "Share of the last lookups that the cache answered.")
MODELS_INFERENCE_DURATION: Final = Metric("models.inference_duration", "histogram", "millisecond", ("model", *_TIMED), "Of one inference.", ("model", "error"))
FEATURES_COMPUTATION_DURATION: Final = Metric("features.computation_duration", "histogram", "millisecond", ("feature", *_TIMED), "Of computing the features of one prediction.", ("feature", "error"))
DATABASE_QUERY_DURATION: Final = Metric("database.query_duration", "histogram", "millisecond", ("database", "operation", *_TIMED), "Of one query.", ("database", "operation", "error"))
DATABASE_CONNECTIONS_ACTIVE: Final = Metric("database.connections.active", "gauge", "connection", ("database",), "Connections of the pool that are in use.", ("database",))

# ------------------------------------------------------------------------------------- the process and its machine

RUNTIME_LOOP_LAG_P50: Final = Metric("runtime.loop_lag.p50", "gauge", "millisecond", (), "How late the event loop came to a timer, in the middle.")
RUNTIME_LOOP_LAG_P99: Final = Metric("runtime.loop_lag.p99", "gauge", "millisecond", (), "The same, 99 of 100 times at most.")
RUNTIME_LOOP_LAG_MAX: Final = Metric("runtime.loop_lag.max", "gauge", "millisecond", (), "The same, at worst.")
RUNTIME_TASKS: Final = Metric("runtime.tasks", "gauge", "task", (), "Tasks of the event loop that are alive.")
RUNTIME_THREADS: Final = Metric("runtime.threads", "gauge", "thread", (), "Threads that Python knows of.")
RUNTIME_THREAD_POOL_SIZE: Final = Metric("runtime.thread_pool.size", "gauge", "thread", ("pool",), "The most threads that may work at a time.")
RUNTIME_THREAD_POOL_BUSY: Final = Metric("runtime.thread_pool.busy", "gauge", "thread", ("pool",), "Threads that work.")
RUNTIME_THREAD_POOL_WAITING: Final = Metric("runtime.thread_pool.waiting", "gauge", "task", ("pool",), "Calls that wait for a thread.")
RUNTIME_GC_COLLECTIONS: Final = Metric("runtime.gc.collections", "counter", "garbage collection", ("generation",), "Runs of the garbage collector.")
RUNTIME_GC_PAUSE_TOTAL: Final = Metric("runtime.gc.pause.total", "counter", "millisecond", (), "Time that the garbage collector took.")
RUNTIME_GC_PAUSE_MAX: Final = Metric("runtime.gc.pause.max", "gauge", "millisecond", (), "The longest run of the garbage collector.")
RUNTIME_CPU_USAGE: Final = Metric("runtime.cpu.usage", "gauge", "percent", (), "Of one core, by this process; 200 are two cores.")
RUNTIME_MEMORY_RSS: Final = Metric("runtime.memory.rss", "gauge", "byte", (), "Memory of this process that is in the machine's.")
RUNTIME_OPEN_FILES: Final = Metric("runtime.open_files", "gauge", "file", (), "Files, sockets and pipes that this process has open.")
RATE_LIMIT_CLIENTS: Final = Metric("rate_limit.clients", "gauge", "", (), "Clients whose quota is remembered in this process.")
RATE_LIMIT_FORGOTTEN: Final = Metric("rate_limit.forgotten", "counter", "", (), "Clients forgotten too early, as there were too many.")
OUTBOUND_WAITING: Final = Metric("outbound.waiting", "gauge", "request", _DEPENDENCY, "Calls that wait for a retry or at the gate.")
OUTBOUND_RETRY_BUDGET: Final = Metric("outbound.retry_budget", "gauge", "attempt", _DEPENDENCY, "Retries that the budget still has.")
CPU_USAGE: Final = Metric("cpu.usage", "gauge", "percent", (), "Of the container's limit, or else of all cores of the machine.")
MEMORY_USAGE: Final = Metric("memory.usage", "gauge", "percent", (), "Of the container's limit, or else of the machine's memory.")
DISK_USAGE: Final = Metric("disk.usage", "gauge", "percent", ("path",), "Of the file system at that path.")
NETWORK_THROUGHPUT: Final = Metric("network.throughput", "gauge", "byte", ("direction",), "Per second, over all interfaces but the loopback.")

# ------------------------------------------------------------------------------------------ told by health checks

POSTGRESQL_CONNECTIONS: Final = Metric("postgresql.connections", "gauge", "connection", _DEPENDENCY, "Of all clients, to the whole server.")
POSTGRESQL_CONNECTIONS_MAX: Final = Metric("postgresql.connections.max", "gauge", "connection", _DEPENDENCY, "How many the server allows.")
REDIS_MEMORY_USAGE: Final = Metric("redis.memory_usage", "gauge", "percent", _DEPENDENCY, "Of `maxmemory`, or else of the memory of its machine.")

# ------------------------------------------------------------------------------------------------- the pipeline itself

METRICS_FOLDED: Final = Metric("asgi_resilience.metrics.folded", "counter", "item", (), "Numbers counted under the tag `overflow:true`, as there were too many combinations of tags.")
METRICS_INCOMPLETE: Final = Metric("asgi_resilience.metrics.incomplete_flushes", "counter", "flush", (), "Flushes of which the DogStatsD agent did not take everything.")

# fmt: on

METRICS: Final = {each.name: each for each in tuple(globals().values()) if isinstance(each, Metric)}
"""All of the above, by name."""
