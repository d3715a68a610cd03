"""The shape of an error answer: the envelope, problem+json, denial and close."""

import json
from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from starlette.exceptions import HTTPException

from asgi_resilience.context import KEY, RequestContext
from asgi_resilience.error_catalogue import ErrorCatalogue, Failure
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.error_specs import STANDARD, ErrorSpec
from asgi_resilience.errors import AppError, NotFound, RateLimitExceeded, ServiceUnavailable

NOW = datetime(2026, 11, 23, 14, 30, 0, 999_999, tzinfo=UTC).timestamp()
PROBLEM = [(b"accept", b"application/problem+json")]
DOCS = "https://docs.example.com/errors"
RENDERER = ErrorRenderer(now=lambda: NOW)


def scope_of(kind="http", method="GET", headers=(), request_id=None, **more):
    scope = {"type": kind, "method": method, "path": "/items/9", "headers": list(headers), **more}
    record = scope[KEY] = RequestContext(scope)
    record.request_id = request_id
    return scope


def rendered(error, renderer=RENDERER, headers=(), headers_of_request=(), **scope):
    """The header fields and the JSON of the answer to an exception."""
    failure = error if isinstance(error, Failure) else renderer.catalogue.classify(error)
    fields, body = renderer.response(scope_of(headers=headers_of_request, **scope), failure, headers)
    return fields, json.loads(body)


async def answer(scope, failure, renderer=RENDERER, **options):
    """The messages of the answer."""
    sent = []

    async def send(message):
        sent.append(message)

    await renderer.answer(scope, send, failure, **options)
    return sent


# ------------------------------------------------------------------------------------------------ the envelope


def test_the_envelope_is_exactly_this():
    """Six members in this order, null where there is nothing, and a timestamp of RFC 3339 in UTC with Z."""
    fields, body = RENDERER.response(scope_of(request_id="req_1"), ErrorCatalogue().classify(NotFound()))
    assert body == (
        b'{"error":{"code":"RESOURCE_NOT_FOUND","message":"Resource not found","details":null,'
        b'"timestamp":"2026-11-23T14:30:00Z","request_id":"req_1","documentation_url":null}}'
    )
    assert fields == [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"vary", b"accept"),
    ]


@pytest.mark.parametrize("spec", STANDARD, ids=lambda spec: spec.code)
def test_every_row_of_the_table(spec):
    """Each error of the table says its code and its message, and is documented under its code."""
    _, content = rendered(AppError(code=spec.code), ErrorRenderer(docs_url=DOCS))
    error = content["error"]
    assert error["code"] == spec.code
    assert error["message"] == spec.message.replace("{retry_after}", "1")
    assert error["documentation_url"] == f"{DOCS}/{spec.code.lower().replace('_', '-')}"


def test_the_timestamp_is_now():
    """Without a clock of its own the renderer reads the wall clock."""
    before = datetime.now(UTC).replace(microsecond=0)
    _, content = rendered(NotFound(), ErrorRenderer())
    assert before <= datetime.fromisoformat(content["error"]["timestamp"]) <= datetime.now(UTC)


def test_without_a_record_the_request_id_is_null():
    """Outside of the stack there is no id."""
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    _, body = RENDERER.response(scope, ErrorCatalogue().classify(NotFound()))
    assert json.loads(body)["error"]["request_id"] is None


@pytest.mark.parametrize("docs_url", [DOCS, f"{DOCS}/"])
@pytest.mark.parametrize("docs_path", ["token-expired", "/token-expired"])
def test_the_documentation_url_is_base_and_path(docs_url, docs_path):
    """One slash stands between the base and an error's own path."""
    catalogue = ErrorCatalogue()
    catalogue.register("AUTH_TOKEN_EXPIRED", status=401, message="Expired", docs_path=docs_path)
    _, content = rendered(AppError(code="AUTH_TOKEN_EXPIRED"), ErrorRenderer(catalogue, docs_url=docs_url))
    assert content["error"]["documentation_url"] == f"{DOCS}/token-expired"


@pytest.mark.parametrize(
    "docs_url",
    ["", "docs.example.com", "ftp://x/", "/errors", "http://", "https:///x", "https://a b", "https://a\n"],
)
def test_a_docs_url_is_an_address(docs_url):
    """Anything but an http or https address is refused, and named."""
    with pytest.raises(ValueError, match=r"docs_url=.*expected an address such as"):
        ErrorRenderer(docs_url=docs_url)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 10**9 + 1])
def test_the_default_delay_is_positive(seconds):
    """A delay that no client could wait for is refused, and named."""
    with pytest.raises(ValueError, match=r"retry_after=.*: expected seconds, above 0"):
        ErrorRenderer(retry_after=seconds)


# --------------------------------------------------------------------------------------- details of any kind

RING: list[object] = []
RING.append(RING)


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ("There is no item 9", "There is no item 9"),
        ({"field": ["a", 1, None]}, {"field": ["a", 1, None]}),
        ({1: "a", None: "b", date(2026, 1, 2): 3}, {"1": "a", "null": "b", "2026-01-02": 3}),
        ([float("nan"), float("inf")], [None, None]),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([object(), b"secret", ValueError("secret")], ["<object>", "<bytes>", "<ValueError>"]),
        ({"a": RING}, "<dict>"),
        ("\ud800", "<str>"),
        ({"a": "\ud800"}, "<dict>"),
        (2**64, "<int>"),
        ({object(): 1}, "<dict>"),
        (0, 0),
    ],
)
@pytest.mark.parametrize("accept", [[], PROBLEM])
def test_details_of_any_kind_are_answered(details, told, accept):
    """What JSON can't hold becomes null or a marker, and everything else is still told (edge case 68)."""
    _, content = rendered(NotFound("No such match", details=details), headers_of_request=accept)
    error = content.get("error", content)
    assert error["details"] == told
    assert error["code"] == "RESOURCE_NOT_FOUND"
    assert error["message" if "error" in content else "detail"] == "No such match"


def test_a_message_that_utf_8_can_not_hold_is_answered():
    """A lone surrogate in the message becomes a question mark, and details stay null."""
    _, content = rendered(NotFound("bad \ud800 name"))
    assert (content["error"]["message"], content["error"]["details"]) == ("bad ? name", None)


# ------------------------------------------------------------------------------------------------------ headers


def test_headers_of_the_error_are_sent():
    """An error's own headers go out in lower case and without space around the value."""
    fields, _ = rendered(HTTPException(401, headers={"WWW-Authenticate": " Bearer\t", "X-Latin": "\xe9"}))
    assert fields[3:] == [(b"www-authenticate", b"Bearer"), (b"x-latin", b"\xe9")]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "1\r\nSet-Cookie: a=b"},
        {"X-A": "1\n"},
        {"X-A": "\0"},
        {"X-A": "\u20ac"},
        {"X-A": "\x7f"},
        {"X A": "1"},
        {"": "1"},
        {"X-\u20ac": "1"},
        {"X-A\r\nX-B": "1"},
        {"X-A": 1},
        {"X-A": b"1"},
        {b"x-a": "1"},
        {1: "1"},
        [("X-A", "1")],
        "X-A: 1",
        7,
    ],
)
def test_a_header_that_can_not_be_sent_is_dropped(headers):
    """A malformed header never reaches the server, which would drop the connection; the answer goes out (edge case 26)."""
    fields, content = rendered(NotFound(headers=headers))
    assert [name for name, _ in fields] == [b"content-type", b"content-length", b"vary"]
    assert content["error"]["code"] == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize("name", ["Content-Type", "Content-Length", "Transfer-Encoding"])
def test_headers_that_describe_the_body_are_ours(name):
    """An error can't contradict the body that it gets."""
    fields, _ = rendered(NotFound(headers={name: "7"}))
    assert [value for field, value in fields if field == name.lower().encode()] != [b"7"]
    assert len(fields) == 3


def test_headers_of_the_answer_replace_those_of_the_error():
    """What the caller adds wins over the failure's own of the same name, and may repeat."""
    cookies = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    fields, _ = rendered(NotFound(headers={"Set-Cookie": "c=3", "Allow": "GET"}), headers=cookies)
    assert fields[3:] == [(b"allow", b"GET"), *cookies]


# -------------------------------------------------------------------------------------------------- Retry-After


def delay_of(error, renderer=RENDERER):
    fields, content = rendered(error, renderer)
    return dict(fields).get(b"retry-after"), content["error"]["message"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (5, "5"),
        (2.0001, "3"),
        (0, "1"),
        (0.2, "1"),
        (-7, "1"),
        (1e300, "1000000000"),
        (None, "4"),
        (float("nan"), "4"),
        (float("inf"), "4"),
        ("5", "4"),
    ],
)
def test_a_429_says_how_long_to_wait(asked, told):
    """Header and message agree on whole seconds, rounded up, never 0; the renderer's default where nobody said."""
    error = RateLimitExceeded(retry_after=asked)
    expected = (told.encode(), f"Rate limit exceeded. Try again in {told} seconds")
    assert delay_of(error, ErrorRenderer(retry_after=3.5)) == expected


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("120", "120"),
        ("Mon, 23 Nov 2026 14:31:00 GMT", "60"),
        ("Mon, 23 Nov 2026 14:00:00 GMT", "1"),
        ("soon", "1"),
        ("-5", "1"),
        ("1.5", "1"),
        ("\u00b2", "1"),
        ("9" * 5000, "1000000000"),
        ("Mon, 23 Nov 2026 14:31:00 +99999999999", "1"),
        ("", "1"),
    ],
)
def test_a_429_of_the_application_gets_the_same_shape(value, told):
    """A `Retry-After` that the application set, number or date, becomes seconds in header and message."""
    fields, content = rendered(HTTPException(429, headers={"Retry-After": value}))
    assert [value for name, value in fields if name == b"retry-after"] == [told.encode()]
    assert content["error"]["message"].endswith(f"in {told} seconds")


def test_other_errors_have_a_delay_only_when_it_is_known():
    """A 503 tells how long to wait when somebody said so, and a malformed value is dropped."""
    assert delay_of(ServiceUnavailable(retry_after=2.5))[0] == b"3"
    assert delay_of(HTTPException(503, headers={"Retry-After": "7"}))[0] == b"7"
    assert delay_of(HTTPException(503, headers={"Retry-After": "soon"}))[0] is None
    assert delay_of(ServiceUnavailable())[0] is None


def test_a_message_with_seconds_needs_no_429():
    """`{retry_after}` in any message becomes seconds, 1 where nobody said how many; other braces stay."""
    catalogue = ErrorCatalogue()
    catalogue.register("EXPORT_STILL_RUNNING", status=409, message="Wait {retry_after} s {x} {0}")
    renderer = ErrorRenderer(catalogue)
    for seconds, told in ((None, 1), (7, 7)):
        error = AppError(code="EXPORT_STILL_RUNNING", retry_after=seconds)
        assert delay_of(error, renderer)[1] == f"Wait {told} s {{x}} {{0}}"


# ------------------------------------------------------------------------------------------------- problem+json


def test_the_problem_document_is_exactly_this():
    """The same facts in the members of RFC 9457, §3.1; `type` is about:blank without documentation."""
    fields, body = RENDERER.response(
        scope_of(headers=PROBLEM, request_id="req_1"),
        ErrorCatalogue().classify(NotFound(details="No item 9")),
    )
    assert dict(fields)[b"content-type"] == b"application/problem+json"
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Resource not found",
        "status": 404,
        "detail": "No item 9",
        "instance": "/items/9",
        "code": "RESOURCE_NOT_FOUND",
        "request_id": "req_1",
        "timestamp": "2026-11-23T14:30:00Z",
    }


def test_the_type_of_a_problem_is_its_documentation():
    """With a docs_url the type says where the problem is explained (edge case 72)."""
    _, content = rendered(NotFound(), ErrorRenderer(docs_url=DOCS), headers_of_request=PROBLEM)
    assert content["type"] == f"{DOCS}/resource-not-found"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotFound(), {"detail": "Resource not found"}),
        (NotFound("No match"), {"detail": "No match"}),
        (NotFound("No match", details="9"), {"detail": "No match", "details": "9"}),
        (NotFound(details={"id": 9}), {"detail": "Resource not found", "details": {"id": 9}}),
        (NotFound(details=""), {"detail": ""}),
    ],
)
def test_no_fact_is_lost_in_a_problem(error, told):
    """`detail` is always text, and the title is the same in every case; details that don't fit stand beside them."""
    _, content = rendered(error, headers_of_request=PROBLEM)
    assert content["title"] == "Resource not found"
    assert {name: content[name] for name in ("detail", "details") if name in content} == told


@pytest.mark.parametrize(
    ("status", "message", "title"),
    [
        (429, "Rate limit exceeded. Try again in {retry_after} seconds", "Rate limit exceeded"),
        (429, "Wait {retry_after} s", "Too Many Requests"),
        (499, "Wait {retry_after} s", "EXPORT_STILL_RUNNING"),
        (409, "Busy. Come back", "Busy. Come back"),
    ],
)
def test_the_title_has_no_seconds_in_it(status, message, title):
    """The title must not change from case to case (RFC 9457 §3.1.3)."""
    spec = ErrorSpec("EXPORT_STILL_RUNNING", status, message)
    _, content = rendered(Failure(spec, message, retry_after=7), headers_of_request=PROBLEM)
    assert content["title"] == title
    assert content["detail"] == message.replace("{retry_after}", "7")


@pytest.mark.parametrize(
    ("path", "raw", "instance"),
    [
        ("/a b", b"/a%20b", "/a%20b"),
        ("/a b", None, "/a%20b"),
        ("/é/\udc80", None, "/%C3%A9/%5Cudc80"),
        ("/x", b'/x\xff"<', "/x%FF%22%3C"),
        ("/x", b"", "/x"),
    ],
)
def test_the_instance_is_the_path_as_a_uri(path, raw, instance):
    """`instance` is the path of the request, percent-encoded, whatever the server let through."""
    _, content = rendered(NotFound(), headers_of_request=PROBLEM, path=path, raw_path=raw)
    assert content["instance"] == instance


def test_the_accept_header_is_found_in_any_case_and_in_several_fields():
    """Header names may be in capitals (edge case 9), and a list may come in several fields."""
    accept = [(b"Accept", b"text/html"), (b"ACCEPT", b"application/problem+json")]
    assert "title" in rendered(NotFound(), headers_of_request=accept)[1]
    assert "error" in rendered(NotFound(), headers_of_request=accept[:1])[1]


# ------------------------------------------------------------------------------------------------- the messages

anyio_test = pytest.mark.anyio
NOT_FOUND = ErrorCatalogue().classify(NotFound())
BUSY = ErrorCatalogue().classify(ServiceUnavailable())


@anyio_test
async def test_an_http_answer_is_one_start_and_one_body():
    """The whole answer is two messages; the record knows the error."""
    scope = scope_of()
    start, body = await answer(scope, NOT_FOUND, headers=[(b"x-a", b"1")])
    assert (start["type"], start["status"]) == ("http.response.start", 404)
    assert (b"x-a", b"1") in start["headers"]
    assert body["type"] == "http.response.body"
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    assert (scope[KEY].error_code, scope[KEY].error_message) == ("RESOURCE_NOT_FOUND", "Resource not found")
    assert scope[KEY].outcome is None


@anyio_test
async def test_an_answer_to_head_has_no_body():
    """HEAD gets the header fields of GET, the length included, and no body (RFC 9110 §9.3.2, edge case 24)."""
    start, body = await answer(scope_of(method="HEAD"), NOT_FOUND)
    length = int(dict(start["headers"])[b"content-length"])
    assert length == len((await answer(scope_of(), NOT_FOUND))[1]["body"]) > 0
    assert body == {"type": "http.response.body", "body": b""}


@anyio_test
async def test_what_the_log_says_of_the_error_is_not_overwritten():
    """A message that somebody gave for the log stays."""
    scope = scope_of()
    scope[KEY].error_message = "No response within 30 s"
    await answer(scope, NOT_FOUND)
    assert scope[KEY].error_message == "No response within 30 s"


@anyio_test
async def test_an_answer_needs_no_record():
    """The renderer works outside of the stack."""
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    assert (await answer(scope, NOT_FOUND))[0]["status"] == 404


@anyio_test
async def test_a_websocket_is_denied_where_the_server_can():
    """Before it is accepted, and with the extension, a websocket gets the envelope as a denial response."""
    scope = scope_of("websocket", extensions={"websocket.http.response": {}})
    start, body = await answer(scope, NOT_FOUND)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
    assert body["type"] == "websocket.http.response.body"
    assert json.loads(body["body"])["error"]["code"] == "RESOURCE_NOT_FOUND"


@anyio_test
@pytest.mark.parametrize("extensions", [None, {}, {"websocket.http.response": {}}])
@pytest.mark.parametrize(
    ("failure", "code", "outcome"), [(NOT_FOUND, 1011, "client_error"), (BUSY, 1013, "server_error")]
)
async def test_else_it_is_closed(extensions, failure, code, outcome):
    """Without the extension, or once accepted, it is closed: 1013 when trying later may help, with the code as reason."""
    scope = scope_of("websocket", extensions=extensions)
    messages = await answer(scope, failure, accepted=bool(extensions))
    assert messages == [{"type": "websocket.close", "code": code, "reason": failure.spec.code}]
    assert scope[KEY].outcome == (outcome if extensions else None)


@anyio_test
async def test_an_outcome_that_is_known_already_stays():
    """A layer that knows better how the request ended has the last word."""
    scope = scope_of("websocket")
    scope[KEY].outcome = "shed"
    await answer(scope, BUSY, accepted=True)
    assert scope[KEY].outcome == "shed"
