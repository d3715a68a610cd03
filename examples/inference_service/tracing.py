"""Spans of our own, where the service runs under `ddtrace-run`; nothing elsewhere."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ("span",)


@contextmanager
def span(operation: str, resource: str, **tags: object) -> Generator[None]:
    """A span around the block."""
    if "ddtrace.trace" not in sys.modules:
        yield
        return
    from ddtrace.trace import tracer  # noqa: PLC0415 - heavy, and here only when it is loaded already

    with tracer.trace(operation, resource=resource) as opened:
        for name, value in tags.items():
            opened.set_tag(name, str(value))
        yield
