"""Time limits of a call: the timeout of each attempt, and the deadline of the request that it is made for.

The two ends of a wait mean different things. An attempt that runs into its own timeout says that the dependency is slow.
One that is cut short because the request has no time left says nothing about the dependency at all.
"""

from asgi_resilience.context import current_request

__all__ = ("AttemptTimedOut", "DeadlineExceeded", "current_deadline")


class AttemptTimedOut(TimeoutError):
    """An attempt took longer than the dependency's timeout. The dependency may have done the work nevertheless.

    Attributes:
        dependency: The name.
        seconds: The timeout.
    """

    def __init__(self, dependency: str, seconds: float) -> None:
        self.args = (dependency, seconds)
        self.dependency = dependency
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.dependency}: no answer within {self.seconds:g} s"


class DeadlineExceeded(TimeoutError):
    """The request that the call was made for has no time left. It says nothing about the dependency.

    Attributes:
        dependency: The name.
    """

    def __init__(self, dependency: str) -> None:
        self.args = (dependency,)
        self.dependency = dependency

    def __str__(self) -> str:
        return f"{self.dependency}: the request's deadline has passed"


def current_deadline() -> float | None:
    """When the current request must be answered, on the event loop's clock; None: never, or there is no request."""
    record = current_request()
    return None if record is None else record.deadline
