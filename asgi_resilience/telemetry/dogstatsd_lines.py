"""A batch in the words of DogStatsD's protocol, in packets that an agent takes in one piece.

    api.requests.total:42|c|#method:GET,status:200
    api.requests.duration:12.5:9.1:30.25|h|#method:GET,status:200

A line holds as many observations of a histogram as fit (protocol 1.1, agents from 6.25 and 7.25 on), so a request costs
about six bytes, and each observation arrives: none is sampled.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from asgi_resilience.metric_sink import Tags
from asgi_resilience.telemetry.batch import Batch

__all__ = ("packets",)

_FOREIGN = re.compile(r"[^A-Za-z0-9_.]")
_LONGEST_NAME = 200  # Datadog cuts off more
_SMALL = 999_999.0  # what is below has no exponent with six digits


def packets(
    batch: Batch, size: int, fields: Callable[[Tags], str], *, distribution: bool = False
) -> Iterator[bytes]:
    """Packets of up to `size` bytes; longer ones only where the tags of one line are.

    Args:
        batch: The numbers.
        size: Of a packet, in bytes.
        fields: Gives what follows the type of a line that has these tags, such as `|#env:test`.
        distribution: Send histograms as distributions.
    """
    gathered: list[bytes] = []
    room = size
    for line in _lines(batch, size, fields, "d" if distribution else "h"):
        encoded = line.encode()
        if len(encoded) + 1 > room and gathered:
            yield b"".join(gathered)
            gathered, room = [], size
        gathered += (encoded, b"\n")
        room -= len(encoded) + 1
    if gathered:
        yield b"".join(gathered)


def _lines(batch: Batch, size: int, fields: Callable[[Tags], str], kind: str) -> Iterator[str]:
    for (name, tags), value in batch.counters.items():
        yield f"{_name(name)}:{_number(value)}|c{fields(tags)}"
    for (name, tags), value in batch.gauges.items():
        yield f"{_name(name)}:{_number(value)}|g{fields(tags)}"
    for (name, tags), values in batch.histograms.items():
        head, tail = f"{_name(name)}:", f"|{kind}{fields(tags)}"
        room = size - len(head.encode()) - len(tail.encode()) - 1
        for part in _parts(values, room):
            yield f"{head}{part}{tail}"


def _parts(values: Sequence[float], room: int) -> Iterator[str]:
    """The values, joined by colons in strings of up to `room` characters; of one value at least."""
    if min(values) > -_SMALL and max(values) < _SMALL:
        text = (":%.6g" * len(values) % tuple(values))[1:]  # one call for all of them: a tenth of the time
    else:
        text = ":".join(map(_number, values))
    begin = 0
    while len(text) - begin > room:
        end = text.rfind(":", begin, begin + max(0, room) + 1)
        if end < 0:
            end = text.find(":", begin)
        if end < 0:
            break
        yield text[begin:end]
        begin = end + 1
    yield text[begin:]


def _number(value: float) -> str:
    """Whole numbers in all their digits, others in six: more than anybody measures."""
    if value == int(value):
        return str(int(value))
    text = f"{value:.6g}"
    return text if "e" not in text else repr(value)


@lru_cache(maxsize=1024)
def _name(name: str) -> str:
    """The name in the characters that Datadog takes: others would end the name, or the line, early."""
    return _FOREIGN.sub("_", name)[:_LONGEST_NAME]
