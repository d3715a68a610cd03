"""A stand-in for Datadog's API on the loopback: it keeps what it is sent, if Datadog's own models accept it."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.monitoring.strict_models import CREATED, UPDATED, mistakes

_PATH = re.compile(r"/api/(v1|v2)/(logs/config/[a-z-]+|[a-z]+)(?:/([^/?]+))?$")
_LISTS = {"slo": "data", "downtime": "data", "dashboard": "dashboards", "logs/config/indexes": "indexes"}
_STARTS = {
    "slo": ("offset", "limit"),
    "downtime": ("page[offset]", "page[limit]"),
    "dashboard": ("start", "count"),
}


@cache
def _mistakes(body: str, model: type) -> list[str]:
    """Judged once: the models are slow, and the tests send the same bodies again and again."""
    return mistakes(json.loads(body), model)


class StandIn:
    """What the account holds, and what was asked of it.

    Attributes:
        kept: Bodies by the resource and the id.
        writes: Every request that changed something: method, resource, id.
        order: Of the log indexes.
        events: What the history of alerts says, in pages.
        refuse: Status and body for the next request; None: it is served.
    """

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {name: {} for name in CREATED}
        self.kept["logs/config/indexes"]["main"] = {"name": "main", "filter": {"query": "*"}}
        self.writes: list[tuple[str, str, str | None]] = []
        self.headers: list[dict[str, str]] = []
        self.order = ["main"]
        self.events: list[list[dict[str, Any]]] = [[]]
        self.queries: list[dict[str, list[str]]] = []
        self.refuse: tuple[int, bytes] | None = None
        self._number = 0

    def answer(
        self, method: str, resource: str, identity: str | None, query: Any, body: Any
    ) -> tuple[int, Any]:
        """Status and body of an answer."""
        if method != "GET":
            self.writes.append((method, resource, identity))
        if resource == "events":
            self.queries.append(query)
            page = int(query.get("page[cursor]", ["0"])[0])
            more = {"meta": {"page": {"after": str(page + 1)}}} if page + 1 < len(self.events) else {}
            return 200, {"data": self.events[page], **more}
        if resource == "logs/config/index-order":
            return self._index_order(method, body)
        kept = self.kept[resource]
        if method == "GET" and identity is None:
            return 200, self._list(resource, query)
        if identity is not None and identity not in kept:
            return 404, {"errors": [f"{resource} {identity} not found"]}
        if method == "GET":
            return 200, kept[identity]
        if method == "DELETE":
            if self._is_needed(resource, identity):
                return 400, {"errors": [f"{resource} {identity} is referenced by something else"]}
            del kept[identity]
            return 200, None
        wrong = _mistakes(json.dumps(body), (CREATED if method == "POST" else UPDATED)[resource])
        if wrong:
            return 400, {"errors": wrong}
        if resource == "slo" and identity is not None and kept[identity]["type"] != body["type"]:
            return 400, {"errors": ["the type of an SLO can't be changed"]}
        return 200, self._keep(resource, identity, body)

    def _is_needed(self, resource: str, identity: str) -> bool:
        if resource == "slo":
            return any(f'"{identity}"' in each["query"] for each in self.kept["monitor"].values())
        monitors = (each.get("monitor_ids", ()) for each in self.kept["slo"].values())
        return resource == "monitor" and any(int(identity) in each for each in monitors)

    def _index_order(self, method: str, body: Any) -> tuple[int, Any]:
        if method == "PUT":
            if sorted(body["index_names"]) != sorted(self.order):
                return 400, {"errors": ["all indexes must be named"]}
            self.order = body["index_names"]
        return 200, {"index_names": self.order}

    def _keep(self, resource: str, identity: str | None, body: Any) -> Any:
        self._number += 1
        new: Any = self._number if resource == "monitor" else f"id-{self._number}"
        if resource == "logs/config/indexes":
            new = identity or body["name"]
            if identity is None:
                self.order.append(new)
        found = new if identity is None else (int(identity) if resource == "monitor" else identity)
        sent = body["data"]["attributes"] if resource == "downtime" else body
        # Datadog sorts tags, and adds much of its own.
        shape = {**sent, "modified": "2026-01-01T00:00:00+00:00", "creator": {"email": "a@example.com"}}
        if "tags" in shape:
            shape["tags"] = sorted(shape["tags"], reverse=True)
        if resource == "monitor":
            shape = {**shape, "options": {**shape["options"], "silenced": {}, "new_host_delay": 300}}
            if shape["type"] == "query alert" and "/" not in shape["query"]:
                shape["type"] = "metric alert"
        if resource == "downtime":
            shape = {"id": found, "type": "downtime", "attributes": {**shape, "status": "scheduled"}}
        elif resource == "logs/config/indexes":
            shape = {**shape, "name": found, "daily_limit": None}
        else:
            shape["id"] = found
        self.kept[resource][str(found)] = shape
        if resource == "slo":
            return {"data": [shape], "error": None}
        return {"data": shape} if resource == "downtime" else shape

    def _list(self, resource: str, query: Any) -> Any:
        everything = list(self.kept[resource].values())
        if resource == "monitor":
            wanted = set(query["monitor_tags"][0].split(","))
            page, size = int(query["page"][0]), int(query["page_size"][0])
            found = [each for each in everything if wanted <= set(each["tags"])]
            return found[page * size : (page + 1) * size]
        if resource == "slo":
            everything = [each for each in everything if query["tags_query"][0] in each["tags"]]
        if resource in _STARTS:
            start, limit = (int(query[name][0]) for name in _STARTS[resource])
            everything = everything[start : start + limit]
        if resource == "dashboard":
            everything = [
                {name: each[name] for name in ("id", "title", "description")} for each in everything
            ]
        return {_LISTS[resource]: everything} if resource in _LISTS else everything


@contextlib.contextmanager
def datadog_stand_in() -> Iterator[tuple[str, StandIn]]:
    """Its address, and what it holds."""
    held = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body leave together: otherwise each answer waits for an acknowledgement

        def do_GET(self) -> None:
            held.headers.append(dict(self.headers))
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            url = urlsplit(self.path)
            found = _PATH.match(url.path)
            assert found, self.path
            if held.refuse is not None:
                status, answer = held.refuse
            else:
                body = json.loads(content) if content else None
                status, said = held.answer(self.command, found[2], found[3], parse_qs(url.query), body)
                answer = b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server looks for these names

        def log_message(self, *arguments: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
