"""Feed error budgets with what the metrics layer has counted, and tell how they are.

Batch ──▶ requests and failures of each objective ──▶ ErrorBudget ──▶ gauges, log lines, listeners
                                                          ▲  │
                              the state file, in a thread └──┘
"""

import os
import time
from collections.abc import Callable, Iterable
from threading import RLock
from typing import Any, Final

from asgi_resilience import metric_names as names
from asgi_resilience.context import report_failure
from asgi_resilience.metric_sink import NULL, MetricSink, Tags
from asgi_resilience.slo.budget import ErrorBudget
from asgi_resilience.slo.events import BudgetEvent, BudgetReset
from asgi_resilience.slo.objective import BURN_WINDOWS, DEFAULT_SLOS, SLO, objectives
from asgi_resilience.telemetry.aggregate import Aggregator
from asgi_resilience.telemetry.batch import Batch
from asgi_resilience.telemetry.budget_counts import Counter, Counts
from asgi_resilience.telemetry.budget_log import log_event, status_fields
from asgi_resilience.telemetry.budget_state import BudgetState, Loaded

__all__ = ("ErrorBudgets", "keep_error_budgets")

_POLICIES: Final = {"normal": 0, "slow_down": 1, "freeze": 2}
_NOTHING: Final = (0.0, 0.0)


class ErrorBudgets:
    """An exporter that keeps the error budgets of a service from the numbers of the metrics layer.

    Each process knows what it has served itself, and while it is down it counts nothing: a probe from outside remains the
    judge of outages, and an SLO on the sums of all processes that of the month.

    Args:
        slos: The objectives. Default: 99.9 % availability, 99.5 % success, p95 below 500 ms.
        sink: Takes the gauges `slo.budget_remaining`, `.burn_rate`, `.policy_state` and `.alert_active`.
        state_file: Keeps the budgets across a restart. None: they begin full.
        listeners: Called on the event loop with each `BudgetEvent`, after it was logged; they must not block.
        clock: Seconds since 1970: tells whether a state is from the future.

    Attributes:
        slos: The objectives.
        state_file: As given.
        budgets: By the names of their objectives.
        listeners: The same; may be changed.

    Raises:
        ValueError: Two objectives have the same name.
    """

    def __init__(
        self,
        slos: Iterable[SLO] = DEFAULT_SLOS,
        *,
        sink: MetricSink = NULL,
        state_file: str | os.PathLike[str] | None = None,
        listeners: Iterable[Callable[[BudgetEvent], object]] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            self.slos = objectives(slos)
        except ValueError as error:
            raise ValueError(f"slos={slos!r}: {error}") from None
        self.state_file = None if state_file is None else os.fspath(state_file)
        self.budgets = {slo.name: ErrorBudget(slo, clock=clock) for slo in self.slos}
        self._gauges = [_Gauges(budget, sink) for budget in self.budgets.values()]
        self.listeners = list(listeners)
        self._count = Counter(self.slos)
        self._state = (
            None if self.state_file is None else BudgetState(self.state_file, self._states, self._catch_up)
        )
        self._waiting: list[tuple[float, dict[str, Counts]]] = []
        self._lock = RLock()  # at the end, `finish` catches up in another thread

    def export(self, batch: Batch, /) -> None:
        """Count a batch."""
        # An interval may begin in one minute and end in the next: most of it lies where its middle does.
        counted = batch.at - batch.seconds / 2, self._count(batch)
        with self._lock:
            self._waiting.append(counted)
            self._catch_up()

    def report(self) -> dict[str, Any]:
        """Every budget as of the last full minute, in plain JSON: for a page of status."""
        return {name: status_fields(budget.slo, budget.status) for name, budget in self.budgets.items()}

    def finish(self) -> None:
        """Write the state file now; the pipeline of the process asks for it when the application has shut down. It blocks."""
        if self._state is not None:
            self._state.finish()

    def close(self) -> None:
        """Write the state file a last time, and let go of it. It blocks; at exit it happens by itself."""
        if self._state is not None:
            self._state.close()

    def _catch_up(self) -> None:
        """Record what waits, unless it has to wait for what stood in the file."""
        with self._lock:
            state = self._state
            if state is not None:
                loaded = state.load()
                if loaded is not None:
                    self._restore(loaded)
                elif state.loading:
                    return
            at = 0.0
            for at, counted in self._waiting:
                for name, budget in self.budgets.items():
                    self._tell(budget.record(*counted.get(name, _NOTHING), at=at))
            self._waiting.clear()
            if state is not None:
                state.save(at)
            for gauges in self._gauges:
                gauges.set()

    def _states(self) -> dict[str, Any]:
        return {name: budget.state() for name, budget in self.budgets.items()}

    def _restore(self, loaded: Loaded) -> None:
        for name, budget in self.budgets.items():
            problem = loaded.problem
            if name in loaded.states:
                try:
                    budget.restore(loaded.states[name])
                except ValueError as error:
                    problem = str(error)
            if problem is not None:
                self._tell([BudgetReset(budget.slo, f"the state file can't be used: {problem}")])

    def _tell(self, events: Iterable[BudgetEvent]) -> None:
        for event in events:
            log_event(event)
            for listener in tuple(self.listeners):
                try:
                    listener(event)
                except Exception as error:  # noqa: BLE001 - the others are to hear of it all the same
                    report_failure(listener, error)


def keep_error_budgets(aggregator: Aggregator, slos: Iterable[SLO], state_file: str | None) -> ErrorBudgets:
    """The budgets that are fed by `aggregator`: those that it has for the same objectives and file, else new ones.

    `wrap` and `stack` ask for those of `pipeline()`, so this is how to get at them, before or after.

    Args:
        aggregator: Feeds them, and takes their gauges.
        slos: As for `ErrorBudgets`, as is the next.
        state_file: See there.
    """
    slos = tuple(slos)
    for exporter in aggregator.exporters:
        if isinstance(exporter, ErrorBudgets) and (exporter.slos, exporter.state_file) == (slos, state_file):
            return exporter
    budgets = ErrorBudgets(slos, sink=aggregator, state_file=state_file)
    aggregator.exporters.append(budgets)
    return budgets


class _Gauges:
    """What one budget tells the sink, with the tags made once."""

    def __init__(self, budget: ErrorBudget, sink: MetricSink) -> None:
        own = f"slo:{budget.slo.name}"
        self._budget = budget
        self._gauge = sink.gauge
        self._own: Tags = (own,)
        self._windows: dict[str, Tags] = {window: (own, f"window:{window}") for window in BURN_WINDOWS}
        self._alerts: dict[str, Tags] = {
            alert.name: (own, f"alert:{alert.name}") for alert in budget.slo.alerts
        }

    def set(self) -> None:
        """Set the gauges."""
        status, gauge = self._budget.status, self._gauge
        gauge(names.SLO_BUDGET_REMAINING.name, status.remaining_share, self._own)
        gauge(names.SLO_POLICY_STATE.name, _POLICIES[status.policy], self._own)
        for window, tags in self._windows.items():
            gauge(names.SLO_BURN_RATE.name, status.burn_rates[window], tags)
        for alert, tags in self._alerts.items():
            gauge(names.SLO_ALERT_ACTIVE.name, int(alert in status.alerts), tags)
