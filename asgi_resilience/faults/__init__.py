"""Faults that are made on purpose, to see what the rest of the system does: which, how often and for whom."""

from asgi_resilience.faults.effects import (
    Abort,
    Effect,
    ErrorStatus,
    InjectedFault,
    Latency,
    Raise,
    SlowBody,
    Truncate,
)
from asgi_resilience.faults.plan import Fault, FaultPlan

__all__ = (
    "Abort",
    "Effect",
    "ErrorStatus",
    "Fault",
    "FaultPlan",
    "InjectedFault",
    "Latency",
    "Raise",
    "SlowBody",
    "Truncate",
)
