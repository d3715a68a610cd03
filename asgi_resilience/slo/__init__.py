"""Error budgets: how much a service may still fail, how fast it spends that, and what follows from it."""

from asgi_resilience.slo.budget import BudgetStatus, ErrorBudget
from asgi_resilience.slo.events import AlertEnded, AlertStarted, BudgetEvent, BudgetReset, PolicyChanged
from asgi_resilience.slo.objective import BURN_WINDOWS, DEFAULT_ALERTS, DEFAULT_SLOS, SLO, BurnAlert, Policy
from asgi_resilience.slo.state_file import StateFile

__all__ = (
    "BURN_WINDOWS",
    "DEFAULT_ALERTS",
    "DEFAULT_SLOS",
    "SLO",
    "AlertEnded",
    "AlertStarted",
    "BudgetEvent",
    "BudgetReset",
    "BudgetStatus",
    "BurnAlert",
    "ErrorBudget",
    "Policy",
    "PolicyChanged",
    "StateFile",
)
