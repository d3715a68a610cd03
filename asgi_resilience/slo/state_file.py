"""Error budgets across a restart: one JSON file for each process, always whole.

Several workers are given the same path. Each locks the first of `path`, `path.1`, `path.2`, … that nobody holds, and keeps
it until it ends; so after a restart of them all, every file has found a new owner. Where the system has no such locks
(Windows), all use `path` and the last writer wins.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

if sys.platform != "win32":  # pragma: no branch - there is nothing in its place there
    import fcntl

__all__ = ("StateFile",)

_VERSION: Final = 1
_MOST_FILES: Final = 1024
_LARGEST: Final = 16 * 1024 * 1024


class StateFile:
    """Where the histories of error budgets are kept. Its methods block: call them in a thread, or after the service.

    Args:
        path: The file; what begins with its name stands beside it: `.lock`, `.tmp`, and the numbers of further workers.

    Attributes:
        path: The file that this process holds, once it has loaded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._first = self.path
        self._lock: int | None = None

    def load(self) -> Mapping[str, Any]:
        """The states by the names of their objectives; none when there is no file yet.

        Raises:
            ValueError: The file is corrupt or of another version.
            OSError: It can't be locked or read.
        """
        if self._lock is None:
            self._claim()
        try:
            with self.path.open("rb") as file:
                text = file.read(_LARGEST)
        except FileNotFoundError:
            return {}
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is not JSON: {type(error).__name__}") from None
        if not isinstance(found, dict) or "version" not in found:
            raise ValueError("it is not a state of error budgets")
        state = cast("dict[str, Any]", found)
        if state["version"] != _VERSION or not isinstance(state.get("slos"), dict):
            raise ValueError(f"it is of version {state['version']!r}, expected {_VERSION}")
        return cast("dict[str, Any]", state["slos"])

    def save(self, states: Mapping[str, Any]) -> None:
        """Replace the file in one step: who reads it meanwhile, or after a crash, finds the old one or the new one.

        Raises:
            OSError: It can't be written; the old one is still there.
        """
        text = json.dumps({"version": _VERSION, "slos": states}, separators=(",", ":"))
        draft = self.path.with_name(f"{self.path.name}.tmp")
        try:
            with draft.open("w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            raise

    def close(self) -> None:
        """Let another process have the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _claim(self) -> None:
        if sys.platform == "win32":  # pragma: no cover - as above
            return
        for number in range(_MOST_FILES):
            path = self._first.with_name(f"{self._first.name}.{number}") if number else self._first
            lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            except OSError:  # a file system without locks
                os.close(lock)
                raise
            else:
                self.path, self._lock = path, lock
                return
        raise OSError(f"{self._first}: {_MOST_FILES} processes hold such a file")
