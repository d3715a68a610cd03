"""Every layer alone and the whole stack, switched on as far as they go without changing an answer."""

import importlib
from collections.abc import Callable

from asgi_resilience.context import ASGIApp

ADDED_HEADERS = {b"x-request-id", b"ratelimit", b"ratelimit-policy", b"x-trace-id"}
"""What the layers are documented to put on a response; `x-request-id` replaces one of the app's."""

_OPTIONS: dict[str, tuple[str, dict[str, object]]] = {
    "HealthMiddleware": ("health", {}),
    "RequestIDMiddleware": ("request_id", {}),
    "TraceContextMiddleware": ("trace_context", {"response_header": "X-Trace-ID"}),
    "AccessLogMiddleware": ("access_log", {}),
    "MetricsMiddleware": ("metrics", {}),
    "ErrorEnvelopeMiddleware": ("error_envelope", {"rewrite": False}),
    "RateLimitMiddleware": ("rate_limit", {"limit": "1000000/second"}),
    "TimeoutMiddleware": ("timeout", {"stream": 86400.0}),
}


class CountingSink:
    """A metric sink that knows how often it was told of a request, and how many it takes to be in flight."""

    def __init__(self) -> None:
        self.counted = 0
        self.in_flight = 0.0

    def increment(self, name, value=1, tags=()):
        if name.endswith(".total"):
            self.counted += 1

    def gauge(self, name, value, tags=()):
        self.in_flight = value

    def histogram(self, name, value, tags=()):
        pass


def layer(name: str, sink: CountingSink) -> Callable[[ASGIApp], ASGIApp]:
    """The layer of that name, or the stack under the names `stack` and `nothing`."""
    if name == "nothing":
        return lambda app: app
    if name == "stack":
        from asgi_resilience.settings import Settings
        from asgi_resilience.stack import wrap

        settings = Settings(
            rewrite_error_responses=False,
            rate_limit="1000000/second",
            stream_timeout=86400.0,
            metric_sink=sink,
        )
        return lambda app: wrap(app, settings)
    module, options = _OPTIONS[name]
    found = getattr(importlib.import_module(f"asgi_resilience.middleware.{module}"), name)
    if name == "MetricsMiddleware":
        options = {"sink": sink}
    return lambda app: found(app, **options)


NAMES = (*_OPTIONS, "stack")
ANSWERS_ERRORS = {"ErrorEnvelopeMiddleware", "stack"}
