"""Faults in the place of outbound calls: what the policies of a dependency are worth shows when it fails on command.

They are made below retry, breaker and timeout, so that each attempt meets them as it would meet real ones. Faults of a
response's body need a body: see `client/http/faults.py`.
"""

import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from asgi_resilience.context import RequestContext, current_request, header
from asgi_resilience.faults import ErrorStatus, Fault, FaultPlan, InjectedFault, Latency, Raise
from asgi_resilience.faults.effects import BODY_EFFECTS

if TYPE_CHECKING:
    from asgi_resilience.client.dependency import Dependency

__all__ = ("faulty", "inject_faults", "injected")

R = TypeVar("R")

_logger: Final = logging.getLogger("asgi_resilience.faults")
injected: Final[dict[str, FaultPlan]] = {}
"""The plans that are in force, by the name of the dependency; all variants of a dependency have its name."""


@contextmanager
def inject_faults(
    dependency: "Dependency | str", faults: FaultPlan | Iterable[Fault]
) -> Generator[FaultPlan]:
    """Make faults in the place of a dependency's calls inside the block, in every task of the process.

        with inject_faults(postgres, [Fault(Latency(2.0), rate=0.1), Fault(Abort(), rate=0.01)]):
            ...

    An error status is an `InjectedFault` with this `status`, an abort a `ConnectionResetError`. The conditions of a fault
    are about the request that the call is made for; outside of a request only a fault without conditions is made. Every
    one is logged, counted in `faults.injected`, and marked on the response of that request.

    Args:
        dependency: It, or its name.
        faults: A plan, which may be changed meanwhile; or faults, for a plan of their own.

    Returns:
        The plan.

    Raises:
        ValueError: This is production, see `FaultPlan`; a fault is about bodies; or the dependency has a plan already.
    """
    name = dependency if isinstance(dependency, str) else dependency.name
    plan = FaultPlan.of(faults)
    for fault in plan.faults:
        if isinstance(fault.effect, BODY_EFFECTS):
            raise ValueError(  # noqa: TRY004 - a wrong option
                f"faults={fault.effect!r} of {name}: a call has no body; give an HTTP client the transport FaultyTransport"
            )
    if name in injected:
        raise ValueError(f"dependency={name!r}: has a plan already; change that one")
    injected[name] = plan
    try:
        yield plan
    finally:
        del injected[name]


async def faulty(
    plan: FaultPlan,
    name: str,
    func: Callable[..., Awaitable[R]],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> R:
    """Call `func`, unless the plan has something else for this attempt.

    Raises:
        Exception: What `func` raised, or what was injected.
    """
    record = current_request()
    path, request_id = ("", None) if record is None else (record.path, record.request_id)
    for effect in plan.draw(path, request_id, _header_of(record)):
        if isinstance(effect, BODY_EFFECTS):
            continue
        plan.mark(effect, record, name)
        _logger.info("%s: injected %s", name, effect.name)
        if isinstance(effect, Latency):
            await anyio.sleep(effect.drawn(plan.random))
        elif isinstance(effect, ErrorStatus):
            raise InjectedFault(effect.name, effect.status, effect.retry_after)
        elif isinstance(effect, Raise):
            raise effect.made()
        else:
            raise ConnectionResetError(f"injected fault: {effect.name}")
    return await func(*args, **kwargs)


def _header_of(record: RequestContext | None) -> Callable[[bytes], bytes | None]:
    scope = None if record is None else record.scope
    return lambda name: None if scope is None else header(scope, name)
