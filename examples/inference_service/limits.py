"""How long everything may take, in seconds. One table, and a shorter one for rehearsals."""

import os
from dataclasses import dataclass, replace
from typing import Final

__all__ = ("Limits",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The specification's timeouts.

    Attributes:
        request: The whole request; the only one that a client sees.
        token_check: Authentication.
        prediction: Features and inference together, retries included.
        features: Gathering what the model wants to know.
        model: One attempt at an inference.
        provider: One fetch from the sports data provider by ourselves.
        provider_in_request: The same while a user waits: shorter, so that there is time left for the fallback.
        s3: One object.
        redis: One command.
        db_connect: A new connection.
        db_acquire: A free connection of the pool.
        db_query: One statement.
        db_query_in_features: The same within `features`: it must be the query that is cut, for the breaker to hear of it.
        db_transaction: A transaction as a whole.
        breaker_open: An open circuit, until its first probe.
        fresh: A stored prediction is served again.
        odds_fresh: Odds are served without asking for new ones.
    """

    request: float = 30.0
    token_check: float = 1.0
    prediction: float = 10.0
    features: float = 3.0
    model: float = 5.0
    provider: float = 15.0
    provider_in_request: float = 2.0
    s3: float = 10.0
    redis: float = 0.5
    db_connect: float = 5.0
    db_acquire: float = 2.0
    db_query: float = 10.0
    db_query_in_features: float = 2.0
    db_transaction: float = 30.0
    breaker_open: float = 30.0
    fresh: float = 20.0
    odds_fresh: float = 10.0

    @classmethod
    def from_env(cls) -> "Limits":
        """The specification's, or with `REHEARSAL=1` the ones of a game day that has to end within half a minute."""
        return REHEARSAL if os.environ.get("REHEARSAL") == "1" else cls()


REHEARSAL: Final = replace(
    Limits(),
    request=8.0,
    prediction=2.0,
    model=1.0,
    provider=3.0,
    provider_in_request=1.0,
    breaker_open=1.5,
    fresh=1.0,
    odds_fresh=1.0,
)
