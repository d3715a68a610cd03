"""W3C Trace Context level 1, from a request's headers to those of the calls that it makes.

The cases are those that the W3C's validation service asks an implementation (github.com/w3c/trace-context, `test/`), at
its level 1 and with its strict rules, told here as a table: what comes in, and what must go out.
"""

import re

import pytest
from starlette.responses import PlainTextResponse

from asgi_resilience import TraceContextMiddleware
from asgi_resilience.testing import ASGILint, asgi_request
from tests.client.http.scripted import Server, client

pytestmark = pytest.mark.anyio

TRACE, PARENT = "12345678901234567890123456789012", "1234567890123456"
VALID = f"00-{TRACE}-{PARENT}-01"
FORM = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")
OF_A_TRACE = ("traceparent", VALID)

LOWER = "abcdefghijklmnopqrstuvwxyz"
KEY = f"{LOWER}0123456789_-*/"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")


async def calls(make, headers, count=1):
    """What the receivers of the calls are sent that a request with these headers makes."""
    server = Server(200)

    async def app(scope, receive, send):
        async with client(make(), server) as http:
            for _ in range(count):
                await http.get("/")
        await PlainTextResponse("ok")(scope, receive, send)

    response = await asgi_request(ASGILint(TraceContextMiddleware(app)), headers=headers)
    assert response.status == 200
    return server


def traces(server):
    """Version, trace id, parent id and flags of each call; whatever came in, they are in their form."""
    sent = server.sent("traceparent")
    assert all(map(FORM.fullmatch, sent))
    return [each.split("-") for each in sent]


CONTINUED = {
    "version 00": [("traceparent", VALID)],
    "not sampled": [("traceparent", f"00-{TRACE}-{PARENT}-00")],
    "name in three spellings, 1": [("TraceParent", VALID)],
    "name in three spellings, 2": [("TrAcEpArEnT", VALID)],
    "name in three spellings, 3": [("TRACEPARENT", VALID)],
    "a later version": [("traceparent", f"cc-{TRACE}-{PARENT}-01")],
    "a later version with more to it": [("traceparent", f"cc-{TRACE}-{PARENT}-01-what-will-be")],
    "space before": [("traceparent", f" {VALID}")],
    "tab before": [("traceparent", f"\t{VALID}")],
    "space after": [("traceparent", f"{VALID} ")],
    "tab after": [("traceparent", f"{VALID}\t")],
    "white space around": [("traceparent", f"\t {VALID} \t")],
}


@pytest.mark.parametrize("headers", CONTINUED.values(), ids=CONTINUED)
async def test_a_valid_trace_goes_on(make, headers):
    """The trace id is handed on, the parent is a new span, and the sampled flag is as it came."""
    ((_, trace, parent, flags),) = traces(await calls(make, headers))
    assert trace == TRACE
    assert parent != PARENT
    assert flags == headers[0][1].strip()[53:55]


RESTARTED = {
    "nothing": [],
    "sent twice": [("traceparent", f"00-{TRACE[:-1]}1-{PARENT}-01"), ("traceparent", VALID)],
    "a name with a dash": [("trace-parent", VALID)],
    "a name with a dot": [("trace.parent", VALID)],
    "more after version 00, a dot": [("traceparent", f"{VALID}.")],
    "more after version 00, a dash": [("traceparent", f"{VALID}-what-will-be")],
    "a later version with a dot": [("traceparent", f"cc-{TRACE}-{PARENT}-01.what-will-be")],
    "version ff": [("traceparent", f"ff-{TRACE}-{PARENT}-01")],
    "version .0": [("traceparent", f".0-{TRACE}-{PARENT}-01")],
    "version 0.": [("traceparent", f"0.-{TRACE}-{PARENT}-01")],
    "version 000": [("traceparent", f"000-{TRACE}-{PARENT}-01")],
    "version 0000": [("traceparent", f"0000-{TRACE}-{PARENT}-01")],
    "version 0": [("traceparent", f"0-{TRACE}-{PARENT}-01")],
    "a trace id of zeros": [("traceparent", f"00-{'0' * 32}-{PARENT}-01")],
    "a trace id that begins wrong": [("traceparent", f"00-.{TRACE[1:]}-{PARENT}-01")],
    "a trace id that ends wrong": [("traceparent", f"00-{TRACE[:-1]}.-{PARENT}-01")],
    "a trace id that is too long": [("traceparent", f"00-{TRACE}3-{PARENT}-01")],
    "a trace id that is too short": [("traceparent", f"00-{TRACE[:-1]}-{PARENT}-01")],
    "a parent of zeros": [("traceparent", f"00-{TRACE}-{'0' * 16}-01")],
    "a parent that begins wrong": [("traceparent", f"00-{TRACE}-.{PARENT[1:]}-01")],
    "a parent that ends wrong": [("traceparent", f"00-{TRACE}-{PARENT[:-1]}.-01")],
    "a parent that is too long": [("traceparent", f"00-{TRACE}-{PARENT}7-01")],
    "a parent that is too short": [("traceparent", f"00-{TRACE}-{PARENT[:-1]}-01")],
    "flags .0": [("traceparent", f"00-{TRACE}-{PARENT}-.0")],
    "flags 0.": [("traceparent", f"00-{TRACE}-{PARENT}-0.")],
    "flags 001": [("traceparent", f"00-{TRACE}-{PARENT}-001")],
    "flags 1": [("traceparent", f"00-{TRACE}-{PARENT}-1")],
}


@pytest.mark.parametrize("headers", RESTARTED.values(), ids=RESTARTED)
async def test_what_is_not_valid_begins_a_new_trace(make, headers):
    """Of a header that breaks a rule nothing is left in what goes out, and a tracestate without its trace goes nowhere."""
    server = await calls(make, [*headers, ("tracestate", "foo=1,bar=2")])
    ((_, trace, _, _),) = traces(server)
    assert trace[:31] not in (TRACE[:31], TRACE[1:], "0" * 31)
    assert server.sent("tracestate") == [None]


LONGEST = "z" * 256
STATES = {
    "as it came": (["foo=1,bar=2"], "foo=1,bar=2"),
    "absent": ([], None),
    "empty": ([""], None),
    "empty last": (["foo=1", ""], "foo=1"),
    "empty first": (["", "foo=1"], "foo=1"),
    "several headers": (["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
    "a key twice": (["foo=1,foo=1"], "foo=1,foo=1"),
    "a key twice, two values": (["foo=1", "foo=2"], "foo=1,foo=2"),
    "every character": ([f"{KEY}={VALUE}"], f"{KEY}={VALUE}"),
    "every character, with a vendor": ([f"{KEY}@a-z0-9_-*/={VALUE}"], f"{KEY}@a-z0-9_-*/={VALUE}"),
    "space around commas": (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
    "tabs around commas": (["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], "foo=1,bar=2,baz=3"),
    "white space around": (["\t foo=1 \t"], "foo=1"),
    "space after a key": (["foo =1"], None),
    "capitals": (["FOO=1"], None),
    "a dot in a key": (["foo.bar=1"], None),
    "an at sign last": (["foo@=1,bar=2"], "foo@=1,bar=2"),
    "an at sign first": (["@foo=1,bar=2"], None),
    "two at signs": (["foo@@bar=1,bar=2"], "foo@@bar=1,bar=2"),
    "two vendors": (["foo@bar@baz=1,bar=2"], "foo@bar@baz=1,bar=2"),
    "32 members": (
        [",".join(f"bar{n:02}={n:02}" for n in range(at, min(at + 10, 33))) for at in range(1, 33, 10)],
        ",".join(f"bar{n:02}={n:02}" for n in range(1, 33)),
    ),
    "33 members": ([",".join(f"bar{n:02}={n:02}" for n in range(1, 34))], None),
    "a key of 256": (["foo=1", f"{LONGEST}=1"], f"foo=1,{LONGEST}=1"),
    "a key of 257": (["foo=1", f"{LONGEST}z=1"], None),
    "a long tenant": (["foo=1", f"{'t' * 242}@v=1"], f"foo=1,{'t' * 242}@v=1"),
    "a long vendor": (["foo=1", f"t@{'v' * 15}=1"], f"foo=1,t@{'v' * 15}=1"),
    "an equals sign in a value": (["foo=bar=baz"], None),
    "no value": (["foo=,bar=3"], None),
}


@pytest.mark.parametrize(("values", "expected"), STATES.values(), ids=STATES)
@pytest.mark.parametrize("name", ["tracestate", "TraceState", "TRACESTATE"])
async def test_a_tracestate_goes_on_untouched(make, name, values, expected):
    """Within its limits a tracestate is handed on in its order; a rule broken drops it, and the trace goes on."""
    server = await calls(make, [OF_A_TRACE, *((name, value) for value in values)])
    assert server.sent("tracestate") == [expected]
    assert traces(server)[0][1] == TRACE


@pytest.mark.parametrize("name", ["trace-state", "trace.state"])
async def test_other_names_are_no_tracestate(make, name):
    """A header of another name is not the one that is meant."""
    assert (await calls(make, [OF_A_TRACE, (name, "foo=1")])).sent("tracestate") == [None]


@pytest.mark.parametrize(
    ("headers", "continued"),
    [([OF_A_TRACE], True), ([], False), ([("traceparent", f"00-{'0' * 32}-{PARENT}-01")], False)],
)
async def test_each_call_is_a_child_of_its_own(make, headers, continued):
    """Three calls of one request are in one trace, with three parent ids."""
    sent = traces(await calls(make, headers, count=3))
    (trace,) = {trace for _, trace, _, _ in sent}
    assert (trace == TRACE) is continued
    assert len({parent for _, _, parent, _ in sent}) == 3
