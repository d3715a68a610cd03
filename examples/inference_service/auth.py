"""Who asks: tokens that we have signed ourselves, so that nobody has to be asked about them."""

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Final

import orjson
from starlette.requests import Request

from asgi_resilience import NotAuthenticated, PermissionDenied, current_request
from examples.inference_service.cache import Cache
from examples.inference_service.errors import AuthFailed
from examples.inference_service.limits import Limits
from examples.inference_service.stage import stage
from examples.inference_service.tracing import span
from examples.inference_service.users import ActiveUsers

__all__ = ("Auth", "User", "issue_token")

_BEARER: Final = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a token.

    Attributes:
        user_id: As it stands on every log line of the request.
        scopes: `"read"` and `"predict"`.
    """

    user_id: str
    scopes: tuple[str, ...]


def issue_token(secret: str, user_id: str, scopes: tuple[str, ...], *, seconds: float = 3600.0) -> str:
    """A token for `user_id` that is valid for so long."""
    token_id = hashlib.sha256(f"{user_id}{time.time_ns()}".encode()).hexdigest()[:16]
    claims = {"id": token_id, "sub": user_id, "scopes": scopes, "exp": time.time() + seconds}
    payload = base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b"=")
    return f"{payload.decode()}.{_signature(secret, payload)}"


class Auth:
    """Tells who asks, within the time that is there for it."""

    def __init__(self, secret: str, cache: Cache, limits: Limits) -> None:
        self._secret = secret
        self._revoked = cache.revoked
        self._users = ActiveUsers(cache)
        self._stage = stage("token-check", seconds=limits.token_check)

    async def user(self, request: Request, scope: str) -> User:
        """The user, who may do what `scope` says.

        Raises:
            AppError: AUTH_CREDENTIALS_MISSING, AUTH_TOKEN_INVALID, AUTH_TOKEN_EXPIRED or AUTH_PERMISSION_DENIED.
        """
        with span("auth.verify", "Auth Verification"):
            user = await self._stage.call(self._verify, request.headers.get("authorization", ""))
        if record := current_request():
            record.user_id = user.user_id
        await self._users.note(user.user_id)
        if scope not in user.scopes:
            raise PermissionDenied(details=f"The token has no scope {scope!r}")
        return user

    async def _verify(self, header: str) -> User:
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer" or not token:
            raise NotAuthenticated(headers=_BEARER)
        payload, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), _signature(self._secret, payload.encode()).encode()):
            raise AuthFailed(headers=_BEARER)
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if claims["exp"] < time.time():
            raise AuthFailed(code="AUTH_TOKEN_EXPIRED", headers=_BEARER)
        if await self._revoked(claims["id"]):
            raise AuthFailed(headers=_BEARER)
        return User(claims["sub"], tuple(claims["scopes"]))


def _signature(secret: str, payload: bytes) -> str:
    return hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
