"""The command line: `python -m benchmarks [QUESTION ...] [--quick]`."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Protocol, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import budgets, report
from benchmarks.answer import Answer, spell
from benchmarks.timing import Effort

__all__ = ("QUESTIONS", "main")

QUESTIONS: Mapping[str, str] = {
    "layers": "layers",
    "peers": "peers",
    "server": "server",
    "streaming": "streaming",
    "websocket": "websocket",
    "client": "client",
    "logging": "log_lines",  # a module of its own name would be taken for that of the standard library
    "memory": "memory",
    "quota": "quota",
    "scale": "scale",
    "overload": "overload",
}
"""What can be asked, and the module that answers."""


class Question(Protocol):
    """What every question's module has."""

    QUESTION: str

    def steps(self, effort: Effort) -> int: ...
    def answer(self, effort: Effort, progress: Callable[[], None]) -> Answer: ...


def main(*questions: str) -> None:
    """Answer questions, print the tables, write the results, judge the budgets.

    A question that fails is told of, and the others are answered all the same; the exit status is 1 then.

    Args:
        questions: Come before those on the command line.
    """
    asked = _parse([*questions, *sys.argv[1:]])
    effort = Effort.of(quick=asked.quick, rounds=asked.rounds)
    console = Console()
    verdicts: list[budgets.Verdict] = []
    failed: list[str] = []
    names = asked.questions or [*QUESTIONS]
    for number, name in enumerate(names, 1):
        try:
            module = cast("Question", import_module(f"benchmarks.{QUESTIONS[name]}"))
            with _progress(console, f"{name} ({number} of {len(names)})", module.steps(effort)) as progress:
                answer = module.answer(effort, progress)
            console.print(f"\n[bold]{answer.question}[/bold]")
            report.show(answer, console)
            if asked.save:
                console.print(f"[dim]written to {report.save(answer, effort)}[/dim]")
            verdicts += budgets.judge(name, answer.figures)
        except Exception:
            console.print_exception()
            failed.append(name)
    code = _tell(verdicts, console)
    if failed:
        console.print(f"[red]without an answer[/red]: {', '.join(failed)}")
    raise SystemExit(1 if failed else code)


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what the layers cost, in ratios to a named baseline of the same run.",
        epilog=f"questions: {', '.join(QUESTIONS)}; benchmarks/README.md tells what they ask",
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="which to answer; all without one")
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds: enough for the budgets, not for the record"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="how many rounds, in place of the usual number"
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help="write the answers to benchmarks/results and into the documentation",
    )
    asked = parser.parse_args(arguments)
    unknown = set(asked.questions) - QUESTIONS.keys()
    if unknown:
        parser.error(f"no such question: {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")
    return asked


@contextmanager
def _progress(console: Console, name: str, steps: int) -> Iterator[Callable[[], None]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=steps)
        yield lambda: bar.advance(task)


def _tell(verdicts: Sequence[budgets.Verdict], console: Console) -> int:
    for verdict in verdicts:
        budget = verdict.budget
        limit = f"at most {budget.most:g}" if budget.most is not None else f"at least {budget.least:g}"
        word = (
            "[green]holds[/green]"
            if verdict.holds
            else "[red]breaks[/red]"
            if verdict.fails
            else "[yellow]noisy[/yellow]"
        )
        goal = "" if budget.goal is None else f", goal {budget.goal:g}"
        console.print(f"{word} {budget.figure} = {spell(verdict.value)} ({limit}{goal})")
        if not verdict.holds:
            console.print(f"       {budget.reason}")
    return 1 if any(verdict.fails for verdict in verdicts) else 0
