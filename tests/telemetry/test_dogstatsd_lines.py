"""The words of DogStatsD: every number, in packets of the right size, and nothing but what the protocol allows."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.telemetry import Batch
from asgi_resilience.telemetry.dogstatsd_lines import packets

LINE = re.compile(r"(?P<name>[A-Za-z0-9_.]*):(?P<values>[^|]+)\|(?P<kind>[cghd])(\|#(?P<tags>.*))?")


def batch(counters=(), gauges=(), histograms=()):
    return Batch(0.0, 1.0, dict(counters), dict(gauges), dict(histograms))


def fields(tags):
    return f"|#{','.join(tags)}" if tags else ""


def lines(made):
    return [line for packet in made for line in packet.decode().splitlines()]


def test_an_empty_batch_is_no_packet():
    """There is nothing to say."""
    assert list(packets(batch(), 100, fields)) == []


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=500), st.integers(40, 1500))
def test_every_observation_is_sent_and_no_packet_is_too_long(values, size):
    """Whatever the size of a packet, a histogram arrives with all its values, to six digits, in their order."""
    made = list(packets(batch(histograms={("took", ("a:b",)): values}), size, fields))
    assert max(map(len, made)) <= size
    found = [LINE.fullmatch(line) for line in lines(made)]
    sent = [float(value) for line in found for value in line["values"].split(":")]
    assert sent == pytest.approx(values, rel=1e-5)
    assert {(line["name"], line["kind"], line["tags"]) for line in found} == {("took", "h", "a:b")}


@given(st.dictionaries(st.integers(0, 99), st.integers(0, 10**15), min_size=1), st.integers(30, 1500))
def test_counts_are_exact(counts, size):
    """Whole numbers have all their digits, each series its line, and lines share packets."""
    made = list(
        packets(batch({(f"n{key}", ()): float(value) for key, value in counts.items()}), size, fields)
    )
    assert max(map(len, made)) <= size
    found = [LINE.fullmatch(line) for line in lines(made)]
    assert {line["name"]: int(line["values"]) for line in found} == {
        f"n{key}": value for key, value in counts.items()
    }
    needed = sum(len(line[0]) + 1 for line in found)
    assert len(made) <= needed / (size - 20) + 1 or size < 60


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.0, "3"),
        (-2.5, "-2.5"),
        (0.1 + 0.2, "0.3"),
        (1234.5678, "1234.57"),
        (1e20, "100000000000000000000"),
        (1234567.25, "1234567.25"),
        (1.5e-7, "1.5e-07"),
    ],
)
def test_numbers(value, text):
    """Whole ones exactly, others to six digits, none with an exponent unless it has to be."""
    assert lines(packets(batch(gauges={("g", ()): value}), 100, fields)) == [f"g:{text}|g"]


def test_tags_that_are_longer_than_a_packet_are_sent_alone():
    """Such a line goes out as it is, one value at a time, and the others are not touched by it."""
    tags = ("a:" + "x" * 200,)
    made = list(
        packets(
            batch({("first", ()): 1, ("second", tags): 2}, histograms={("took", tags): [1.5, 2.5]}),
            100,
            fields,
        )
    )
    assert made[0] == b"first:1|c\n"
    assert [packet.partition(b"|")[0] for packet in made[1:]] == [b"second:2", b"took:1.5", b"took:2.5"]


@given(st.text())
def test_a_name_can_end_no_line(name):
    """Characters that Datadog does not take become underscores, also those that would begin another metric."""
    (line,) = lines(packets(batch({(name, ()): 1}), 10_000, fields))
    assert len(LINE.fullmatch(line)["name"]) == min(len(name), 200)


def test_histograms_may_be_distributions():
    """As an option."""
    made = packets(batch(histograms={("took", ()): [1.0]}), 100, fields, distribution=True)
    assert list(made) == [b"took:1|d\n"]
