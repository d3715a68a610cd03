"""What can be made to go wrong, and how badly: one frozen value per effect."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final, TypeAlias

__all__ = (
    "BODY_EFFECTS",
    "Abort",
    "Effect",
    "ErrorStatus",
    "InjectedFault",
    "Latency",
    "Raise",
    "SlowBody",
    "Truncate",
)

_ERRORS: Final = range(400, 600)


class InjectedFault(Exception):
    """Raised in the place of a call or a response that was made to fail.

    Attributes:
        fault: Name of the effect.
        status: The HTTP status that it stands for; None: none. The decision matrix of a retry reads it.
        retry_after: Seconds that it asks to be left alone; None: it doesn't say.
    """

    def __init__(self, fault: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(f"injected fault: {fault}")
        self.fault = fault
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Latency:
    """Wait before anything else happens.

    Attributes:
        seconds: At least this long.
        jitter: Up to this many seconds more, evenly spread.

    Raises:
        ValueError: One of them is negative or not finite.
    """

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for option in ("seconds", "jitter"):
            value = getattr(self, option)
            if not 0 <= value < inf:
                raise ValueError(f"{option}={value!r}: expected seconds, 0 or more")

    @property
    def name(self) -> str:
        """As it is marked."""
        return "latency"

    def drawn(self, rnd: Callable[[], float]) -> float:
        """Seconds for one time; `rnd` is uniform between 0.0 and 1.0."""
        return self.seconds + self.jitter * rnd() if self.jitter else self.seconds


@dataclass(frozen=True, slots=True)
class ErrorStatus:
    """Answer with an error, without asking the application or the dependency.

    Attributes:
        status: 400 to 599.
        retry_after: Seconds for `Retry-After`; None: none.

    Raises:
        ValueError: The status is no error, or the seconds are negative or not finite.
    """

    status: int = 503
    retry_after: float | None = None

    def __post_init__(self) -> None:
        if self.status not in _ERRORS:
            raise ValueError(f"status={self.status!r}: expected 400 to 599")
        if self.retry_after is not None and not 0 <= self.retry_after < inf:
            raise ValueError(f"retry_after={self.retry_after!r}: expected seconds, 0 or more, or None")

    @property
    def name(self) -> str:
        """As it is marked."""
        return f"status_{self.status}"


@dataclass(frozen=True, slots=True)
class Abort:
    """Cut the connection without an answer.

    ASGI lets nobody cut a connection before the response has started: a client sees headers that announce a body, and the end.
    """

    @property
    def name(self) -> str:
        """As it is marked."""
        return "abort"


@dataclass(frozen=True, slots=True)
class Raise:
    """Raise an exception, as a bug would.

    Attributes:
        error: Makes it: an exception class, or a function without arguments. Default: `InjectedFault`.

    Raises:
        ValueError: `error` can't be called; an instance would collect the tracebacks of all who raise it.
    """

    error: Callable[[], Exception] | None = None

    def __post_init__(self) -> None:
        if self.error is not None and not callable(self.error):
            raise ValueError(
                f"error={self.error!r}: expected an exception class, or a function that makes one"
            )

    @property
    def name(self) -> str:
        """As it is marked."""
        return "exception"

    def made(self) -> Exception:
        """An exception of its own for one time."""
        return InjectedFault(self.name) if self.error is None else self.error()


@dataclass(frozen=True, slots=True)
class Truncate:
    """Cut the connection in the middle of the body.

    Attributes:
        after: Bytes of the body that arrive; of a shorter body, all but the end.

    Raises:
        ValueError: The number is negative.
    """

    after: int = 0

    def __post_init__(self) -> None:
        if self.after < 0:
            raise ValueError(f"after={self.after!r}: expected a number of bytes, 0 or more")

    @property
    def name(self) -> str:
        """As it is marked."""
        return "truncated_body"


@dataclass(frozen=True, slots=True)
class SlowBody:
    """Let the body trickle.

    Attributes:
        bytes_per_second: The most that arrive; in about ten pieces a second.

    Raises:
        ValueError: It is not above 0, or not finite.
    """

    bytes_per_second: float = 1000.0

    def __post_init__(self) -> None:
        if not 0 < self.bytes_per_second < inf:
            raise ValueError(f"bytes_per_second={self.bytes_per_second!r}: expected a number above 0")

    @property
    def name(self) -> str:
        """As it is marked."""
        return "slow_body"

    @property
    def piece(self) -> int:
        """Bytes that arrive at once."""
        return max(1, int(self.bytes_per_second / 10))


Effect: TypeAlias = Latency | ErrorStatus | Abort | Raise | Truncate | SlowBody
BODY_EFFECTS: Final = (Truncate, SlowBody)
"""What needs a body that is sent in pieces."""
