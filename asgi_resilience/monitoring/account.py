"""A Datadog account, through `datadog.api`: how objects are made, changed, deleted and listed.

Errors raise: left to itself, the client of `datadog` hands them back as a result like any other.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from asgi_resilience.monitoring.json_values import is_array, is_object
from asgi_resilience.monitoring.objects import Kind

__all__ = ("Account", "DatadogError")

_PAGE: Final = 100


class DatadogError(Exception):
    """Datadog could not be reached, or has refused what it was asked for; the message says which and why."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    path: str
    version: str = "v1"
    update: str = "PUT"


_ENDPOINTS: Final[dict[Kind, _Endpoint]] = {
    "monitor": _Endpoint("monitor"),
    "slo": _Endpoint("slo"),
    "dashboard": _Endpoint("dashboard"),
    "log-index": _Endpoint("logs/config/indexes"),
    "log-pipeline": _Endpoint("logs/config/pipelines"),
    "downtime": _Endpoint("downtime", "v2", "PATCH"),
}
_INDEX_ORDER: Final = "logs/config/index-order"


class Account:
    """What the keys give access to. There is one at a time in a process, as `datadog` keeps its keys in a module.

    Args:
        api_key: Datadog's API key.
        app_key: An application key that may read and write monitors, dashboards, SLOs, downtimes and log configuration.
        host: Base address of the API.

    Raises:
        ImportError: The package `datadog` is not installed.
    """

    __slots__ = ("_host",)

    def __init__(self, api_key: str, app_key: str, host: str = "https://api.datadoghq.com") -> None:
        try:
            from datadog import initialize  # noqa: PLC0415 - optional, and slow to import
        except ImportError as error:
            raise ImportError("this needs datadog: pip install 'asgi-resilience[datadog]'") from error
        initialize(
            api_key=api_key,
            app_key=app_key,
            api_host=host,
            host_name="-",
            hostname_from_config=False,
            mute=False,
        )
        self._host = host

    def create(self, kind: Kind, body: dict[str, Any]) -> str | int:
        """Make an object, and give its id."""
        endpoint = _ENDPOINTS[kind]
        answer = self.call("POST", endpoint.path, endpoint.version, _sent(kind, body))
        if kind == "log-index":
            return str(body["name"])
        made = answer["data"] if kind in ("slo", "downtime") else answer
        created: str | int = made[0]["id"] if is_array(made) else made["id"]
        return created

    def update(self, kind: Kind, identity: str | int, body: dict[str, Any]) -> None:
        """Make an object what the body says."""
        endpoint = _ENDPOINTS[kind]
        if kind == "log-index":  # its name stands in the address, and can't be changed
            body = {name: value for name, value in body.items() if name != "name"}
        path = f"{endpoint.path}/{identity}"
        self.call(endpoint.update, path, endpoint.version, _sent(kind, body, identity))

    def delete(self, kind: Kind, identity: str | int) -> None:
        """Delete an object; a downtime is cancelled."""
        endpoint = _ENDPOINTS[kind]
        self.call("DELETE", f"{endpoint.path}/{identity}", endpoint.version)

    def log_index_order(self) -> list[str]:
        """The names of all log indexes of the account; a line goes into the first that it matches."""
        order: list[str] = self.call("GET", _INDEX_ORDER)["index_names"]
        return order

    def set_log_index_order(self, names: list[str]) -> None:
        """Have the indexes asked in this order."""
        self.call("PUT", _INDEX_ORDER, body={"index_names": names})

    def pages(
        self,
        path: str,
        start: str,
        limit: str,
        *,
        field: str = "",
        version: str = "v1",
        step: int = _PAGE,
        **query: Any,
    ) -> Iterator[dict[str, Any]]:
        """All of a long list.

        Args:
            path: Of the list.
            start: Name of the parameter that says where a page starts.
            limit: Name of the parameter for the length of a page.
            field: Of the answer that holds the list; empty: the answer is the list.
            version: Of the API.
            step: By how much `start` grows from page to page.
            query: Other parameters.
        """
        at = 0
        while True:
            answer = self.call("GET", path, version, query={**query, start: at, limit: _PAGE})
            page: list[dict[str, Any]] = answer[field] if field else answer
            yield from page
            if len(page) < _PAGE:
                return
            at += step

    def events(self, search: str, since: float) -> Iterator[dict[str, Any]]:
        """Events that match a search, oldest first.

        Args:
            search: In the syntax of Datadog's event explorer.
            since: Seconds since the epoch.
        """
        query: dict[str, Any] = {
            "filter[query]": search,
            "filter[from]": int(since * 1000),
            "sort": "timestamp",
            "page[limit]": 1000,
        }
        while True:
            answer = self.call("GET", "events", "v2", query=query)
            yield from answer["data"]
            after = answer.get("meta", {}).get("page", {}).get("after")
            if not after:
                return
            query["page[cursor]"] = after

    def call(
        self,
        method: str,
        path: str,
        version: str = "v1",
        body: dict[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """One request.

        Raises:
            DatadogError: There was no answer, or one that says no.
        """
        from datadog.api.api_client import APIClient  # noqa: PLC0415 - optional
        from datadog.api.exceptions import DatadogException  # noqa: PLC0415

        submit: Callable[..., Any] = APIClient.submit
        try:
            return submit(method, path, version, body, **(query or {}))
        except (DatadogException, ValueError) as error:
            reason: Any = error.args[0] if error.args else ""
            told = "; ".join(map(str, reason["errors"])) if is_object(reason) else str(error)
            raise DatadogError(f"{method} {self._host}/api/{version}/{path}: {told}") from None


def _sent(kind: Kind, body: dict[str, Any], identity: str | int | None = None) -> dict[str, Any]:
    if kind != "downtime":
        return body
    known = {} if identity is None else {"id": identity}
    return {"data": {"type": "downtime", **known, "attributes": body}}
