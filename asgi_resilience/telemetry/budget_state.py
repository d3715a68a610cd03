"""The state file of error budgets, read and written in a thread: the event loop never waits for a disk."""

import atexit
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from asgi_resilience.context import report_failure
from asgi_resilience.slo.state_file import StateFile

__all__ = ("BudgetState", "Loaded")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What stood in the file.

    Attributes:
        states: By the names of their objectives.
        problem: Why there are none, where there should be; None when all is well.
    """

    states: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problem: str | None = None


class BudgetState:
    """A state file, the thread that works on it, and what was read.

    It begins with the first question, so that each forked worker has its own; a process that is forked later leaves the
    file to its parent.

    Args:
        path: Of the file.
        states: Gives what is to be saved.
    """

    def __init__(self, path: str | os.PathLike[str], states: Callable[[], Mapping[str, Any]]) -> None:
        self._file = StateFile(path)
        self._states = states
        self._executor: ThreadPoolExecutor | None = None
        self._process = 0
        self._reading: Future[Loaded] | None = None
        self._writing: Future[None] | None = None
        self._usable = True
        self._saved = -1

    def load(self) -> Loaded | None:
        """What stood in the file, exactly once; None while it is being read, and ever after."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "asgi-resilience-slo")
            self._process = os.getpid()
            self._reading = self._executor.submit(self._read)
            atexit.register(self.close)
        reading = self._reading
        if reading is None or not reading.done():
            return None
        self._reading = None
        return reading.result()

    @property
    def loading(self) -> bool:
        """Whether the file is being read."""
        return self._reading is not None and self._process == os.getpid()

    def save(self, at: float) -> None:
        """Write the file, once a minute at most; `at` is in seconds since 1970."""
        minute = int(at // 60)
        if self._executor is None or minute == self._saved or not self._mine():
            return
        if self._writing is None or self._writing.done():
            self._saved = minute
            self._writing = self._executor.submit(self._write, self._states())

    def close(self) -> None:
        """Write the file a last time, and let another process have it. It blocks."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        atexit.unregister(self.close)
        if self._process == os.getpid():
            executor.shutdown()
            if self._reading is None and self._usable:
                self._write(self._states())
            self._file.close()

    def _mine(self) -> bool:
        return self._usable and self._process == os.getpid()

    def _read(self) -> Loaded:
        try:
            return Loaded(self._file.load())
        except ValueError as error:
            return Loaded(problem=str(error))
        except OSError as error:  # what can't be locked or read is not ours to overwrite
            self._usable = False
            return Loaded(problem=str(error))

    def _write(self, states: Mapping[str, Any]) -> None:
        try:
            self._file.save(states)
        except OSError as error:
            report_failure(self._file, error)
