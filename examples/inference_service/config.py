"""Where everything is: environment variables, as a deployment sets them."""

import os
from dataclasses import dataclass, field

from examples.inference_service.limits import Limits

__all__ = ("Config",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What differs from one deployment to the next.

    Attributes:
        database_url: PostgreSQL.
        redis_url: Redis.
        s3_url: The endpoint of S3, or of what speaks like it; empty: Amazon's.
        provider_url: The sports data provider.
        model_url: The model service.
        token_secret: Signs the users' tokens.
        model_versions: Of the model `match-outcome`: the live one, then those to go back to.
        limits: How long everything may take.
    """

    database_url: str
    redis_url: str
    s3_url: str
    provider_url: str
    model_url: str
    token_secret: str
    model_versions: tuple[str, ...] = ("v2.3", "v2.2")
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_env(cls) -> "Config":
        """The configuration of this process.

        Raises:
            KeyError: A variable is missing.
        """
        env = os.environ
        return cls(
            database_url=env["DATABASE_URL"],
            redis_url=env["REDIS_URL"],
            s3_url=env.get("S3_ENDPOINT_URL", ""),
            provider_url=env["PROVIDER_URL"],
            model_url=env["MODEL_URL"],
            token_secret=env["TOKEN_SECRET"],
            model_versions=tuple(env.get("MODEL_VERSIONS", "v2.3,v2.2").split(",")),
            limits=Limits.from_env(),
        )
