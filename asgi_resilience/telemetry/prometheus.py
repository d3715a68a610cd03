"""The totals since the start of the process in Prometheus's text format 0.0.4.

Counters and histograms only grow, which is what `rate()` and `histogram_quantile()` need. Dots of a name become underscores,
a counter ends in `_total`, and a tag `key:value` is the label `key="value"`. Durations are in milliseconds, as everywhere here.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Final, TypeVar

from asgi_resilience.metric_names import METRICS
from asgi_resilience.metric_sink import Series, Tags
from asgi_resilience.telemetry.windows import BOUNDS, Total, Totals

__all__ = ("CONTENT_TYPE", "render")

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_T = TypeVar("_T")
_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9_]")


def render(totals: Totals) -> str:
    """The text of a scrape."""
    return "".join(f"{line}\n" for line in _lines(totals))


def _lines(totals: Totals) -> Iterator[str]:
    for name, counters in _families(totals.counters):
        family = f"{_name(name).removesuffix('_total')}_total"
        yield from _head(name, family, "counter")
        for tags, value in counters:
            yield f"{family}{_labels(tags)} {_number(value)}"
    for name, gauges in _families(totals.gauges):
        yield from _head(name, _name(name), "gauge")
        for tags, value in gauges:
            yield f"{_name(name)}{_labels(tags)} {_number(value)}"
    for name, histograms in _families(totals.histograms):
        yield from _head(name, _name(name), "histogram")
        for tags, total in histograms:
            yield from _histogram(_name(name), tags, total)


def _histogram(family: str, tags: Tags, total: Total) -> Iterator[str]:
    for bound, count in zip(BOUNDS, total.below, strict=True):
        yield f"{family}_bucket{_labels(tags, _number(bound))} {count}"
    yield f"{family}_bucket{_labels(tags, '+Inf')} {total.count}"
    yield f"{family}_sum{_labels(tags)} {_number(total.total)}"
    yield f"{family}_count{_labels(tags)} {total.count}"


def _families(series: Mapping[Series, _T]) -> Iterator[tuple[str, list[tuple[Tags, _T]]]]:
    """The series of one name together, as the format asks for."""
    ordered = sorted(series.items(), key=lambda item: item[0])
    for name, group in groupby(ordered, key=lambda item: item[0][0]):
        yield name, [(tags, value) for (_, tags), value in group]


def _head(name: str, family: str, kind: str) -> Iterator[str]:
    metric = METRICS.get(name)
    if metric is not None:
        unit = f" Unit: {metric.unit}." if metric.unit else ""
        yield f"# HELP {family} {_escaped(metric.description + unit)}"
    yield f"# TYPE {family} {kind}"


def _labels(tags: Tags, bound: str | None = None) -> str:
    values: dict[str, str] = {}
    for tag in tags:
        key, found, value = tag.partition(":")
        label = _name(key)
        value = value if found else "true"
        # A label has one value; a tag may be there twice.
        values[label] = f"{values[label]},{value}" if label in values else value
    if bound is not None:
        values["le"] = bound
    inner = ",".join(f'{label}="{_escaped(value, quoted=True)}"' for label, value in values.items())
    return f"{{{inner}}}" if inner else ""


def _name(name: str) -> str:
    name = _FOREIGN.sub("_", name)
    return f"_{name}" if name[:1].isdigit() or not name else name


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quoted else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
