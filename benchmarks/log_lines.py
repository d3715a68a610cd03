"""What does a log line cost, and what happens to requests when nobody reads the log?"""

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import orjson

from asgi_resilience.context import RequestContext
from asgi_resilience.logs.schema import LineFormatter
from asgi_resilience.logs.setup import SinkHandler
from asgi_resilience.logs.sink import LogSink, default_sink, set_default_sink
from benchmarks import assembly, callgrind, instructions
from benchmarks.answer import PACKAGES, Answer, Table
from benchmarks.subject import everything, http_scope, request_of
from benchmarks.timing import BURST, Effort, Request, Samples, per_request, quartiles

__all__ = ("QUESTION", "answer", "steps", "subjects")

QUESTION = "What does a log line cost, and what happens to requests when nobody reads the log?"
SUBJECTS = "benchmarks.log_lines:subjects"
NOTHING, BASE = "nothing", "orjson and one write"
REQUEST, RECORD = "asgi_resilience, of a request", "asgi_resilience, of a logging record"
LINES = 100  # that are written in the place of one request, so that its own cost vanishes
LOG = Path(tempfile.gettempdir()) / f"benchmarks-{os.getuid()}.log"

FIELDS: Mapping[str, Any] = {
    "service": "orders",
    "environment": "production",
    "version": "1.4.2",
    "http_method": "GET",
    "http_status": 200,
    "path": "/api/v1/orders/42",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "client_ip": "198.51.100.7",
    "bytes_written": 13,
    "request_id": "req_bCTfP3EViV0ekK_M0-ic",
    "duration_ms": 12.75,
}
MESSAGE = "GET /api/v1/orders/42 200"

Write = Callable[[], None]


def subjects() -> dict[str, Request]:
    """What writes a hundred lines, by name; all to the same file, and ours with redaction."""
    set_default_sink(LogSink(_file()))
    writers: dict[str, Write] = {
        NOTHING: lambda: None,
        BASE: _plain(),
        REQUEST: _of_a_request(),
        RECORD: _of_a_record(),
    }
    for name, writer in assembly.log_writers(LOG).items():
        writers[name] = _called(writer)

    def request(write: Write) -> Request:
        async def lines() -> None:
            os.truncate(LOG, 0)
            for _ in range(LINES):
                write()

        return lines

    return {name: request(write) for name, write in writers.items()}


def _called(writer: assembly.LogWriter) -> Write:
    return lambda: writer(MESSAGE, FIELDS)


def _file() -> int:
    return os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _plain() -> Write:
    file = _file()

    def write() -> None:
        os.write(file, orjson.dumps({"message": MESSAGE, **FIELDS}, option=orjson.OPT_APPEND_NEWLINE))

    return write


def _of_a_request() -> Write:
    formatter = LineFormatter(service="orders", environment="production", version="1.4.2")
    record = RequestContext(http_scope())
    record.request_id, record.status, record.outcome = str(FIELDS["request_id"]), 200, "ok"
    record.bytes_sent = 13
    record.ended_at = record.first_byte_at = record.started_at + 0.01275
    agent = str(FIELDS["user_agent"]).encode()
    return lambda: default_sink().write(formatter.request(record, "INFO", "198.51.100.7", agent))


def _of_a_record() -> Write:
    formatter = LineFormatter(service="orders", environment="production", version="1.4.2")
    logger = logging.getLogger("benchmarks.ours")
    logger.handlers, logger.propagate = [SinkHandler(formatter, default_sink())], False
    logger.setLevel(logging.INFO)
    extra = {
        name: value for name, value in FIELDS.items() if name not in ("service", "environment", "version")
    }
    return lambda: logger.info(MESSAGE, extra=extra)


def steps(effort: Effort) -> int:
    """How often `answer` reports progress."""
    return 2 * effort.rounds + 2


def answer(effort: Effort, progress: Callable[[], None] = lambda: None) -> Answer:
    """Measure, on asyncio."""
    found = Answer("logging", QUESTION, packages=(*PACKAGES, "structlog", "python-json-logger"))
    scales = {"CPU time": per_request(SUBJECTS, "asyncio", effort.scaled(1 / 10), progress, 10)}
    reason = "that takes too long for a quick answer" if effort.quick else callgrind.why_not()
    if reason is None:
        counted = instructions.count(SUBJECTS, run=10, burst=10)
        scales["instructions"] = {name: [number] for name, number in counted.items()}
    else:
        found.notes.append(f"Instructions were not counted: {reason}.")
    LOG.unlink(missing_ok=True)
    progress()
    names = [name for name in scales["CPU time"] if name != NOTHING]
    costs = {name: [median(_costs(samples, name)) for samples in scales.values()] for name in names}
    micros = {name: median(_micros(scales["CPU time"], name)) for name in names}
    found.spread |= {f"µs per line: {name}": quartiles(_micros(scales["CPU time"], name)) for name in names}
    found.tables.append(
        Table(
            "A line: in µs of CPU, lines per second, and multiples of one orjson.dumps of the same fields and one write",
            ["µs", "lines/s", *scales],
            {name: [micros[name], 1e6 / micros[name], *costs[name]] for name in names},
        )
    )
    found.picture = Table(
        "A log line, in multiples of one orjson.dumps of the same fields and one write", [*scales], costs
    )
    peers = assembly.log_writers(LOG)
    best = [min(numbers) for numbers in zip(*(costs[name] for name in peers), strict=True)]
    for scale, peer, request, record in zip(scales, best, costs[REQUEST], costs[RECORD], strict=True):
        found.figures[f"best_peer_over_request.{scale.replace(' ', '_')}"] = peer / request
        found.figures[f"best_peer_over_record.{scale.replace(' ', '_')}"] = peer / record
    found.figures["stalled"] = _stalled(effort, progress)
    found.notes.append("Ours redact; the others don't.")
    found.notes.append(
        "All write to one file, the others each line at once and ours from the sink's thread, whose CPU time counts."
    )
    found.notes.append(
        f"With standard output a pipe that nobody reads, a request takes {found.figures['stalled']:.2f} times as long."
    )
    return found


def _micros(samples: Samples, name: str) -> list[float]:
    return [
        (line - nothing) / LINES * 1e6 for line, nothing in zip(samples[name], samples[NOTHING], strict=True)
    ]


def _costs(samples: Samples, name: str) -> list[float]:
    rounds = zip(samples[name], samples[BASE], samples[NOTHING], strict=True)
    return [(line - nothing) / (base - nothing) for line, base, nothing in rounds]


def _stalled(effort: Effort, progress: Callable[[], None]) -> float:
    """How much longer requests take while the log is a pipe that nobody reads and that is full."""
    reading, writing = os.pipe()
    flowing, stalled = LogSink(os.open(os.devnull, os.O_WRONLY)), LogSink(writing)
    request = request_of(everything())

    async def took(sink: LogSink) -> float:
        set_default_sink(sink)
        began = perf_counter()
        tasks = [asyncio.create_task(request()) for _ in range(BURST)]
        await asyncio.wait(tasks)
        return perf_counter() - began

    async def run() -> float:
        set_default_sink(stalled)
        for _ in range(20_000 // BURST):  # more than pipe and buffer hold
            await took(stalled)
        ratios = []
        for _ in range(effort.rounds):
            pair = [await took(flowing), await took(stalled)]
            flowing.flush()
            ratios.append(pair[1] / pair[0])
            progress()
        return median(ratios)

    try:
        return asyncio.run(run())
    finally:
        set_default_sink(flowing)
        os.close(reading)  # the writer fails, and its thread ends its wait


if __name__ == "__main__":
    from benchmarks.command import main

    main("logging")
