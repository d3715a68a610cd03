"""Trace headers: what the specifications allow is read, everything else starts a new trace."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgi_resilience.traceparent import (
    TraceParent,
    format_traceparent,
    log_trace_id,
    parse_datadog,
    parse_priority,
    parse_tags,
    parse_traceparent,
    parse_tracestate,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01".encode()
PARENT = TraceParent(TRACE, SPAN, sampled=True)


def in_range(parent):
    """Whether both ids have their digits, and the trace id is not 0."""
    return re.fullmatch("(?!0{32})[0-9a-f]{32}", parent.trace_id) and re.fullmatch(
        "[0-9a-f]{16}", parent.span_id
    )


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_formatted_is_read_back(trace_id, span_id, sampled):
    """A formatted traceparent reads as what it was made from."""
    parent = TraceParent(f"{trace_id:032x}", f"{span_id:016x}", sampled)
    assert parse_traceparent(format_traceparent(parent).encode()) == parent


@given(st.binary(max_size=80))
@example(VALID)
def test_anything_reads_as_a_parent_or_as_nothing(value):
    """No value raises, and what is accepted has ids that are in range (#109)."""
    parent = parse_traceparent(value)
    assert parent is None or (in_range(parent) and parent.span_id != "0" * 16)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        VALID.upper(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        VALID + b"-",
        VALID + b"-what",
        VALID + b" x",
        VALID[:-1],
        VALID + b"0",
        VALID.replace(b"-01", b"-0x"),
        VALID.replace(b"-", b"_"),
        VALID[1:],
        b"cc" + VALID[2:] + b".what",
        VALID + b"\n",
        f"00-{TRACE}-{SPAN}-٠١".encode(),
    ],
)
def test_a_malformed_traceparent_is_none(value):
    """Upper case, zero ids, version ff, wrong lengths and extra fields in version 00 are refused (#109)."""
    assert parse_traceparent(value) is None


@pytest.mark.parametrize("rest", [b"", b"-what-the-future-will-be-like", b"-"])
def test_a_future_version_is_read_by_its_known_part(rest):
    """Of a later version, the part that version 00 defines counts, whatever follows a dash (#109)."""
    assert parse_traceparent(b"cc" + VALID[2:] + rest) == PARENT


def test_white_space_around_the_value_is_not_part_of_it():
    """Optional white space around a field value is ignored (RFC 9110 §5.5)."""
    assert parse_traceparent(b" \t" + VALID + b"\t ") == PARENT


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("fe", False), ("ff", True)])
def test_only_the_lowest_flag_means_sampled(flags, sampled):
    """The other flags are ignored (§3.2.2.5)."""
    parent = parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}".encode())
    assert parent is not None
    assert parent.sampled is sampled


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([b""], None),
        ([b"foo=1"], "foo=1"),
        ([b"foo=1", b"bar=2"], "foo=1,bar=2"),
        ([b"foo=1 , ,\tbar=2"], "foo=1,bar=2"),
        ([b"foo=1,foo=2"], "foo=1,foo=2"),
        ([b"foo=1", b"foo=1"], "foo=1,foo=1"),
        ([b"foo"], None),
        ([b"foo="], None),
        ([b"Foo=1"], None),
        ([b"foo=a=b"], None),
        ([b"foo=\x00"], None),
        ([b"foo=caf\xc3\xa9"], None),
        ([b"0a@b=1"], "0a@b=1"),
        ([b"0a=1"], "0a=1"),
        ([b"a@b@c=1"], "a@b@c=1"),
        ([b"@a=1"], None),
        ([b",".join(b"k%d=1" % n for n in range(32))], ",".join(f"k{n}=1" for n in range(32))),
        ([b",".join(b"k%d=1" % n for n in range(33))], None),
        ([b"foo=" + b"1" * 256], "foo=" + "1" * 256),
        ([b"foo=" + b"1" * 257], None),
        ([b"a=" + b"1" * 254, b"b=" + b"1" * 253], "a=" + "1" * 254 + ",b=" + "1" * 253),
        ([b"a=" + b"1" * 254, b"b=" + b"1" * 254], "a=" + "1" * 254),
        (
            [b"a=" + b"1" * 127, *(b"k%d=" % n + b"1" * 96 for n in range(5))],
            ",".join(f"k{n}=" + "1" * 96 for n in range(5)),
        ),
        ([b"k%02d=" % n + b"1" * 28 for n in range(20)], ",".join(f"k{n:02}=" + "1" * 28 for n in range(15))),
        ([b"a=1" + b" " * 40_000], None),
    ],
)
def test_the_members_of_a_tracestate_are_kept_as_they_are(values, expected):
    """Headers are joined in order; over 32 members or a bad one drop them, over 512 characters some are left out."""
    assert parse_tracestate(values) == expected


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_a_tracestate_never_raises_and_never_grows(values):
    """Whatever is sent, what is kept reads the same when it is read again (#110)."""
    kept = parse_tracestate(values)
    assert kept is None or parse_tracestate([kept.encode()]) == kept


def told(trace_id, span_id, *, sampled=False):
    return TraceParent(f"{trace_id:032x}", f"{span_id:016x}", sampled)


def test_datadog_headers_give_128_bits():
    """The upper half of the trace id is the tag `_dd.p.tid`."""
    parent = parse_datadog(
        b"5227067944695535468", b"7583858654768121590", b"1", b"_dd.p.dm=-0,_dd.p.tid=6b0457f400000000"
    )
    assert parent == TraceParent(
        "6b0457f400000000488a4699fc68976c", f"{7583858654768121590:016x}", sampled=True
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((b"5",), told(5, 0)),
        ((b"5", b"0"), told(5, 0)),
        ((b"5", b"6", b"2"), told(5, 6, sampled=True)),
        ((b"5", b"6", b"0"), told(5, 6)),
        ((b"5", b"6", b"-1"), told(5, 6)),
        ((b"5", b"6", b"", b"_dd.p.tid=XYZ"), told(5, 6)),
        ((b"5", b"6", b"", b"x_dd.p.tid=6b0457f400000000"), told(5, 6)),
        ((b"5", b"6", b"", b"_dd.p.tid=6b0457f400000000," + b"x" * 512), told(5, 6)),
        ((b"18446744073709551615", b"18446744073709551615"), told(2**64 - 1, 2**64 - 1)),
        ((b"0", b"6"), None),
        ((b"", b"6"), None),
        ((b"18446744073709551616", b"6"), None),
        ((b"5", b"18446744073709551616"), None),
        ((b"5", b"x"), None),
        ((b"5", b""), None),
        ((b"-5", b"6"), None),
        ((b"+5", b"6"), None),
        ((b" 5", b"6"), None),
        ((b"5_0", b"6"), None),
        ((b"9" * 21, b"6"), None),
    ],
)
def test_datadog_ids_are_decimal_and_64_bits(headers, expected):
    """An id that is not one voids the headers; a malformed tag voids only itself."""
    assert parse_datadog(*headers) == expected


@given(st.binary(max_size=30), st.binary(max_size=30), st.binary(max_size=5), st.binary(max_size=60))
def test_datadog_headers_never_raise(trace, parent, priority, tags):
    """Whatever is sent is a parent within range, or nothing."""
    found = parse_datadog(trace, parent, priority, tags)
    assert found is None or in_range(found)


@pytest.mark.parametrize(
    ("trace_id", "text"),
    [(f"{2**64 - 1:032x}", "18446744073709551615"), (f"{2**64:032x}", f"{1:016x}{0:016x}")],
)
def test_a_log_line_has_hex_for_128_bits_and_decimal_for_64(trace_id, text):
    """Log lines name traces as Datadog's own integrations do."""
    assert log_trace_id(trace_id) == text


@pytest.mark.parametrize(
    ("value", "priority"),
    [(b"-1", -1), (b"0", 0), (b"1", 1), (b"2", 2), (b"3", None), (b"99", None), (b" 1", None), (b"", None)],
)
def test_a_priority_is_one_of_four(value, priority):
    """Whatever is not one of Datadog's four decisions is none."""
    assert parse_priority(value) == priority


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (b"_dd.p.dm=-4", "_dd.p.dm=-4"),
        (b"_dd.p.dm=-4,_dd.p.tid=6b0457f400000000,_dd.p.usr=a=b", "_dd.p.dm=-4,_dd.p.usr=a=b"),
        (b"other=1,_dd.p.dm=-0", "_dd.p.dm=-0"),
        (b"_dd.p.tid=6b0457f400000000", None),
        (b"other=1", None),
        (b"_dd.p.dm", None),
        (b"_dd.p.dm=-4,", None),
        (b"_dd.p.dm=-4\r\nx: y", None),
        (b"_dd.p.dm=caf\xc3\xa9", None),
        (b"_dd.p.dm=" + b"1" * 512, None),
        (b"", None),
    ],
)
def test_only_tags_that_are_meant_to_travel_do(value, tags):
    """Tags of the trace go on, without the half of its id that is sent anew; what is malformed does not."""
    assert parse_tags(value) == tags
