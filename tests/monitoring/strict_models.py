"""Datadog's own models of its API, read strictly: what they don't know is a mistake, not something to keep."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("datadog_api_client", reason="datadog-api-client is not installed")

from datadog_api_client import Configuration
from datadog_api_client.exceptions import ApiException, OpenApiException
from datadog_api_client.model_utils import (
    ModelComposed,
    ModelNormal,
    ModelSimple,
    UnparsedObject,
    validate_and_convert_types,
)
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.logs_index import LogsIndex
from datadog_api_client.v1.model.logs_index_update_request import LogsIndexUpdateRequest
from datadog_api_client.v1.model.logs_indexes_order import LogsIndexesOrder
from datadog_api_client.v1.model.logs_pipeline import LogsPipeline
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.monitor_update_request import MonitorUpdateRequest
from datadog_api_client.v1.model.service_level_objective import ServiceLevelObjective
from datadog_api_client.v1.model.service_level_objective_request import ServiceLevelObjectiveRequest
from datadog_api_client.v2.model.downtime_create_request import DowntimeCreateRequest
from datadog_api_client.v2.model.downtime_update_request import DowntimeUpdateRequest
from datadog_api_client.v2.model.events_list_response import EventsListResponse

CREATED = {
    "monitor": Monitor,
    "slo": ServiceLevelObjectiveRequest,
    "dashboard": Dashboard,
    "logs/config/indexes": LogsIndex,
    "logs/config/pipelines": LogsPipeline,
    "downtime": DowntimeCreateRequest,
}
UPDATED = {
    "monitor": MonitorUpdateRequest,
    "slo": ServiceLevelObjective,
    "dashboard": Dashboard,
    "logs/config/indexes": LogsIndexUpdateRequest,
    "logs/config/index-order": LogsIndexesOrder,
    "logs/config/pipelines": LogsPipeline,
    "downtime": DowntimeUpdateRequest,
}
EVENTS = EventsListResponse


def mistakes(body: Any, model: type) -> list[str]:
    """What is wrong with a body, by the place in it; nothing when it is right."""
    try:
        parsed = validate_and_convert_types(body, (model,), ["body"], True, True, Configuration())
    except (TypeError, ValueError, ApiException, OpenApiException) as error:
        return [f"{type(error).__name__}: {error}"]
    return list(_unknown(parsed, "body"))


def _unknown(parsed: Any, place: str) -> Iterator[str]:
    if isinstance(parsed, UnparsedObject):
        yield f"{place}: fits no model"
    elif isinstance(parsed, ModelComposed):
        for each in parsed._composed_instances:
            yield from _unknown(each, place)
    elif isinstance(parsed, ModelNormal):
        for name, value in parsed._data_store.items():
            if name not in parsed.attribute_map:
                yield f"{place}.{name}: unknown"
            yield from _unknown(value, f"{place}.{name}")
    elif isinstance(parsed, ModelSimple) and getattr(parsed, "_unparsed", False):
        yield f"{place}: not one of the values"
    elif isinstance(parsed, list):
        for number, each in enumerate(parsed):
            yield from _unknown(each, f"{place}[{number}]")
