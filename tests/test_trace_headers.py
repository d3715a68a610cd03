"""Trace headers read together: which one counts, and what the other one adds."""

import pytest

from asgi_resilience.trace_headers import hide_trace, read_trace

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STANDARD = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())
NOT_SAMPLED = (b"traceparent", f"00-{TRACE}-{SPAN}-00".encode())
SAME = [
    (b"x-datadog-trace-id", str(int(TRACE[16:], 16)).encode()),
    (b"x-datadog-parent-id", str(int(SPAN, 16)).encode()),
    (b"x-datadog-tags", f"_dd.p.tid={TRACE[:16]},_dd.p.dm=-4".encode()),
]
OTHER = [(b"x-datadog-trace-id", b"5"), (b"x-datadog-tags", b"_dd.p.dm=-4")]


def priority(value):
    return (b"x-datadog-sampling-priority", value)


@pytest.mark.parametrize(
    ("headers", "trace_id", "decided", "sampled", "tags"),
    [
        ([STANDARD], TRACE, 1, True, None),
        ([NOT_SAMPLED], TRACE, 0, False, None),
        ([STANDARD, *SAME], TRACE, 1, True, "_dd.p.dm=-4"),
        ([STANDARD, *SAME, priority(b"2")], TRACE, 2, True, "_dd.p.dm=-4"),
        ([STANDARD, *SAME, priority(b"-1")], TRACE, -1, False, "_dd.p.dm=-4"),
        ([STANDARD, *SAME, priority(b"9")], TRACE, 1, True, "_dd.p.dm=-4"),
        ([STANDARD, *OTHER, priority(b"-1")], TRACE, 1, True, None),
        ([*SAME, priority(b"2")], TRACE, 2, True, "_dd.p.dm=-4"),
        (SAME, TRACE, None, None, "_dd.p.dm=-4"),
        ([*SAME, priority(b"1"), priority(b"1")], TRACE, None, None, "_dd.p.dm=-4"),
    ],
)
def test_the_standard_names_the_trace_and_datadog_says_why_it_is_kept(
    headers, trace_id, decided, sampled, tags
):
    """Of the same trace, Datadog's priority is finer than the flag; of another one, it means nothing."""
    trace = read_trace(headers)
    assert trace.parent.trace_id == trace_id
    assert (trace.priority, trace.sampled, trace.tags) == (decided, sampled, tags)


@pytest.mark.parametrize(
    "headers", [[], [(b"x-request-id", b"1")], [(b"tracestate", b"a=1")], [STANDARD] * 2]
)
def test_without_an_id_there_is_no_trace(headers):
    """Headers that name no trace, or two, tell nothing."""
    assert read_trace(headers) is None


def test_a_tracestate_belongs_to_its_traceparent():
    """Where the trace is Datadog's, a tracestate is nobody's."""
    assert read_trace([STANDARD, (b"tracestate", b"a=1")]).tracestate == "a=1"
    assert read_trace([*SAME, (b"tracestate", b"a=1")]).tracestate is None


def test_what_is_hidden_is_every_header_of_a_tracer():
    """The standard's, Datadog's, Zipkin's, and baggage, in any spelling; other headers stay, in their order."""
    names = [
        "TraceParent",
        "tracestate",
        "X-Datadog-Trace-Id",
        "x-datadog-origin",
        "b3",
        "X-B3-Sampled",
        "baggage",
    ]
    kept = [(b"host", b"a"), (b"x-b3", b"no header of theirs"), (b"x-request-id", b"1")]
    scope = {"headers": [kept[0], *((name.encode(), b"1") for name in names), *kept[1:]]}
    hide_trace(scope)
    assert scope["headers"] == kept
