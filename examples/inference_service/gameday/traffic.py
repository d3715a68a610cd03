"""Constant load: so many requests a second, whether they are answered or not, as users ask."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from examples.inference_service.gameday.ledger import Answer, Ledger
from examples.inference_service.parts.matches import MATCHES
from examples.inference_service.parts.system import System

__all__ = ("Traffic",)

_ENVELOPE: Final = {"code", "message", "details", "timestamp", "request_id", "documentation_url"}
_FIRST_ERROR: Final = 400
_MARGIN: Final = 5.0
"""Seconds that a client waits beyond what it was promised: whoever needs them has broken the promise."""


@dataclass(frozen=True, slots=True)
class _Kind:
    what: str
    method: str
    path: str
    weight: int
    token: str = "full"


_KINDS: Final = (
    _Kind("match", "GET", "/matches/{match}", 50),
    _Kind("newest prediction", "GET", "/matches/{match}/predictions", 30),
    _Kind("new prediction", "POST", "/matches/{match}/predictions", 12),
    _Kind("unknown match", "GET", "/matches/match_unknown", 2),
    _Kind("malformed id", "GET", "/matches/%27%20OR%201=1", 2),
    _Kind("expired token", "GET", "/matches/{match}", 2, token="expired"),
    _Kind("not allowed", "POST", "/matches/{match}/predictions", 1, token="reader"),
    _Kind("no such page", "GET", "/nothing/here", 1),
)


class Traffic:
    """Asks, and writes down what comes back.

    Args:
        system: Whom it asks.
        ledger: Where it writes.
        limit: Seconds in which a request must be answered.
        rate: Requests a second.
    """

    def __init__(self, system: System, ledger: Ledger, *, limit: float, rate: float) -> None:
        self._ledger = ledger
        self._pause = 1 / rate
        self._tokens = {
            "full": system.token("read", "predict"),
            "reader": system.token("read"),
            "expired": system.token("read", seconds=-1),
        }
        self._client = httpx2.AsyncClient(
            base_url=system.url,
            timeout=limit + _MARGIN,
            limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=100),
        )
        self._asked = 0
        self._open: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """How many requests wait for an answer."""
        return len(self._open)

    async def run(self, until: float) -> None:
        """Ask until the ledger's clock says so."""
        due = self._ledger.now()
        while due < until:
            task = asyncio.create_task(self._ask())
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            due += self._pause
            await asyncio.sleep(max(0.0, due - self._ledger.now()))

    async def end(self) -> None:
        """Wait for the answers that are missing."""
        if self._open:
            await asyncio.wait(self._open)
        await self._client.aclose()

    async def _ask(self) -> None:
        kind = random.choices(_KINDS, [each.weight for each in _KINDS])[0]
        self._asked += 1
        request_id = f"req_gameday_{self._asked:06}"
        path = kind.path.format(match=random.choice(MATCHES).id)
        headers = {"X-Request-ID": request_id, "Authorization": f"Bearer {self._tokens[kind.token]}"}
        began = self._ledger.now()
        try:
            response = await self._client.request(kind.method, path, headers=headers)
        except httpx2.HTTPError as error:
            problem = f"no answer: {type(error).__name__}"
            answer = Answer(began, self._ledger.now() - began, request_id, kind.what, 0, None, (), problem)
        else:
            answer = _answer(kind.what, began, self._ledger.now() - began, request_id, response)
        self._ledger.answers.append(answer)


def _answer(what: str, began: float, seconds: float, request_id: str, response: httpx2.Response) -> Answer:
    degraded = tuple(filter(None, response.headers.get("x-degraded", "").split(", ")))
    body: Any = None
    problem = lost_id = code = None
    try:
        body = response.json()
    except ValueError:
        problem = "the body is no JSON"
    error = body.get("error") if isinstance(body, dict) else None
    if response.headers.get("x-request-id") != request_id:
        lost_id = f"the header says {response.headers.get('x-request-id')}"
    if response.status_code >= _FIRST_ERROR:
        if isinstance(error, dict) and error.keys() == _ENVELOPE:
            code = error["code"]
            if error["request_id"] != request_id:
                lost_id = f"the envelope says {error['request_id']}"
        else:
            problem = problem or "an error outside of the envelope"
    return Answer(began, seconds, request_id, what, response.status_code, code, degraded, problem, lost_id)
