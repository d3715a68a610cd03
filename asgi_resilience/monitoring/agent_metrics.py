"""The metrics of Datadog's Agent that monitors and dashboards ask for, besides those that the library emits itself."""

from typing import Final

from asgi_resilience.metric_names import Metric

__all__ = ("DISK_READ_TIME", "DISK_WRITE_TIME", "HTTP_CAN_CONNECT")

HTTP_CAN_CONNECT: Final = Metric(
    "network.http.can_connect",
    "gauge",
    "",
    ("instance", "url"),
    "1 where the Agent's http_check got an answer of `/health/live`, else 0.",
)
DISK_READ_TIME: Final = Metric(
    "system.io.r_await", "gauge", "millisecond", ("device",), "Of a read, with the time in the queue."
)
DISK_WRITE_TIME: Final = Metric(
    "system.io.w_await", "gauge", "millisecond", ("device",), "Of a write, with the time in the queue."
)
