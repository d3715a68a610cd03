"""The error budgets, as a month of such answers would use them up."""

from asgi_resilience.slo import DEFAULT_SLOS, BudgetStatus, ErrorBudget
from examples.inference_service.gameday.ledger import Answer

__all__ = ("Budgets",)

_MINUTE = 60.0


class Budgets:
    """Counts answers for each objective of the library: availability, success, latency."""

    def __init__(self) -> None:
        self._budgets = [ErrorBudget(slo) for slo in DEFAULT_SLOS]
        self._counted = 0
        self._at = 1.8e9  # any minute that is a whole one: the game day begins with it

    def count(self, answers: list[Answer]) -> None:
        """Count the answers that are new."""
        for each in answers[self._counted :]:
            at = self._at + each.began + each.seconds
            for budget in self._budgets:
                bad = each.failed
                if budget.slo.threshold_ms is not None:
                    bad = each.seconds * 1000 > budget.slo.threshold_ms
                    if each.failed and not bad:
                        continue  # an error that comes fast is no fast answer
                budget.record(1, bad, at)
        self._counted = len(answers)

    def close(self, now: float) -> None:
        """Let the minute that is open be over."""
        for budget in self._budgets:
            budget.record(at=self._at + now + _MINUTE)

    def statuses(self) -> dict[str, BudgetStatus]:
        """What is left of each."""
        return {budget.slo.name: budget.status for budget in self._budgets}
