"""Make a Datadog account what the code says; a second time, nothing changes."""

from collections.abc import Callable, Sequence

from asgi_resilience.monitoring.account import Account
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.listing import listing
from asgi_resilience.monitoring.log_indexes import log_indexes
from asgi_resilience.monitoring.objects import Kind, objects
from asgi_resilience.monitoring.plan import Change, plan, with_ids
from asgi_resilience.monitoring.rule import Rule

__all__ = ("apply", "diff")


def diff(
    account: Account, config: MonitoringConfig, *, table: Sequence[Rule] | None = None
) -> tuple[Change, ...]:
    """What `apply` would do, without doing it."""
    return plan(objects(config, table), listing(account, config))


def apply(
    account: Account,
    config: MonitoringConfig,
    *,
    table: Sequence[Rule] | None = None,
    prune: bool = False,
    tell: Callable[[Change], None] = lambda _: None,
) -> tuple[Change, ...]:
    """Make what is missing, change what differs, and leave alone what is as it shall be.

    Log indexes come first among all of the account, as a line goes into the first that it matches.

    Args:
        account: Where.
        config: For what.
        table: Of the monitors, in the place of `rules(config)`.
        prune: Delete objects of ours that the code does not know any more.
        tell: Called with each change when it is done.

    Returns:
        What was done.

    Raises:
        DatadogError: Something was refused. What was done before stays; the next time goes on from there.
    """
    done: list[Change] = []
    ids: dict[tuple[Kind, str], str | int] = {}
    for change in diff(account, config, table=table):
        if change.id is not None:
            ids[change.kind, change.key] = change.id
        if change.action == "keep" or (change.action == "delete" and not prune):
            continue
        if change.id is None:
            ids[change.kind, change.key] = account.create(change.kind, with_ids(change.body or {}, ids))
        elif change.body is None:
            account.delete(change.kind, change.id)
        else:
            account.update(change.kind, change.id, with_ids(change.body, ids))
        done.append(change)
        tell(change)
    _order_log_indexes(account, list(log_indexes(config)))
    return tuple(done)


def _order_log_indexes(account: Account, ours: Sequence[str]) -> None:
    order = account.log_index_order()
    wanted = [*ours, *(name for name in order if name not in ours)]
    if order != wanted:
        account.set_log_index_order(wanted)
