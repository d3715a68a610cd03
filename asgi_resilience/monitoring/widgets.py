"""The widgets that the dashboards are made of."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

__all__ = ("group", "logs", "monitors", "note", "number", "objective", "series", "spans", "status", "top")

Widget = dict[str, Any]


def group(title: str, widgets: Sequence[Widget]) -> Widget:
    """Widgets below one title."""
    return {
        "definition": {"type": "group", "title": title, "layout_type": "ordered", "widgets": list(widgets)}
    }


def series(
    title: str,
    formulas: Mapping[str, str],
    queries: Mapping[str, str],
    *,
    display: Literal["line", "bars", "area"] = "line",
    line: float | None = None,
) -> Widget:
    """Numbers over time.

    Args:
        title: Of the widget, with the unit.
        formulas: Of the names of the queries, by what they are called in the legend.
        queries: By their names.
        display: How they are drawn.
        line: Where an alert begins.
    """
    definition: Widget = {
        "type": "timeseries",
        "title": title,
        "show_legend": True,
        "legend_layout": "auto",
        "requests": [
            {
                "response_format": "timeseries",
                "queries": _queries(queries),
                "formulas": [{"formula": each, "alias": alias} for alias, each in formulas.items()],
                "display_type": display,
            }
        ],
    }
    if line is not None:
        definition["markers"] = [{"value": f"y = {line:g}", "display_type": "error dashed", "label": "alert"}]
    return {"definition": definition}


def number(
    title: str,
    formula: str,
    queries: Mapping[str, str],
    *,
    aggregator: Literal["avg", "sum", "max", "last"] = "avg",
    unit: str = "",
    worse: Literal[">", "<"] | None = None,
    limit: float = 0,
) -> Widget:
    """One number about the whole time that is shown; red where it is `worse` than `limit`."""
    request: Widget = {
        "response_format": "scalar",
        "queries": [{**each, "aggregator": aggregator} for each in _queries(queries)],
        "formulas": [{"formula": formula}],
    }
    if worse is not None:
        good: Literal[">=", "<="] = "<=" if worse == ">" else ">="
        request["conditional_formats"] = [
            {"comparator": worse, "value": limit, "palette": "white_on_red"},
            {"comparator": good, "value": limit, "palette": "white_on_green"},
        ]
    definition: Widget = {
        "type": "query_value",
        "title": title,
        "autoscale": True,
        "precision": 2,
        "requests": [request],
    }
    if unit:
        definition["custom_unit"] = unit
    return {"definition": definition}


def top(title: str, query: str, *, aggregator: Literal["avg", "sum", "max"] = "sum") -> Widget:
    """The ten groups with the greatest number."""
    request = {
        "response_format": "scalar",
        "queries": [{**each, "aggregator": aggregator} for each in _queries({"a": query})],
        "formulas": [{"formula": "a", "limit": {"count": 10, "order": "desc"}}],
    }
    return {"definition": {"type": "toplist", "title": title, "requests": [request]}}


def spans(title: str, search: str) -> Widget:
    """How many spans match a search, by resource."""
    query = {
        "data_source": "spans",
        "name": "a",
        "search": {"query": search},
        "indexes": ["trace-search"],
        "compute": {"aggregation": "count"},
        "group_by": [
            {"facet": "resource_name", "limit": 10, "sort": {"aggregation": "count", "order": "desc"}}
        ],
    }
    request = {
        "response_format": "timeseries",
        "queries": [query],
        "formulas": [{"formula": "a"}],
        "display_type": "bars",
    }
    return {"definition": {"type": "timeseries", "title": title, "requests": [request]}}


def objective(title: str, slo_id: str, days: str) -> Widget:
    """How a service level objective stands, and what is left of its budget."""
    return {
        "definition": {
            "type": "slo",
            "title": title,
            "view_type": "detail",
            "view_mode": "overall",
            "time_windows": [days],
            "slo_id": slo_id,
            "show_error_budget": True,
        }
    }


def monitors(title: str, query: str) -> Widget:
    """The monitors that match a search, worst first."""
    return {
        "definition": {
            "type": "manage_status",
            "title": title,
            "query": query,
            "summary_type": "monitors",
            "display_format": "countsAndList",
            "color_preference": "background",
            "hide_zero_counts": True,
            "show_last_triggered": True,
            "sort": "status,asc",
        }
    }


def status(title: str, queries: Mapping[str, str]) -> Widget:
    """1 for up, 0 for down: green or red."""
    return number(title, next(iter(queries)), queries, aggregator="last", worse="<", limit=1)


def logs(title: str, query: str) -> Widget:
    """The last log lines that match a search."""
    return {
        "definition": {
            "type": "log_stream",
            "title": title,
            "query": query,
            "columns": ["core_host", "core_service"],
            "indexes": [],
            "message_display": "expanded-md",
            "show_date_column": True,
            "show_message_column": True,
            "sort": {"column": "time", "order": "desc"},
        }
    }


def note(text: str) -> Widget:
    """Markdown."""
    return {"definition": {"type": "note", "content": text, "background_color": "gray", "show_tick": False}}


def _queries(queries: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"data_source": "metrics", "name": name, "query": query} for name, query in queries.items()]
