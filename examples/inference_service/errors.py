"""The service's own error codes, and the fallback that ends a chain of fallbacks with one of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asgi_resilience import AppError, register_error
from asgi_resilience.client import Dependency, Fallback
from asgi_resilience.client.fallback import Proceed, unavailable

if TYPE_CHECKING:
    from asgi_resilience.client.call import Call

__all__ = ("AuthFailed", "MatchNotFound", "Refuse")

register_error("MATCH_NOT_FOUND", status=404, message="Match not found")
register_error("AUTH_TOKEN_EXPIRED", status=401, message="Your session has expired")
register_error("AUTH_TOKEN_INVALID", status=401, message="Authentication required")
register_error(
    "DATABASE_CONNECTION_FAILED", status=503, message="Service temporarily unavailable", retry=True
)
register_error("ODDS_DATA_UNAVAILABLE", status=503, message="Odds are temporarily unavailable", retry=True)
register_error("MODEL_LOADING_FAILED", status=503, message="No model is available at the moment", retry=True)
register_error(
    "FEATURE_COMPUTATION_TIMEOUT",
    status=504,
    message="Gathering data for this match took too long",
    retry=True,
)
register_error(
    "PREDICTION_GENERATION_FAILED",
    status=503,
    message="Unable to generate prediction for this match",
    docs_path="prediction-failed",
    retry=True,
)


class MatchNotFound(AppError):
    """404: there is no such match."""

    code = "MATCH_NOT_FOUND"


class AuthFailed(AppError):
    """401: the token says nothing that we believe."""

    code = "AUTH_TOKEN_INVALID"


class Refuse(Fallback):
    """Has no answer, but the right word for that: an error code, and `Retry-After` where somebody knows when.

    Stands last in a chain of fallbacks.

    Args:
        code: Of the error, as registered.
        details: For the client; may name the `{seconds}` of a timeout.
        when: For which errors; default: the dependency could not do its work.
    """

    def __init__(
        self,
        code: str,
        details: str | None = None,
        *,
        when: Callable[[Dependency, Exception], bool] = unavailable,
    ) -> None:
        self._code = code
        self._details = details
        self._when = when

    async def run(self, call: "Call[Any]", proceed: Proceed) -> Any:
        """Make the call, and name its failure."""
        try:
            return await proceed()
        except AppError:  # further in, somebody knew better
            raise
        except Exception as error:
            if not self._when(call.dependency, error):
                raise
            raise AppError(
                code=self._code,
                details=self._details,
                retry_after=getattr(error, "retry_after", None),
                context={"dependency": call.dependency.name, "exception": type(error).__qualname__},
            ) from error
