"""The game day: `python -m examples.inference_service.gameday [--rehearsal] [--svg FILE] [--report FILE]`.

Exit code 1 when a promise was broken, 2 when there is something that must not be.
"""

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path

from rich.console import Console
from rich.live import Live

from examples.inference_service.gameday.board import board
from examples.inference_service.gameday.budgets import Budgets
from examples.inference_service.gameday.ledger import Ledger
from examples.inference_service.gameday.report import report
from examples.inference_service.gameday.story import BROKEN, STORY
from examples.inference_service.gameday.timeline import timeline
from examples.inference_service.gameday.traffic import Traffic
from examples.inference_service.gameday.verdict import violations
from examples.inference_service.limits import REHEARSAL, Limits
from examples.inference_service.parts.system import Options, System, running, stop_at_sigterm

_PATIENCE = 30.0
"""Seconds by which the last chapter may be longer."""


def main() -> int:
    """Start everything, break it, mend it, and tell."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.inference_service.gameday",
        description="Break everything, one after the other.",
    )
    parser.add_argument("--rehearsal", action="store_true", help="half a minute, with short timeouts")
    parser.add_argument("--rate", type=float, default=25.0, help="requests a second (default: 25)")
    parser.add_argument("--svg", type=Path, help="where to draw the timeline")
    parser.add_argument("--report", type=Path, help="where to write the report (Markdown)")
    parser.add_argument("--log", type=Path, help="where to keep the log of the service")
    parser.add_argument("--agent", metavar="HOST[:PORT]", help="a Datadog Agent: traces and metrics go there")
    arguments = parser.parse_args()
    stop_at_sigterm()
    limits = REHEARSAL if arguments.rehearsal else Limits()
    budgets, console = Budgets(), Console()
    options = Options(agent=arguments.agent, rehearsal=arguments.rehearsal, quiet=True)
    with running(options) as system:
        if elsewhere := BROKEN.difference(system.parts):
            console.print(
                f"A game day breaks {', '.join(sorted(elsewhere))}: not where it is somebody else's."
            )
            return 2
        assert system.service.output is not None
        ledger = Ledger()
        log = ledger.read_log(system.service.output, arguments.log)
        asyncio.run(_play(system, ledger, budgets, console, limits, arguments.rate))
    log.join()
    budgets.count(ledger.answers)
    budgets.close(ledger.now())
    promises = violations(ledger, limits)
    text = report(ledger, budgets, promises)
    console.print(board(ledger, budgets, 0))
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if arguments.report:
        arguments.report.write_text(f"{text}\n", encoding="utf-8")
    if arguments.svg:
        arguments.svg.write_text(timeline(ledger), encoding="utf-8")
    return 1 if any(broken for _, broken in promises) else 0


async def _play(
    system: System, ledger: Ledger, budgets: Budgets, console: Console, limits: Limits, rate: float
) -> None:
    """The story, under load, on the wall."""
    rehearsal = limits is REHEARSAL
    traffic = Traffic(system, ledger, limit=limits.request, rate=rate)
    with Live(console=console, auto_refresh=False, transient=True) as live:

        async def refresh() -> None:
            while True:
                live.update(board(ledger, budgets, traffic.open), refresh=True)
                await asyncio.sleep(0.5)

        wall = asyncio.create_task(refresh())
        for chapter in STORY:
            ledger.chapters.append((chapter.title, ledger.now()))
            beginning = asyncio.create_task(chapter.begin(system))
            seconds = chapter.rehearsal_seconds if rehearsal else chapter.seconds
            await traffic.run(ledger.now() + seconds)
            await beginning
        give_up = ledger.now() + _PATIENCE
        while ledger.now() < give_up and set(ledger.breakers().values()) != {"closed"}:
            await traffic.run(ledger.now() + 0.5)  # where a server takes its time to come back
        await traffic.end()
        ledger.finished_at(ledger.now())
        wall.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await wall


if __name__ == "__main__":
    sys.exit(main())
