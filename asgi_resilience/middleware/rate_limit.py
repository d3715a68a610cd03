"""Too many requests: each client has a quota, and who has used it up gets a 429 that says when to come back.

The decision falls before anything is awaited and before the body is asked for, so a refused request costs next to
nothing. What the client is told stands in `asgi_resilience/quota/fields.py`; on redirects the fields are left out, since
a client might wait before it follows.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from inspect import iscoroutinefunction
from secrets import token_bytes
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from asgi_resilience.context import (
    KEY,
    ASGIApp,
    Message,
    Receive,
    RequestContext,
    Scope,
    Send,
    header,
    report_failure,
)
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.errors import PermissionDenied, RateLimitExceeded
from asgi_resilience.paths import PathTable
from asgi_resilience.peers import TrustedProxies, network_key
from asgi_resilience.quota.fields import QuotaPolicy
from asgi_resilience.quota.gcra import AsyncQuotaStore, Decision, QuotaStore, RateLimit, Rules, decide
from asgi_resilience.quota.memory import MemoryQuota
from asgi_resilience.recorder import observe

__all__ = ("Limit", "RateLimitMiddleware", "UnknownClient")

Limit: TypeAlias = str | RateLimit | Sequence[str | RateLimit]
UnknownClient: TypeAlias = Literal["allow", "shared", "refuse"]
Identify: TypeAlias = Callable[[Scope], str | None]

_logger = logging.getLogger("asgi_resilience.rate_limit")
_REDIRECTS: Final = range(300, 400)
_SECRET_SIZES: Final = range(16, 65)
_EVERYBODY: Final = ""
"""The key of all clients without an address; no client has it."""


class RateLimitMiddleware:
    """Limits how often each client may ask, and answers 429 above it. Without `limit` and `paths` it does nothing.

    Args:
        app: The ASGI app to guard.
        limit: `"100/minute"`, several as in `"10/second, 1000/hour"`, a `RateLimit`, or a sequence of either. All of
            several must admit a request; one that is refused counts for none. None: only `paths` are limited.
        paths: Limits for some paths and everything below them, each counted apart, in place of `limit`; None: no
            limit there. The longest path wins.
        key: Who counts as one client: `"client"`, the address, IPv6 by /64; `"header:X-API-Key"`, the value of a
            header; or a callable that gets the scope and returns a string. Where that gives nothing, the address is
            taken. Everything but addresses is hashed before it is kept.
        exempt_paths: Paths that are not limited, with everything below them.
        trusted_proxies: Addresses and networks of proxies whose word on the client's address counts.
        unknown_client: What becomes of a client without an address: `"allow"` it (default; the log says so once),
            count all of them as one (`"shared"`), or `"refuse"` them with a 403.
        headers: Send the `RateLimit` fields with allowed HTTP responses; a 429 always has them.
        store: Where the counts are kept. None: in this process, at most 100,000 clients. When an asynchronous store
            fails, the request is admitted and the failure reported.
        key_secret: For the hash, 16 to 64 bytes. None: random, so that only this process knows the clients by their
            keys; a store that others share needs one.
        errors: How the 429 looks.
        clock: For the store in this process, in seconds; monotonic.

    Raises:
        ValueError: A limit, path, network, key or other option is malformed; it names the option and the value.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit: Limit | None = None,
        paths: Mapping[str, Limit | None] | None = None,
        key: str | Identify = "client",
        exempt_paths: Iterable[str] = (),
        trusted_proxies: TrustedProxies | Iterable[str] = (),
        unknown_client: UnknownClient = "allow",
        headers: bool = True,
        store: QuotaStore | AsyncQuotaStore | None = None,
        key_secret: bytes | None = None,
        errors: ErrorRenderer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if unknown_client not in get_args(UnknownClient):
            raise ValueError(f"unknown_client={unknown_client!r}: expected 'allow', 'shared' or 'refuse'")
        if key_secret is not None and len(key_secret) not in _SECRET_SIZES:
            raise ValueError(f"key_secret: got {len(key_secret)} bytes, expected 16 to 64")
        self.app = app
        self._default = None if limit is None else _policy(limit, "limit")
        overrides: dict[str, QuotaPolicy | None] = dict.fromkeys(exempt_paths)
        for path, value in (paths or {}).items():
            if path in overrides:
                raise ValueError(f"paths and exempt_paths both name {path!r}: only one of them may")
            overrides[path] = None if value is None else _policy(value, f"paths[{path!r}]", path)
        self._paths = PathTable(overrides, "paths and exempt_paths") if overrides else None
        self._idle = self._default is None and not any(overrides.values())
        self._identify = _identify_by(key)
        self._trusted = TrustedProxies.of(trusted_proxies)
        self._unknown_client = unknown_client
        self._warned = False
        self._headers = headers
        self._store = MemoryQuota(clock=clock) if store is None else store
        self._take: Callable[[str, Rules], Decision] | None = getattr(self._store, "take", None)
        if self._take is None and not hasattr(self._store, "take_async"):
            raise ValueError(f"store={store!r}: expected an object with take() or take_async()")
        if getattr(store, "shared", False) and self._identify is not None and key_secret is None:
            raise ValueError(
                f"key_secret=None: with a shared store and key={key!r}, expected 16 to 64 bytes, the same in every process"
            )
        self._secret = token_bytes(32) if key_secret is None else key_secret
        self._errors = ErrorRenderer() if errors is None else errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit or refuse one connection."""
        if self._idle:
            return await self.app(scope, receive, send)
        record: RequestContext | None = scope.get(KEY)
        if record is None:
            return await observe(self, scope, receive, send)
        policy = self._default
        if self._paths is not None:
            policy = self._paths.get(scope["path"], policy)
        if policy is None or (record.method == "OPTIONS" and _is_preflight(scope)):
            return await self.app(scope, receive, send)
        key = self._key(scope, record)
        if key is None:
            return await self._unknown(scope, receive, send)
        if policy.part:
            key = f"{policy.part} {key}"
        take = self._take
        decision = await self._ask(key, policy) if take is None else take(key, policy.rules)
        if decision.wait:
            return await self._refuse(scope, send, record, policy, decision)
        if self._headers and record.kind == "http":
            record.on_start.append(partial(_tell, policy, decision))
        return await self.app(scope, receive, send)

    def _key(self, scope: Scope, record: RequestContext) -> str | None:
        address = self._trusted.client(scope)
        if record.client_address is None:
            record.client_address = address
        if self._identify is not None:
            try:
                name = self._identify(scope)
                if name:
                    return self._hashed(name)
            except Exception as error:  # noqa: BLE001 - a key that can't be found must not turn a client away
                report_failure(self._identify, error)
        if address is None:
            return _EVERYBODY if self._unknown_client == "shared" else None
        return network_key(address) if ":" in address else address

    async def _ask(self, key: str, policy: QuotaPolicy) -> Decision:
        store = cast("AsyncQuotaStore", self._store)
        try:
            return await store.take_async(key, policy.rules)
        except Exception as error:  # noqa: BLE001 - a store that is down must not take the application with it
            report_failure(store, error)
            return decide(policy.rules, None, 0)

    def _hashed(self, name: str) -> str:
        return blake2b(name.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=16).hexdigest()

    async def _refuse(
        self, scope: Scope, send: Send, record: RequestContext, policy: QuotaPolicy, decision: Decision
    ) -> None:
        record.outcome = "rate_limited"
        record.bind(rate_limit=policy.refusing(decision))
        failure = self._errors.catalogue.classify(RateLimitExceeded(retry_after=decision.retry_after))
        fields = (policy.advertised, policy.limits(decision))
        await self._errors.answer(scope, send, failure, headers=fields)

    async def _unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._unknown_client == "refuse":
            failure = self._errors.catalogue.classify(PermissionDenied())
            return await self._errors.answer(scope, send, failure)
        if not self._warned:
            self._warned = True
            _logger.warning(
                "Clients without an address are not limited. Behind a proxy on a unix socket, name 'unix' in"
                " trusted_proxies; otherwise choose unknown_client."
            )
        return await self.app(scope, receive, send)


def _tell(policy: QuotaPolicy, decision: Decision, _: RequestContext, message: Message) -> None:
    if message["status"] not in _REDIRECTS:
        message["headers"] += (policy.advertised, policy.limits(decision))


def _is_preflight(scope: Scope) -> bool:
    """Whether an OPTIONS request is a browser asking for permission on behalf of a page (Fetch standard, CORS-preflight request)."""
    asks = header(scope, b"access-control-request-method")
    return asks is not None and header(scope, b"origin") is not None


def _policy(value: Any, option: str, path: str = "") -> QuotaPolicy:
    parts: Iterable[Any] = (value,) if isinstance(value, str | RateLimit) else value
    rules: list[RateLimit] = []
    try:
        for part in parts:
            if isinstance(part, RateLimit):
                rules.append(part)
            elif isinstance(part, str):
                rules += RateLimit.parse_many(part)
            else:
                raise ValueError(f"{part!r} is neither text nor a RateLimit")  # noqa: TRY004, TRY301
        if not rules:
            raise ValueError("no rule in it")  # noqa: TRY301
        return QuotaPolicy(tuple(rules), path)
    except ValueError as error:
        raise ValueError(f"{option}={value!r}: {error}") from None


def _identify_by(key: Any) -> Identify | None:
    """What finds a client's key in the scope; None where the address is the key."""
    if key == "client":
        return None
    if isinstance(key, str):
        name = key.removeprefix("header:").strip().lower().encode()
        if not key.startswith("header:") or not name:
            raise ValueError(f"key={key!r}: expected 'client', 'header:<name>', or a callable")
        return lambda scope: _text(header(scope, name))
    if not callable(key) or iscoroutinefunction(key):
        raise ValueError(f"key={key!r}: expected a callable that returns without waiting")
    return cast("Identify", key)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
