"""What an error budget tells those who listen."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from asgi_resilience.slo.objective import SLO, BurnAlert, Policy

if TYPE_CHECKING:
    from asgi_resilience.slo.budget import BudgetStatus

__all__ = ("AlertEnded", "AlertStarted", "BudgetEvent", "BudgetReset", "PolicyChanged")


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """The budget has crossed 50 % or 100 %, in either direction.

    Attributes:
        slo: The objective.
        before: The policy until now.
        after: The policy from now on.
        status: The budget now.
    """

    slo: SLO
    before: Policy
    after: Policy
    status: "BudgetStatus"


@dataclass(frozen=True, slots=True)
class AlertStarted:
    """The budget burns too fast.

    Attributes:
        slo: The objective.
        alert: Which of its alerts.
        status: The budget now.
    """

    slo: SLO
    alert: BurnAlert
    status: "BudgetStatus"


@dataclass(frozen=True, slots=True)
class AlertEnded:
    """The budget burns too fast no more; attributes as `AlertStarted`."""

    slo: SLO
    alert: BurnAlert
    status: "BudgetStatus"


@dataclass(frozen=True, slots=True)
class BudgetReset:
    """What was known is gone, and the budget is full again.

    Attributes:
        slo: The objective.
        reason: Why, in a few words.
    """

    slo: SLO
    reason: str


BudgetEvent: TypeAlias = PolicyChanged | AlertStarted | AlertEnded | BudgetReset
