"""The headers that carry a trace from one service to the next: W3C `traceparent` and `tracestate`, and Datadog's own.

Everything here is pure, and never raises on what a client may send: what breaks a rule is as good as absent, and the
request starts a new trace.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

__all__ = (
    "Trace",
    "TraceParent",
    "format_traceparent",
    "log_trace_id",
    "parse_datadog",
    "parse_priority",
    "parse_tags",
    "parse_traceparent",
    "parse_tracestate",
)

_MAX_64: Final = (1 << 64) - 1
_FIELDS: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_NO_HIGH_BITS: Final = "0" * 16
_ODD_DIGITS: Final = b"13579bdf"
_INVALID_VERSION: Final = b"ff"
_CURRENT_VERSION: Final = b"00"

_DECIMAL: Final = re.compile(rb"[0-9]{1,20}")
_HIGH_BITS: Final = re.compile(rb"(?:^|,)_dd\.p\.tid=([0-9a-f]{16})(?:,|$)")
_LONGEST_TAGS: Final = 512
_TAG: Final = rb"[\x21-\x2b\x2d-\x3c\x3e-\x7e]+=[\x20-\x2b\x2d-\x7e]+"
_TAGS: Final = re.compile(rb"%s(?:,%s)*" % (_TAG, _TAG))
_PROPAGATED: Final = b"_dd.p."
_UPPER_HALF: Final = b"_dd.p.tid="
_PRIORITIES: Final = {b"-1": -1, b"0": 0, b"1": 1, b"2": 2}

_KEY: Final = rb"[a-z0-9][a-z0-9_\-*/@]{0,255}"
_VALUE: Final = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER: Final = re.compile(_KEY + rb"=" + _VALUE)
_MOST_MEMBERS: Final = 32
_LONGEST_STATE: Final = 512
_LARGE_MEMBER: Final = 128
_LONGEST_INPUT: Final = 32_768


class TraceParent(NamedTuple):
    """Where a request stands in a trace that began elsewhere.

    Attributes:
        trace_id: 32 hex digits, not all 0.
        span_id: Of the caller's span: 16 hex digits, all 0 when it was not told, which only Datadog's headers allow.
        sampled: Whether the caller says that it records the trace.
    """

    trace_id: str
    span_id: str
    sampled: bool = False


@dataclass(slots=True)
class Trace:
    """What is known of a request's place in a trace, besides its ids.

    Attributes:
        parent: The caller's span, as its headers tell. When they were not believed it belongs to another trace.
        tracestate: As it came with a `traceparent` that was believed; to be handed on.
        priority: Datadog's word for whether the trace is kept: -1 and 0 no, 1 and 2 yes, None: nobody has decided.
        tags: The `_dd.p.*` of Datadog's headers that were believed; to be handed on.
        keep: The trace must be kept, whatever the rules of sampling say.
        span: The tracer's span of the request, once it is known.
    """

    parent: TraceParent | None = None
    tracestate: str | None = None
    priority: int | None = None
    tags: str | None = None
    keep: bool = False
    span: Any = None

    @property
    def sampled(self) -> bool | None:
        """Whether the trace is kept, as far as somebody has decided: the tracer, the caller, or `keep`."""
        priority = self.priority if self.span is None else self.span.context.sampling_priority
        return None if priority is None else priority > 0


def parse_traceparent(value: bytes) -> TraceParent | None:
    """Read a `traceparent` header; None when it breaks a rule of W3C Trace Context level 1, §3.2.

    Of a version that is not known yet, the part that version 00 defines is read (§4.1.1).
    """
    found = _FIELDS.fullmatch(value.strip(b" \t"))
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    if version == _INVALID_VERSION or (version == _CURRENT_VERSION and rest is not None):
        return None
    return TraceParent(trace_id.decode(), span_id.decode(), flags[-1] in _ODD_DIGITS)


def format_traceparent(parent: TraceParent) -> str:
    """Write a `traceparent` header of version 00."""
    return f"00-{parent.trace_id}-{parent.span_id}-{'01' if parent.sampled else '00'}"


def parse_tracestate(values: list[bytes]) -> str | None:
    """Join the `tracestate` headers of a request; None when there is nothing in them or a rule of §3.3 is broken.

    Members stay as they are and in their order, a key that comes twice too. With an illegal member, or more than 32 of
    them, the whole is dropped. Above 512 characters whole members are left out, as §3.3.1.5 asks: those of more than
    128 characters first, each time the last one.
    """
    joined = b",".join(values)
    if len(joined) > _LONGEST_INPUT:
        return None
    members = [member for each in joined.split(b",") if (member := each.strip(b" \t"))]
    if len(members) > _MOST_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return None
    while len(state := b",".join(members)) > _LONGEST_STATE:
        large = [number for number, member in enumerate(members) if len(member) > _LARGE_MEMBER]
        del members[large[-1] if large else -1]
    return state.decode("ascii") or None


def parse_datadog(
    trace: bytes, parent: bytes = b"0", priority: bytes = b"", tags: bytes = b""
) -> TraceParent | None:
    """Read `x-datadog-trace-id`, `-parent-id`, `-sampling-priority` and `-tags`; None when an id is not one.

    The trace id is the lower half; the upper one is the tag `_dd.p.tid`, and 0 where that is absent or malformed.
    """
    if not _DECIMAL.fullmatch(trace) or not _DECIMAL.fullmatch(parent):
        return None
    low, span_id = int(trace), int(parent)
    if not 0 < low <= _MAX_64 or span_id > _MAX_64:
        return None
    found = _HIGH_BITS.search(tags) if len(tags) <= _LONGEST_TAGS else None
    high = found[1].decode() if found is not None else f"{0:016x}"
    return TraceParent(f"{high}{low:016x}", f"{span_id:016x}", priority in (b"1", b"2"))


def parse_priority(value: bytes) -> int | None:
    """Read `x-datadog-sampling-priority`: -1 and 0 drop the trace, 1 and 2 keep it; None for anything else."""
    return _PRIORITIES.get(value)


def parse_tags(value: bytes) -> str | None:
    """What of `x-datadog-tags` goes on to the next service: the `_dd.p.*`, without the upper half of the trace id.

    None when nothing does, and when the whole is malformed or longer than 512 characters.
    """
    if len(value) > _LONGEST_TAGS or not _TAGS.fullmatch(value):
        return None
    tags = (
        tag for tag in value.split(b",") if tag.startswith(_PROPAGATED) and not tag.startswith(_UPPER_HALF)
    )
    return b",".join(tags).decode("ascii") or None


def log_trace_id(trace_id: str) -> str:
    """A trace id as it stands in log lines that Datadog joins to traces: its 32 hex digits, or decimal if 64 bits suffice."""
    return str(int(trace_id, 16)) if trace_id.startswith(_NO_HIGH_BITS) else trace_id
