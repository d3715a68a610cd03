"""Which faults are made, how often and for whom; and never in production by mistake.

A plan is shared by whoever makes faults: the middleware, dependencies, a transport. It can be changed while they run.
"""

import os
import random
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from asgi_resilience.context import Message, RequestContext, report_failure
from asgi_resilience.faults.effects import Effect
from asgi_resilience.metric_names import FAULTS_INJECTED
from asgi_resilience.metric_sink import NULL, MetricSink

__all__ = ("IN_PRODUCTION", "Fault", "FaultPlan")

IN_PRODUCTION: Final = "ASGI_RESILIENCE_FAULTS_IN_PRODUCTION"
"""The environment variable that must say `yes`, besides the option, before faults are made in production."""
_ENVIRONMENTS: Final = ("DD_ENV", "ASGI_RESILIENCE_ENVIRONMENT")
_WORDS: Final = re.compile(r"[a-z]+")
_PRODUCTION: Final = frozenset(("prod", "prd", "production", "live"))
_NOT_YET: Final = frozenset(("pre", "non", "not"))  # as in `pre-prod`
_FIELD: Final = "injected_faults"
_HEADER: Final = b"x-injected-fault"

Header = Callable[[bytes], bytes | None]
"""Finds a request header by its lower-case name."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One effect, how often, and for which requests; all conditions that are given must hold.

    Attributes:
        effect: What goes wrong.
        rate: Share of the requests that it meets, 0 to 1.
        path: Only this path and what is below it.
        header: Only requests with this header: `"X-Chaos"`, or with this value: `"X-Chaos: stall"`.
        request_id: Only the request with this id.

    Raises:
        ValueError: A value is out of its range; it names the option, the value and the range.
    """

    effect: Effect
    rate: float = 1.0
    path: str | None = None
    header: str | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.effect, Effect):  # pyright: ignore[reportUnnecessaryIsInstance] - callers err
            raise ValueError(f"effect={self.effect!r}: expected one of {Effect}")  # noqa: TRY004 - as all options
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate={self.rate!r}: expected 0 to 1")
        if self.path is not None and not self.path.startswith("/"):
            raise ValueError(f"path={self.path!r}: expected a path that starts with '/'")
        if self.header is not None and not self.header.partition(":")[0].strip():
            raise ValueError(f"header={self.header!r}: expected 'Name' or 'Name: value'")

    def meets(self, path: str, request_id: str | None, header: Header) -> bool:
        """Whether the conditions hold; the dice are not thrown here."""
        if self.path is not None:
            base = self.path.rstrip("/")
            if path != base and not path.startswith(f"{base}/"):
                return False
        if self.request_id is not None and request_id != self.request_id:
            return False
        if self.header is None:
            return True
        name, _, value = self.header.partition(":")
        found = header(name.strip().lower().encode("latin-1"))
        return found is not None and (not value.strip() or found == value.strip().encode("latin-1"))


class FaultPlan:
    """The faults that are made now.

    Args:
        faults: To begin with.
        seed: For the same faults in the same order again; None: different ones each time.
        environment: Where this runs; `DD_ENV` and `ASGI_RESILIENCE_ENVIRONMENT` are read, too.
        allow_in_production: The first of two permissions; the other is `ASGI_RESILIENCE_FAULTS_IN_PRODUCTION=yes`.
        metrics: Gets `faults.injected`, with the tags `fault` and `target`.
        environ: Read in place of `os.environ`.

    Attributes:
        injected: How often each effect was made, by its name.

    Raises:
        ValueError: One of the environments is called production (`prod`, `prd`, `live`), and not both permissions are given.
    """

    def __init__(
        self,
        *faults: Fault,
        seed: int | None = None,
        environment: str = "",
        allow_in_production: bool = False,
        metrics: MetricSink = NULL,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._allowed = allow_in_production
        self.check(environment)
        self.injected: Counter[str] = Counter()
        self._faults = faults
        # Without a seed not even forked processes share their dice: the system's have no state that a fork could copy.
        self._random = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311 - dice
        self._metrics = metrics

    @classmethod
    def of(
        cls, faults: "FaultPlan | Iterable[Fault]", environment: str = "", metrics: MetricSink = NULL
    ) -> "FaultPlan":
        """The plan itself, or a new one of these faults.

        Raises:
            ValueError: As for the class; `environment` is checked for a plan that exists, too.
        """
        if isinstance(faults, FaultPlan):
            faults.check(environment)
            return faults
        return cls(*faults, environment=environment, metrics=metrics)

    def __bool__(self) -> bool:
        return bool(self._faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is made now."""
        return self._faults

    def replace(self, *faults: Fault) -> None:
        """Make these from now on, and no others; none: everything works again."""
        self._faults = faults

    @contextmanager
    def active(self, *faults: Fault) -> Generator[None]:
        """Make these as well inside the block."""
        before = self._faults
        self._faults = (*before, *faults)
        try:
            yield
        finally:
            self._faults = before

    def random(self) -> float:
        """The next number of the plan's own dice, 0.0 to 1.0."""
        return self._random.random()

    def draw(self, path: str, request_id: str | None, header: Header) -> list[Effect]:
        """What happens to one request or call, in the order in which the faults are listed."""
        return [
            fault.effect
            for fault in self._faults
            if fault.meets(path, request_id, header) and self._random.random() < fault.rate
        ]

    def mark(self, effect: Effect, record: RequestContext | None, target: str) -> None:
        """Count an effect that is about to be made, and note it for the log line and the response's headers.

        Args:
            effect: The effect.
            record: Of the request that it happens to; None: outside of one.
            target: `"inbound"`, or the name of the dependency.
        """
        self.injected[effect.name] += 1
        try:
            self._metrics.increment(FAULTS_INJECTED.name, 1, (f"fault:{effect.name}", f"target:{target}"))
        except Exception as error:  # noqa: BLE001 - telemetry may never change a response
            report_failure(self._metrics.increment, error)
        if record is not None:
            noted = (record.fields or {}).get(_FIELD, ())
            if not noted:
                record.on_start.append(_tell)
            record.bind(**{_FIELD: (*noted, f"{target}:{effect.name}")})

    def check(self, environment: str) -> None:
        """Refuse production, as the class does; for a plan that is about to be used in `environment`.

        Raises:
            ValueError: It is production, and not both permissions are given.
        """
        named = (environment, *(self._environ.get(name, "") for name in _ENVIRONMENTS))
        found = next(filter(_is_production, named), None)
        if found is None or (self._allowed and self._environ.get(IN_PRODUCTION, "").strip().lower() == "yes"):
            return
        raise ValueError(
            f"environment={found!r}: no faults in production, unless allow_in_production=True and"
            f" {IN_PRODUCTION}=yes both say so"
        )


def _tell(record: RequestContext, message: Message) -> None:
    noted: tuple[str, ...] = (record.fields or {}).get(_FIELD, ())
    message["headers"].append((_HEADER, ", ".join(noted).encode("latin-1", "replace")))


def _is_production(environment: str) -> bool:
    words = set(_WORDS.findall(environment.lower()))
    return bool(words & _PRODUCTION) and not words & _NOT_YET
