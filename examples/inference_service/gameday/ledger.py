"""Everything that was seen: each answer as its client saw it, and what the service's log says."""

import contextlib
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import IO, Final

__all__ = ("Answer", "Change", "Ledger", "percentile")

_DEPENDENCIES: Final = ("postgres", "redis", "s3", "sports-provider", "model-service")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request.

    Attributes:
        began: Seconds since the beginning of the game day.
        seconds: How long it took.
        request_id: As it was sent.
        what: The kind of request.
        status: 0: there was no answer.
        code: The error code.
        degraded: The dependencies for which something else answered.
        problem: What is wrong with the shape of the answer, if anything is.
        lost_id: Where the id of the request was lost, if it was.
    """

    began: float
    seconds: float
    request_id: str
    what: str
    status: int
    code: str | None
    degraded: tuple[str, ...]
    problem: str | None = None
    lost_id: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the service has failed, and not the client."""
        return self.status == 0 or self.status >= 500

    @property
    def kind(self) -> str:
        """`ok`, `degraded`, `4xx` or `5xx`."""
        if self.failed:
            return "5xx"
        if self.status >= 400:
            return "4xx"
        return "degraded" if self.degraded else "ok"


@dataclass(frozen=True, slots=True)
class Change:
    """A circuit breaker has changed its state.

    Attributes:
        at: Seconds since the beginning of the game day.
        dependency: Whose.
        old: Before.
        new: After.
        reason: Why.
    """

    at: float
    dependency: str
    old: str
    new: str
    reason: str


@dataclass(slots=True)
class Ledger:
    """The book of a game day.

    Attributes:
        chapters: Title and beginning of each, in seconds.
        answers: In the order in which they came.
        changes: In the order in which they happened.
        logged: The ids of the requests that have a line in the log.
        unexpected: The messages of log lines with a stack trace.
    """

    chapters: list[tuple[str, float]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    logged: set[str] = field(default_factory=set)
    unexpected: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _ended: float | None = None
    _began_at: float = field(default_factory=time.time)

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began if self._ended is None else self._ended

    def finished_at(self, second: float) -> None:
        """The last chapter is over."""
        self._ended = second

    def read_log(self, output: IO[str], copy: Path | None = None) -> threading.Thread:
        """Read the service's log to its end, in a thread; and keep it, where `copy` says."""
        thread = threading.Thread(target=self._read, args=(output, copy), daemon=True)
        thread.start()
        return thread

    def breakers(self) -> dict[str, str]:
        """The state of each circuit breaker, now."""
        states = dict.fromkeys(_DEPENDENCIES, "closed")
        states.update({change.dependency: change.new for change in self.changes})
        return states

    def between(self, begin: float, end: float) -> list[Answer]:
        """The answers to what was asked in this time."""
        return [each for each in self.answers if begin <= each.began < end]

    def spans(self) -> list[tuple[str, float, float]]:
        """Title, beginning and end of each chapter."""
        ends = [*self.chapters, ("", self.now())]
        return [(title, begin, end) for (title, begin), (_, end) in pairwise(ends)]

    def _read(self, output: IO[str], copy: Path | None) -> None:
        with output, contextlib.ExitStack() as opened:
            kept = (
                None if copy is None else opened.enter_context(copy.open("w", encoding="utf-8", buffering=1))
            )
            for text in output:
                if kept is not None:
                    kept.write(text)
                self._line(text)

    def _line(self, text: str) -> None:
        line = json.loads(text) if text.startswith("{") else {}
        context = line.get("context", {})
        if line.get("logger", {}).get("name") == "asgi_resilience.access":
            self.logged.add(line.get("request_id", ""))
        elif "new" in context and "dependency" in context:
            at = datetime.fromisoformat(line["timestamp"]).timestamp() - self._began_at
            self.changes.append(
                Change(at, context["dependency"], context["old"], context["new"], context["reason"])
            )
        if "stack_trace" in line.get("error", {}) and line["error"].get("code") == "INTERNAL_SERVER_ERROR":
            self.unexpected.append(f"{line['message']}: {line['error'].get('message')}")


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that so many are not above; 0.0 of none."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0
