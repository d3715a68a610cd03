"""A span of ddtrace around everything; the only file here that imports it. Nothing is sent: the span stays open."""

import logging
import os

__all__ = ("open_one",)


def open_one() -> None:
    """Open a span that every later task inherits."""
    for name in ("INSTRUMENTATION_TELEMETRY_ENABLED", "REMOTE_CONFIGURATION_ENABLED"):
        os.environ[f"DD_{name}"] = "false"
    from ddtrace.trace import tracer

    logging.getLogger("ddtrace").setLevel(logging.CRITICAL)  # it would tell of the open span at exit
    tracer.trace("benchmark")
