"""Monitors of how fast error budgets are spent, over a long and a short window at once."""

from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.reference import reference
from asgi_resilience.monitoring.rule import Rule
from asgi_resilience.monitoring.severity import Severity
from asgi_resilience.monitoring.slos import days, slo_key, slo_name
from asgi_resilience.slo import SLO, BurnAlert

__all__ = ("burn_rates",)

_HOUR = 3600
_LONGEST = 48  # hours, of Datadog's long window


def burn_rates(config: MonitoringConfig) -> tuple[Rule, ...]:
    """The rows of the table.

    Downtime has none: the monitor that measures it alerts itself, and a second one would tell the same.

    Raises:
        ValueError: Datadog has no such windows, or the rate is one that can't be reached.
    """
    return tuple(
        Rule(
            key=f"{slo_name(slo)}-burn-{alert.name}",
            title=f"Error budget of {slo.name.replace('_', ' ')} burns {alert.factor:g} times too fast",
            impact=f"At this rate the budget is spent in {slo.window_minutes / 60 / alert.factor:.0f} hours.",
            severity=Severity.CRITICAL if alert.urgent else Severity.HIGH,
            type="slo alert",
            query=_burn_rate(slo, alert, config),
            critical=alert.factor,
            unit=" times",
            runbook="error-budget-burn",
        )
        for slo in config.slos
        if slo.measure != "downtime"
        for alert in slo.alerts
    )


def _burn_rate(slo: SLO, alert: BurnAlert, config: MonitoringConfig) -> str:
    hours = alert.long / _HOUR
    if hours not in range(1, _LONGEST + 1):
        raise ValueError(f"alert {alert.name} of {slo.name}: Datadog has long windows of 1 to 48 whole hours")
    if alert.factor > 1 / slo.allowed:
        raise ValueError(
            f"alert {alert.name} of {slo.name}: no more than {1 / slo.allowed:g} times too fast is possible"
        )
    slo_id = reference("slo", slo_key(slo, config))
    windows = f'.long_window("{hours:g}h").short_window("{alert.short / 60:g}m")'
    return f'burn_rate("{slo_id}").over("{days(slo)}"){windows}'
