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
    texts = map(_number, values)
    gathered = [next(texts)]
    length = len(gathered[0])
    for text in texts:
        length += 1 + len(text)
        if length > room:
            yield ":".join(gathered)
            gathered, length = [], len(text)
        gathered.append(text)
    yield ":".join(gathered)


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
