"""A process under callgrind (of valgrind), and what it has counted between marks.

Counting begins when the process asks for it, since a start-up takes six times as long with it. Callgrind writes a dump whenever
the process calls `getloadavg`, a function that nothing else here calls: that is the mark.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ("ENVIRONMENT", "begin", "between", "command", "mark", "why_not")

ENVIRONMENT: Mapping[str, str] = {"PYTHONHASHSEED": "0"}
"""With a seed of its own, each run would count something else."""

mark = os.getloadavg
_EVENTS = re.compile(r"^events: (.+)$", re.MULTILINE)
_TOTALS = re.compile(r"^(?:totals|summary): (.+)$", re.MULTILINE)


def why_not() -> str | None:
    """Why nothing can be counted here; None where it can."""
    return None if shutil.which("valgrind") else "valgrind is not installed"


def command(directory: str, *options: str) -> Sequence[str]:
    """What to put in front of a command; the dumps go to a directory."""
    return (
        "valgrind",
        "-q",
        "--tool=callgrind",
        "--instr-atstart=no",
        "--dump-before=getloadavg",
        f"--callgrind-out-file={directory}/out",
        *options,
    )


def begin() -> None:
    """Have callgrind count this process from now on.

    Raises:
        RuntimeError: It does not.
    """
    asked = subprocess.Popen(
        ["callgrind_control", "--instr=on", str(os.getpid())],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while asked.poll() is None:  # a process that only waits would not hear of it
        pass
    said = asked.communicate()[0]
    if asked.returncode or "OK" not in said:
        raise RuntimeError(f"callgrind_control failed: {said}")


def between(directory: str) -> Mapping[str, int]:
    """What was counted from the second mark to the third, less what was from the first to the second.

    So a process that does the same work in both, but twice as much of it in the second, has told what one part of it costs.
    """
    shorter, longer = (_counts(Path(directory, f"out.{number}")) for number in (2, 3))
    return {event: longer[event] - shorter[event] for event in longer}


def _counts(path: Path) -> Mapping[str, int]:
    text = path.read_text(encoding="utf-8")
    events, totals = _EVENTS.search(text), _TOTALS.search(text)
    if events is None or totals is None:
        raise RuntimeError(f"{path} has no total")
    return dict(zip(events[1].split(), map(int, totals[1].split()), strict=True))
