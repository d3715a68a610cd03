"""How much work a service can do at once, found out while it runs: algorithms without I/O, and the gate that obeys them."""

from asgi_resilience.shedding.gradient import GradientLimit
from asgi_resilience.shedding.limit import AIMDLimit, ConcurrencyLimit, FixedLimit

__all__ = ("AIMDLimit", "ConcurrencyLimit", "FixedLimit", "GradientLimit")
