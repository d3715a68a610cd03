"""The test kit: what the tests of this package are written with, and what yours can use."""

from asgi_resilience.testing.virtual_time import VirtualTimeLoop, virtual_time

__all__ = ("VirtualTimeLoop", "virtual_time")
