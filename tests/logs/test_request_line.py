"""Lines that are joined from pieces are the lines that the encoder would have made."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.context import RequestContext
from asgi_resilience.logs.encoding import encode
from asgi_resilience.logs.redaction import Redactor
from asgi_resilience.logs.request_fields import UserAgents
from asgi_resilience.logs.request_line import PlainLines
from asgi_resilience.logs.schema import LineFormatter

NOW = "2025-11-24T06:00:00.123Z"
TAGS = {"dd.service": "shop", "dd.env": "test", "dd.version": "1"}
formatter = LineFormatter(service="shop", environment="test", version='1.2"3')
free = st.text(max_size=20) | st.sampled_from(
    ["/items/7", "/items/8", 'a"b', "a\\b", "a\nb", "\x7f", "\ud800", "é"]
)


def lines(redactor=formatter.redactor, constant=formatter._of_request):
    return PlainLines(constant, redactor, UserAgents(redactor))


plain = lines()


def finished(**facts):
    """The record of a request that took 1.5 ms, with these facts."""
    scope = {"type": "http", "method": facts.pop("method", "GET"), "path": facts.pop("path", "/items/7")}
    record = RequestContext(scope, clock=lambda: 0.0)
    record.status, record.outcome, record.ended_at, record.first_byte_at = 200, "ok", 0.0015, 0.001
    for name, value in facts.items():
        setattr(record, name, value)
    return record


@given(
    facts=st.fixed_dictionaries(
        {
            "path": free,
            "method": st.sampled_from(["GET", "PATCH", "get", 'G"T']),
            "request_id": st.none() | free,
            "route": st.none() | free,
            "status": st.sampled_from([101, 200, 304, 404]),
            "outcome": st.sampled_from(["ok", "redirect", "client_error"]),
            "bytes_sent": st.integers(0, 2**40),
            "first_byte_at": st.floats(0, 100),
            "ended_at": st.floats(0, 1e6),
            "log_tags": st.none() | st.just(TAGS) | st.just({}),
            "trace_id": st.none() | st.sampled_from(["0af7651916cd43dd8448eb211c80319c", f"{5:032x}"]),
            "span_id": st.none() | st.just("b7ad6b7169203331"),
        }
    ),
    client=st.none() | st.sampled_from(["192.0.2.1", "2001:db8::1", 'x"y']),
    agent=st.none() | st.binary(max_size=20) | st.just(b"curl/8"),
)
def test_both_ways_make_the_same_line(facts, client, agent):
    """Whatever a line holds, the pieces give the fields of the encoder, in its order, or leave the line to it."""
    record = finished(**facts)
    line = plain(record, NOW, "INFO", client, agent)
    if line is not None:
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        expected = formatter._request(record, NOW, "INFO", client, agent)
        assert list(json.loads(line).items()) == list(json.loads(encode(expected)).items())


def test_the_usual_line_takes_no_encoder():
    """A request that went well is joined from pieces, with and without what other layers add."""
    assert plain(finished(), NOW, "INFO", None, None)
    record = finished(
        request_id="req_1", route="/items/{id}", log_tags=TAGS, trace_id="a" * 32, span_id="b" * 16
    )
    assert plain(record, NOW, "INFO", "192.0.2.1", b"curl/8")


def test_the_fields_of_the_trace_are_those_of_the_record():
    """The pieces know the tags of one trace layer, and follow when there are several; a short id is in decimal."""
    some = lines()
    for tags in (TAGS, TAGS, {**TAGS, "dd.env": "other"}, {}):
        for trace_id in ("a" * 32, f"{5:032x}"):
            record = finished(log_tags=tags, trace_id=trace_id, span_id="b" * 16)
            line = json.loads(some(record, NOW, "INFO", None, None))
            assert {
                name: value for name, value in line.items() if name.startswith("dd.")
            } == record.log_fields


@pytest.mark.parametrize(
    "facts",
    [
        {"exception": ValueError()},
        {"error_code": "A_B_C"},
        {"fields": {"a": 1}},
        {"degraded": ("search",)},
        {"close_code": 1000},
        {"user_id": "u"},
        {"status": None},
        {"first_byte_at": None},
        {"first_byte_at": -1.0},
        {"ended_at": None},
        {"ended_at": 0.0005},
        {"method": "BREW"},
        {"path": "/" * 300},
        {"path": "/é"},
        {"path": '/"'},
        {"path": "/eve@example.com"},
        {"request_id": "a\nb"},
        {"outcome": 'o"k'},
    ],
)
def test_what_has_more_to_tell_goes_to_the_encoder(facts):
    """Errors, what the handler has bound, secrets, and text that JSON has to escape are none of the pieces' business."""
    assert plain(finished(**facts), NOW, "INFO", None, None) is None


def test_what_is_remembered_is_bounded():
    """Clients that make up user agents, and apps that make up routes, don't make the process grow."""
    some = lines()
    for number in range(2000):
        record = finished(route=f"/{number}")
        record.path = f"/items/{number}"
        line = some(record, NOW, "INFO", None, b"agent %d" % number)
        assert json.loads(line)["http"]["useragent"] == f"agent {number}"
        assert json.loads(line)["http"]["route"] == f"/{number}"
    some(finished(route="/" * 300), NOW, "INFO", None, b"x" * 400)
    for known in (some._agents, some._frames, some._paths):
        assert 0 < len(known) <= 1024
    assert all(key[-1] != "/" * 300 for key in some._frames)
    assert b"x" * 400 not in some._agents


@pytest.mark.parametrize("route", ["/\ud800", '/"x"'])
def test_an_odd_route_is_json_all_the_same(route):
    """A route is escaped once, however it is written."""
    record = finished(route=route)
    line = plain(record, NOW, "INFO", None, None)
    assert line is not None
    assert json.loads(line) == json.loads(encode(formatter._request(record, NOW, "INFO", None, None)))


def test_a_line_may_have_no_constant_fields():
    """Without a service, an environment and a version the line is JSON all the same."""
    line = lines(Redactor(), {})(finished(), NOW, "INFO", None, None)
    assert json.loads(line)["message"] == "GET /items/7 200"


def test_the_line_of_a_request_is_made_of_pieces_when_it_can_be(monkeypatch):
    """The formatter asks for the pieces first, unless there is a query or a sample rate to tell."""
    monkeypatch.setattr(formatter, "_plain", lambda *_: b"pieces")
    assert formatter.request(finished()) == b"pieces"
    assert formatter.request(finished(), query=b"a=1") != b"pieces"
    assert formatter.request(finished(), sample_rate=0.5) != b"pieces"
