"""Make any ASGI app hard to knock over and easy to see into: `app = wrap(app)`."""

from asgi_resilience.context import RequestContext, current_request
from asgi_resilience.error_catalogue import ErrorCatalogue, map_exception, register_error
from asgi_resilience.errors import (
    AppError,
    BadGateway,
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    RateLimitExceeded,
    RequestTimedOut,
    ServiceUnavailable,
    ValuesInvalid,
)
from asgi_resilience.health_check import HealthCheck
from asgi_resilience.logs.setup import configure_logging
from asgi_resilience.metric_sink import MetricSink
from asgi_resilience.middleware.access_log import AccessLogMiddleware
from asgi_resilience.middleware.error_envelope import ErrorEnvelopeMiddleware
from asgi_resilience.middleware.fault_injection import FaultInjectionMiddleware
from asgi_resilience.middleware.health import HealthMiddleware, drain
from asgi_resilience.middleware.load_shed import LoadShedMiddleware
from asgi_resilience.middleware.metrics import MetricsMiddleware
from asgi_resilience.middleware.rate_limit import RateLimitMiddleware
from asgi_resilience.middleware.request_id import RequestIDMiddleware
from asgi_resilience.middleware.timeout import TimeoutMiddleware
from asgi_resilience.middleware.trace_context import TraceContextMiddleware
from asgi_resilience.quota.gcra import RateLimit
from asgi_resilience.settings import Settings
from asgi_resilience.stack import stack, wrap
from asgi_resilience.timeouts import Timeouts

__all__ = (
    "AccessLogMiddleware",
    "AppError",
    "BadGateway",
    "Conflict",
    "ErrorCatalogue",
    "ErrorEnvelopeMiddleware",
    "FaultInjectionMiddleware",
    "HealthCheck",
    "HealthMiddleware",
    "InvalidRequest",
    "LoadShedMiddleware",
    "MetricSink",
    "MetricsMiddleware",
    "NotAuthenticated",
    "NotFound",
    "PermissionDenied",
    "RateLimit",
    "RateLimitExceeded",
    "RateLimitMiddleware",
    "RequestContext",
    "RequestIDMiddleware",
    "RequestTimedOut",
    "ServiceUnavailable",
    "Settings",
    "TimeoutMiddleware",
    "Timeouts",
    "TraceContextMiddleware",
    "ValuesInvalid",
    "configure_logging",
    "current_request",
    "drain",
    "map_exception",
    "register_error",
    "stack",
    "wrap",
)
