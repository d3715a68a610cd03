"""The rate-limit layer: who is counted as one client, what is counted, and what each answer says."""

import logging

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import Route

from asgi_resilience import context
from asgi_resilience.context import KEY
from asgi_resilience.error_catalogue import ErrorCatalogue
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.middleware.rate_limit import RateLimitMiddleware
from asgi_resilience.peers import TrustedProxies
from asgi_resilience.quota.gcra import RateLimit
from asgi_resilience.quota.memory import MemoryQuota
from asgi_resilience.recorder import observe
from asgi_resilience.testing import ASGILint, asgi_request, asgi_websocket

pytestmark = pytest.mark.anyio

POLICY, LIMIT = "ratelimit-policy", "ratelimit"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Observed:
    """A layer that makes the record, and keeps it."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if KEY not in scope:
            return await observe(self, scope, receive, send)
        self.record = scope[KEY]
        return await self.app(scope, receive, send)


class Asynchronous:
    """A store that waits."""

    def __init__(self):
        self.inner = MemoryQuota(clock=Clock())
        self.keys = []

    async def take_async(self, key, rules, cost=1):
        self.keys.append(key)
        return self.inner.take(key, rules, cost)


async def hello(scope, receive, send):
    """Answer 200, or accept a websocket and close it."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"1")]})
    await send({"type": "http.response.body", "body": b"hello"})


def limited(app=hello, **options):
    """The layer between two lints, on a clock that stands still."""
    return ASGILint(RateLimitMiddleware(ASGILint(app), **{"clock": Clock(), **options}))


async def statuses(app, *requests):
    """The statuses of requests, each given as the options of `asgi_request`."""
    return [(await asgi_request(app, **request)).status for request in requests]


@pytest.fixture(autouse=True)
def failures(monkeypatch):
    """The failures that were reported in this test."""
    monkeypatch.setattr(context, "failures", {})
    return context.failures


async def test_requests_above_the_limit_are_refused():
    """A client that has used up its quota gets the 429 envelope, and is admitted again when it has waited."""
    clock = Clock()
    app = limited(limit="2/minute", clock=clock)
    assert await statuses(app, {}, {}, {}) == [200, 200, 429]
    refused = await asgi_request(app)
    assert refused.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    assert refused.json()["error"]["message"] == "Rate limit exceeded. Try again in 30 seconds"
    assert refused.headers["retry-after"] == "30"
    clock.now += 30
    assert await statuses(app, {}, {}) == [200, 429]


@pytest.mark.parametrize(("passed", "seconds"), [(0, "1"), (0.2, "1"), (0.49, "1"), (0.4999999, "1")])
async def test_retry_after_is_a_whole_number_and_never_0(passed, seconds):
    """`Retry-After` is rounded up to whole seconds, so a client that obeys it is never too early (79)."""
    clock = Clock()
    app = limited(limit="2/second", clock=clock)
    await statuses(app, {}, {})
    clock.now += passed
    refused = await asgi_request(app)
    assert refused.headers["retry-after"] == seconds
    assert refused.json()["error"]["message"].endswith(f"Try again in {seconds} seconds")
    clock.now += int(seconds)
    assert await statuses(app, {}) == [200]


async def test_a_refusal_asks_for_nothing_and_waits_for_nothing():
    """The decision falls without `receive`, and before anything is awaited but the answer itself (28, 91)."""
    app = RateLimitMiddleware(hello, limit="1/day")
    sent = []

    async def receive():
        raise AssertionError("receive was called")

    async def send(message):
        sent.append(message["type"])

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "client": ("192.0.2.1", 1)}
    await app(scope, receive, send)
    refusal = app(scope, receive, send)
    with pytest.raises(StopIteration):
        refusal.send(None)
    assert sent == ["http.response.start", "http.response.body"] * 2


async def test_without_a_limit_nothing_happens():
    """Off unless configured: scope, receive and send reach the app as they are."""
    seen = []

    async def app(*arguments):
        seen.append(arguments)

    for idle in (RateLimitMiddleware(app), RateLimitMiddleware(app, exempt_paths=["/x"], paths={"/y": None})):
        arguments = ({"type": "http", "path": "/", "headers": []}, object(), object())
        await idle(*arguments)
        assert all(given is got for given, got in zip(arguments, seen.pop(), strict=True))


async def test_lifespan_passes_untouched():
    """A scope that is neither http nor websocket goes to the app as it is (17, 19)."""
    seen = []

    async def app(*arguments):
        seen.append(arguments)

    arguments = ({"type": "lifespan"}, object(), object())
    await RateLimitMiddleware(app, limit="1/day")(*arguments)
    assert all(given is got for given, got in zip(arguments, seen[0], strict=True))


# ---------------------------------------------------------------------------------------------------------- fields


async def test_answers_carry_the_fields():
    """Allowed responses and refusals say what the policy is and what is left of it (80)."""
    app = limited(limit="3/minute")
    responses = [await asgi_request(app) for _ in range(4)]
    assert [response.headers[POLICY] for response in responses] == ['"minute";q=3;w=60'] * 4
    assert [response.headers[LIMIT] for response in responses] == [
        '"minute";r=2;t=40',
        '"minute";r=1;t=20',
        '"minute";r=0;t=20',
        '"minute";r=0;t=20',
    ]
    assert responses[0].headers["a"] == "1"


async def test_the_fields_of_allowed_responses_are_an_option():
    """With `headers=False` only a 429 carries the fields."""
    app = limited(limit="1/minute", headers=False)
    allowed, refused = [await asgi_request(app) for _ in range(2)]
    assert POLICY not in allowed.headers
    assert LIMIT not in allowed.headers
    assert refused.headers[LIMIT] == '"minute";r=0;t=60'
    assert refused.headers[POLICY] == '"minute";q=1;w=60'


@pytest.mark.parametrize(
    ("status", "present"),
    [
        (200, True),
        (299, True),
        (300, False),
        (304, False),
        (307, False),
        (399, False),
        (400, True),
        (500, True),
    ],
)
async def test_redirects_carry_no_fields(status, present):
    """A client might wait before it follows a redirect that says that nothing is left (81)."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})

    response = await asgi_request(limited(app, limit="1/minute"))
    assert (LIMIT in response.headers) is present
    assert (POLICY in response.headers) is present


async def test_several_rules_hold_together():
    """All rules must admit a request; a refusal is charged to none, and names the rules that refused (83)."""
    clock = Clock()
    app = limited(limit="2/second, 5/minute", clock=clock)
    assert await statuses(app, *[{}] * 8) == [200] * 2 + [429] * 6
    clock.now += 1
    response = await asgi_request(app)
    assert response.headers[POLICY] == '"second";q=2;w=1, "minute";q=5;w=60'
    assert response.headers[LIMIT] == '"second";r=1;t=1, "minute";r=2;t=24'
    assert await statuses(app, {}) == [200]
    clock.now += 1
    assert await statuses(app, {}) == [200]
    refused = await asgi_request(app)
    assert refused.headers[LIMIT] == '"minute";r=0;t=10'
    assert refused.headers["retry-after"] == "10"


@pytest.mark.parametrize(
    "limit",
    ["2/minute", RateLimit(2, 60), ["2/minute"], [RateLimit(2, 60.0)], ("5/second", RateLimit(2, 60))],
)
async def test_a_limit_has_many_forms(limit):
    """A limit is text, a `RateLimit`, or several of either."""
    assert await statuses(limited(limit=limit), {}, {}, {}) == [200, 200, 429]


async def test_the_fields_join_those_of_the_app():
    """The fields are lists: an app that limits by itself keeps its own lines."""

    async def app(scope, receive, send):
        await send(
            {"type": "http.response.start", "status": 200, "headers": iter([(b"ratelimit", b'"own";r=1')])}
        )
        await send({"type": "http.response.body"})

    response = await asgi_request(RateLimitMiddleware(app, limit="2/minute"))
    assert response.headers.getlist(LIMIT) == ['"own";r=1', '"minute";r=1;t=30']


async def test_a_start_without_headers_gets_the_fields():
    """`headers` may be absent from a response start (6), and the app's message stays its own."""
    start = {"type": "http.response.start", "status": 200}

    async def app(scope, receive, send):
        await send(start)
        await send({"type": "http.response.body"})

    response = await asgi_request(RateLimitMiddleware(app, limit="2/minute"))
    assert len(response.start["headers"]) == 2
    assert start == {"type": "http.response.start", "status": 200}


async def test_a_file_passes_by_its_path(tmp_path):
    """A response by pathsend goes out whole, with the fields (4, 10)."""
    path = tmp_path / "file.txt"
    path.write_text("content")
    app = Starlette(
        routes=[Route("/", lambda request: FileResponse(path))],
        middleware=[Middleware(RateLimitMiddleware, limit="2/minute")],
    )
    response = await asgi_request(app, extensions={"http.response.pathsend": {}})
    assert [message["type"] for message in response.messages] == [
        "http.response.start",
        "http.response.pathsend",
    ]
    assert response.headers[LIMIT] == '"minute";r=1;t=30'


async def test_a_client_that_prefers_problems_gets_one():
    """A refusal follows `Accept`, has no body for HEAD, and looks as `errors` says."""
    errors = ErrorRenderer(docs_url="https://docs.example")
    app = limited(limit="1/minute", errors=errors)
    await asgi_request(app)
    problem = await asgi_request(app, headers={"accept": "application/problem+json"})
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["type"] == "https://docs.example/rate-limit-exceeded"
    head = await asgi_request(app, "HEAD")
    assert (head.status, head.body) == (429, b"")
    assert head.headers["retry-after"] == "60"


async def test_a_catalogue_can_say_it_otherwise():
    """The message of the 429 is that of the renderer's catalogue."""
    catalogue = ErrorCatalogue()
    catalogue.register("RATE_LIMIT_EXCEEDED", status=429, message="Slow down")
    app = limited(limit="1/minute", errors=ErrorRenderer(catalogue))
    await asgi_request(app)
    assert (await asgi_request(app)).json()["error"]["message"] == "Slow down"


async def test_the_record_tells_of_the_refusal():
    """Outcome, error code, client and the rules that refused stand in the request's record."""
    app = Observed(RateLimitMiddleware(hello, limit="1/minute", paths={"/search": "1/hour"}))
    await asgi_request(app)
    assert app.record.outcome == "ok"
    assert app.record.client_address == "127.0.0.1"
    await asgi_request(app)
    assert app.record.outcome == "rate_limited"
    assert app.record.error_code == "RATE_LIMIT_EXCEEDED"
    assert app.record.fields == {"rate_limit": ["minute"]}
    await asgi_request(app, path="/search")
    await asgi_request(app, path="/search")
    assert app.record.fields == {"rate_limit": ["/search:hour"]}


async def test_an_address_that_is_known_is_kept():
    """When an outer layer has found the client's address out, the record keeps it."""

    class Knowing(Observed):
        async def __call__(self, scope, receive, send):
            if KEY in scope:
                scope[KEY].client_address = "203.0.113.7"
            return await super().__call__(scope, receive, send)

    app = Knowing(RateLimitMiddleware(hello, limit="1/minute"))
    await asgi_request(app)
    assert app.record.client_address == "203.0.113.7"


# ------------------------------------------------------------------------------------------------------- websockets


async def test_a_handshake_is_counted_and_denied():
    """A websocket handshake counts as a request; above the limit it is answered with the 429 (89)."""
    app = limited(limit="1/minute")
    accepted = await asgi_websocket(app)
    assert accepted.accepted
    assert accepted.headers.getlist(LIMIT) == []
    denied = await asgi_websocket(app, extensions={"websocket.http.response": {}})
    assert denied.denial_status == 429
    assert denied.headers["retry-after"] == "60"
    assert denied.headers[LIMIT] == '"minute";r=0;t=60'


async def test_a_handshake_is_closed_where_it_can_t_be_denied():
    """Without the denial extension the websocket is closed with 1013, try again later (16, 89)."""
    app = Observed(limited(limit="1/minute"))
    await asgi_websocket(app)
    closed = await asgi_websocket(app)
    assert not closed.accepted
    assert (closed.close_code, closed.close_reason) == (1013, "RATE_LIMIT_EXCEEDED")
    assert app.record.outcome == "rate_limited"


# ------------------------------------------------------------------------------------------------------------ paths


async def test_a_path_can_have_its_own_limit():
    """The longest path wins, is counted apart, and stands in for the default limit."""
    app = limited(limit="3/minute", paths={"/a": "1/minute", "/a/b": "2/minute", "/free": None})
    paths = ["/a", "/a/x", "/a/b", "/a/b/c", "/a/b", "/ab", "/", "/x", "/x", *["/free/y"] * 5]
    assert await statuses(app, *({"path": path} for path in paths)) == [
        *[200, 429],
        *[200, 200, 429],
        *[200, 200, 200, 429],
        *[200] * 5,
    ]
    assert (await asgi_request(app, path="/a/b/c")).headers[POLICY] == '"/a/b:minute";q=2;w=60'


async def test_only_paths_can_be_limited():
    """Without `limit` only the paths that are named are limited; no field is sent elsewhere."""
    app = limited(paths={"/a": "1/minute"})
    assert await statuses(app, *[{"path": "/a"}] * 2, *[{"path": "/b"}] * 3) == [200, 429, 200, 200, 200]
    assert POLICY not in (await asgi_request(app, path="/b")).headers


async def test_exempt_paths_are_not_limited():
    """Exempt paths, with everything below them, are not counted, whatever the rest of the table says (90)."""
    app = limited(limit="1/minute", paths={"/a": "1/minute"}, exempt_paths=["/health", "/a/health"])
    requests = [{"path": path} for path in ("/health", "/health/live", "/a/health", "/a/health") * 2]
    assert await statuses(app, *requests) == [200] * 8
    assert await statuses(app, {"path": "/a"}, {"path": "/a"}, {}, {}) == [200, 429, 200, 429]


async def test_a_path_of_many_segments_finds_its_limit():
    """A very long path is matched as any other."""
    app = limited(paths={"/a/a": "1/minute"})
    assert await statuses(app, {"path": "/a" * 20_000}, {"path": "/a/a/b"}, {"path": "/a"}) == [200, 429, 200]


async def test_different_spellings_of_a_path_are_one_client_quota():
    """The path only chooses the rules: what a client makes up in it gives no quota of its own (76)."""
    app = limited(limit="2/minute")
    assert await statuses(app, {"path": "/p/1"}, {"path": "/p/2?x=1"}, {"path": "/p/3"}) == [200, 200, 429]


PREFLIGHT = {"origin": "https://app.example", "access-control-request-method": "PUT"}


async def test_preflights_are_not_counted():
    """A browser's question for permission is neither counted nor refused (82)."""
    app = limited(limit="1/minute")
    assert await statuses(app, *[{"method": "OPTIONS", "headers": PREFLIGHT}] * 3, {}) == [200] * 4
    assert await statuses(app, {"method": "OPTIONS", "headers": PREFLIGHT}) == [200]


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "OPTIONS"},
        {"method": "OPTIONS", "headers": {"origin": "https://app.example"}},
        {"method": "OPTIONS", "headers": {"access-control-request-method": "PUT"}},
        {"method": "GET", "headers": PREFLIGHT},
    ],
)
async def test_what_is_no_preflight_is_counted(request_):
    """Only OPTIONS with both headers is a preflight."""
    assert await statuses(limited(limit="1/minute"), request_, request_) == [200, 429]


# ---------------------------------------------------------------------------------------------------------- clients


async def test_clients_are_told_apart_by_address():
    """Each address has its own quota; the port does not matter."""
    clients = [("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.1", 2)]
    assert await statuses(limited(limit="1/minute"), *({"client": client} for client in clients)) == [
        200,
        200,
        429,
    ]


async def test_ipv6_clients_are_told_apart_by_network():
    """All addresses of a /64 are one client; an IPv4-mapped address is the IPv4 one (75)."""
    hosts = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.1"]
    requests = [{"client": (host, 1)} for host in hosts]
    assert await statuses(limited(limit="1/minute"), *requests) == [200, 429, 200, 200, 429]


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "x-real-ip", "true-client-ip"])
async def test_a_client_can_t_choose_its_address(name):
    """Headers that claim an address are ignored from anyone but trusted proxies (73)."""
    requests = [
        {"headers": {name: f"for=192.0.2.{number}" if name == "forwarded" else f"192.0.2.{number}"}}
        for number in range(2)
    ]
    assert await statuses(limited(limit="1/minute"), *requests) == [200, 429]
    other = limited(limit="1/minute", trusted_proxies=["10.0.0.0/8"])
    assert await statuses(other, *requests) == [200, 429]


async def test_clients_behind_a_proxy_are_told_apart():
    """A trusted proxy's word on the address counts, and nothing that stands to the left of it (73)."""
    app = limited(limit="1/minute", trusted_proxies=["127.0.0.1"])
    values = ["203.0.113.1", "203.0.113.2", "6.6.6.6, 203.0.113.1", "7.7.7.7, 203.0.113.2"]
    requests = [{"headers": {"x-forwarded-for": value}} for value in values]
    assert await statuses(app, *requests) == [200, 200, 429, 429]


async def test_the_proxies_can_be_given_whole():
    """`trusted_proxies` takes a `TrustedProxies`, for proxies that write `Forwarded`."""
    app = limited(limit="1/minute", trusted_proxies=TrustedProxies(["127.0.0.1"], header="forwarded"))
    requests = [{"headers": {"forwarded": f"for=203.0.113.{number}"}} for number in (1, 2, 1)]
    assert await statuses(app, *requests) == [200, 200, 429]


async def test_clients_can_be_told_apart_by_header():
    """With `header:<name>` each value has a quota, whatever the address; without one the address counts."""
    app = limited(limit="1/minute", key="header:X-API-Key")
    requests = [
        {"headers": {"x-api-key": "one"}, "client": ("192.0.2.1", 1)},
        {"headers": {"X-API-Key": "one"}, "client": ("192.0.2.2", 1)},
        {"headers": {"x-api-key": "two"}, "client": ("192.0.2.1", 1)},
        {"client": ("192.0.2.1", 1)},
        {"client": ("192.0.2.1", 1), "headers": {"x-api-key": ""}},
    ]
    assert await statuses(app, *requests) == [200, 429, 200, 200, 429]


async def test_clients_can_be_told_apart_by_a_callable():
    """A callable names the client from the scope; where it says None, the address counts."""
    app = limited(limit="1/minute", key=lambda scope: scope["path"].strip("/") or None)
    paths = ["/ann", "/ann", "/bob", "/", "/"]
    assert await statuses(app, *({"path": path} for path in paths)) == [200, 429, 200, 200, 429]


@pytest.mark.parametrize("named", [7, b"bytes", ["a"]])
async def test_a_callable_that_returns_no_text_is_reported(named, failures):
    """What is no string is no name: it is reported, and the address counts."""
    app = limited(limit="1/minute", key=lambda scope: named)
    assert await statuses(app, {}, {}) == [200, 429]
    assert list(failures.values()) == [2]


async def test_a_callable_that_fails_turns_nobody_away(failures):
    """An exception of the callable is reported, and the address counts."""

    def key(scope):
        raise KeyError("user")

    assert await statuses(limited(limit="1/minute", key=key), {}, {}) == [200, 429]
    assert list(failures.values()) == [2]


async def test_what_names_a_client_is_never_kept():
    """Values of headers and callables are hashed under a secret before they are kept."""
    stores = [Asynchronous() for _ in range(4)]
    secrets = [b"0" * 16, b"0" * 16, b"1" * 16, None]
    for store, secret in zip(stores, secrets, strict=True):
        app = limited(limit="9/minute", key="header:Authorization", store=store, key_secret=secret)
        await asgi_request(app, headers={"authorization": "Bearer \xff-token"})
    assert all(len(key) == 32 and "token" not in key for store in stores for key in store.keys)
    assert stores[0].keys == stores[1].keys
    assert len({key for store in stores for key in store.keys}) == 3


async def test_odd_characters_of_a_name_are_no_error():
    """A name that is not valid Unicode is hashed like any other."""
    app = limited(limit="1/minute", key=lambda scope: "\ud800")
    assert await statuses(app, {}, {}) == [200, 429]


async def test_clients_without_an_address_are_admitted_and_told_of(caplog):
    """By default a client without an address is not limited, and the log says so once (74)."""
    caplog.set_level(logging.WARNING)
    app = limited(limit="1/minute")
    assert await statuses(app, *[{"client": None}] * 3) == [200] * 3
    assert [record.name for record in caplog.records] == ["asgi_resilience.rate_limit"]
    assert "unknown_client" in caplog.text
    assert LIMIT not in (await asgi_request(app, client=None)).headers


async def test_clients_without_an_address_can_be_one():
    """With `shared` they have one quota together, and it is nobody else's (74)."""
    app = limited(limit="1/minute", unknown_client="shared")
    assert await statuses(app, {"client": None}, {"client": None}, {}) == [200, 429, 200]


async def test_clients_without_an_address_can_be_refused():
    """With `refuse` they get a 403, which waiting would not change (74)."""
    response = await asgi_request(limited(limit="1/minute", unknown_client="refuse"), client=None)
    assert response.status == 403
    assert response.json()["error"]["code"] == "AUTH_PERMISSION_DENIED"
    assert "retry-after" not in response.headers


async def test_clients_behind_a_socket_are_told_apart():
    """Behind a proxy on a unix socket, `"unix"` lets its header tell the clients apart (74)."""
    app = limited(limit="1/minute", trusted_proxies=["unix"])
    requests = [
        {"client": None, "headers": {"x-forwarded-for": f"203.0.113.{number}"}} for number in (1, 2, 1)
    ]
    assert await statuses(app, *requests) == [200, 200, 429]


# ------------------------------------------------------------------------------------------------------------ store


async def test_layers_can_share_a_store():
    """Two layers with one store count together."""
    store = MemoryQuota(clock=Clock())
    one, two = limited(limit="2/minute", store=store), limited(limit="2/minute", store=store)
    assert await statuses(one, {}) + await statuses(two, {}, {}) + await statuses(one, {}) == [
        200,
        200,
        429,
        429,
    ]


async def test_a_store_may_wait():
    """A store with `take_async` is awaited; it decides and answers as any other."""
    store = Asynchronous()
    app = limited(limit="1/minute", paths={"/a": "1/minute"}, store=store)
    assert await statuses(app, {}, {}, {"path": "/a"}) == [200, 429, 200]
    assert store.keys == ["127.0.0.1", "127.0.0.1", "/a 127.0.0.1"]


async def test_a_store_that_is_down_refuses_nobody(failures):
    """When the store fails, requests are admitted and the failure is reported (84)."""

    class Down:
        async def take_async(self, key, rules, cost=1):
            raise ConnectionError("no store")

    assert await statuses(limited(limit="1/minute", store=Down()), {}, {}, {}) == [200] * 3
    assert list(failures.values()) == [3]


@pytest.mark.parametrize("key", ["header:X-API-Key", lambda scope: None])
def test_a_shared_store_needs_a_secret_for_what_is_hashed(key):
    """Processes with secrets of their own would know one client by many keys; addresses are not hashed."""

    class Shared(Asynchronous):
        shared = True

    with pytest.raises(
        ValueError, match=r"key_secret=None: with a shared store and key=.*, expected 16 to 64 bytes"
    ):
        limited(limit="1/minute", store=Shared(), key=key)
    limited(limit="1/minute", store=Shared(), key=key, key_secret=b"0123456789abcdef")
    limited(limit="1/minute", store=Shared())


# ---------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": "100"}, "limit='100': rate limit '100': expected 'N/second'"),
        ({"limit": ""}, "limit='': rate limit ''"),
        ({"limit": []}, r"limit=\[\]: no rule in it"),
        ({"limit": [60]}, r"limit=\[60\]: 60 is neither text nor a RateLimit"),
        ({"limit": "1/minute, 2/minute"}, "two rules have the same name"),
        ({"paths": {"/a": "0/second"}}, r"paths\['/a'\]='0/second': rate limit '0/second': limit=0"),
        ({"paths": {"a": "1/second"}}, "paths and exempt_paths: 'a' is no path"),
        ({"exempt_paths": ["health"]}, "paths and exempt_paths: 'health' is no path"),
        ({"paths": {"/a": None}, "exempt_paths": ["/a"]}, "paths and exempt_paths both name '/a'"),
        ({"key": "ip"}, "key='ip': expected 'client', 'header:<name>', or a callable"),
        ({"key": "header: "}, "key='header: '"),
        ({"key": 7}, "key=7: expected a callable"),
        ({"key": hello}, "expected a callable that returns without waiting"),
        ({"trusted_proxies": ["proxy"]}, "trusted_proxies: 'proxy'"),
        ({"unknown_client": "deny"}, "unknown_client='deny': expected 'allow', 'shared' or 'refuse'"),
        ({"key_secret": b"short"}, "key_secret: got 5 bytes, expected 16 to 64"),
        ({"key_secret": b"x" * 65}, "key_secret: got 65 bytes"),
        ({"store": object()}, r"expected an object with take\(\) or take_async\(\)"),
    ],
)
def test_a_malformed_option_is_refused(options, message):
    """Options are checked when the layer is made; the error names option and value, never the secret."""
    with pytest.raises(ValueError, match=message) as caught:
        RateLimitMiddleware(hello, **options)
    assert "short" not in str(caught.value)


async def test_it_is_a_middleware_of_starlette():
    """The layer is added as any other, without anything around it."""
    app = Starlette(
        routes=[Route("/", lambda request: PlainTextResponse("hello"))],
        middleware=[Middleware(RateLimitMiddleware, limit="1/hour")],
    )
    assert await statuses(app, {}, {}) == [200, 429]
