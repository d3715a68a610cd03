"""The test kit: what the tests of this package are written with, and what yours can use."""

from asgi_resilience.testing.dependency import FailingDependency, Slow
from asgi_resilience.testing.http import RecordedResponse, asgi_request
from asgi_resilience.testing.lint import ASGILint, ASGIViolation
from asgi_resilience.testing.logs import CapturedLogs, captured_logs
from asgi_resilience.testing.metrics import captured_metrics
from asgi_resilience.testing.virtual_time import VirtualTimeLoop, virtual_time
from asgi_resilience.testing.websocket import RecordedWebSocket, asgi_websocket

__all__ = (
    "ASGILint",
    "ASGIViolation",
    "CapturedLogs",
    "FailingDependency",
    "RecordedResponse",
    "RecordedWebSocket",
    "Slow",
    "VirtualTimeLoop",
    "asgi_request",
    "asgi_websocket",
    "captured_logs",
    "captured_metrics",
    "virtual_time",
)
