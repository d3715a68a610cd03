"""The state file of error budgets, read and written in a thread: the event loop never waits for a disk."""

import atexit
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, Literal

from asgi_resilience.context import report_failure
from asgi_resilience.process_life import when_child_ends
from asgi_resilience.slo.state_file import StateFile

__all__ = ("BudgetState", "Loaded")

_PATIENCE: Final = 2.0  # seconds; a disk that hangs must not hold up a shutdown for long


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
        catch_up: Called when the process ends while nobody has asked yet for what was read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        states: Callable[[], Mapping[str, Any]],
        catch_up: Callable[[], object],
    ) -> None:
        self._file = StateFile(path)
        self._states = states
        self._catch_up = catch_up
        self._phase: Literal["new", "running", "ending", "closed"] = "new"
        self._process = 0
        self._executor = ThreadPoolExecutor(1, "asgi-resilience-slo")  # its thread starts with the first task
        self._reading: Future[Loaded] | None = None
        self._writing: Future[None] | None = None
        self._usable = True
        self._saved = -1
        self._one_by_one = Lock()

    def load(self) -> Loaded | None:
        """What stood in the file, exactly once; None while it is being read, and ever after."""
        if self._phase == "new":
            self._phase = "running"
            self._process = os.getpid()
            atexit.register(self.end)
            when_child_ends(self.end)
            try:
                self._reading = self._executor.submit(self._read)
            except RuntimeError:  # the process ends: no thread starts any more, and nobody minds to wait
                self._phase = "ending"
                return self._read()
        reading = self._reading
        if reading is None or not reading.done():
            return None
        self._reading = None
        return reading.result()

    @property
    def loading(self) -> bool:
        """Whether the file is being read."""
        return self._reading is not None and self._is_own()

    def save(self, at: float) -> None:
        """Write the file, once a minute at most; `at` is in seconds since 1970."""
        if not self._usable or not self._is_own():
            return
        minute = int(at // 60)
        if self._phase == "ending":
            self._write(self._states())
        elif (
            self._phase == "running"
            and minute != self._saved
            and (self._writing is None or self._writing.done())
        ):
            self._saved = minute
            self._writing = self._executor.submit(self._write, self._states())

    def finish(self) -> None:
        """Write the file now: the process may not come back from its shutdown. It blocks."""
        if self._phase == "running" and self._is_own():
            pending: list[Future[Any]] = [task for task in (self._reading, self._writing) if task is not None]
            wait(pending, _PATIENCE)
            if self._reading is not None:
                self._catch_up()
            if self._reading is None and self._usable:
                self._write(self._states())

    def end(self) -> None:
        """Write the file, and from now on with every `save`: the last flush may be still to come. It blocks."""
        if self._phase == "running" and self._is_own():
            self._phase = "ending"
            self._executor.shutdown()
            if self._reading is not None:
                self._catch_up()
            elif self._usable:
                self._write(self._states())

    def close(self) -> None:
        """Write the file a last time, and let another process have it. It blocks."""
        self.end()
        if self._phase == "ending":
            self._phase = "closed"
            atexit.unregister(self.end)
            self._file.close()

    def _is_own(self) -> bool:
        return self._process == os.getpid()

    def _read(self) -> Loaded:
        try:
            return Loaded(self._file.load())
        except ValueError as error:
            return Loaded(problem=str(error))
        except OSError as error:  # what can't be locked or read is not ours to overwrite
            self._usable = False
            return Loaded(problem=str(error))

    def _write(self, states: Mapping[str, Any]) -> None:
        with self._one_by_one:
            try:
                self._file.save(states)
            except OSError as error:
                report_failure(self._file, error)
