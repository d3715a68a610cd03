"""Executes one page of documentation, the way its reader would: `python tests/page.py docs/tutorial/index.md`.

In order, in one namespace and one directory:

- ```python blocks are run; with `title="main.py"` they are also saved under that name.
- ```text title="Output" is what the python block before it prints.
- ```console and ```sh: `asgi-resilience run …` and `uvicorn …` start that server for good (on a free port, in place of
  the one before), or to its end when the page shows what it prints; `curl …` asks it, and must get what is shown. Other
  commands are the reader's.
- ```json title="Log" is a line that the server has written since the last command; when no server runs yet, one that it
  has written by the end of the page.

In what is shown, `…` at the end of a line or a string stands for the rest of it, a line `…` for any lines, and a JSON
member `"…": "…"` for further members. Ids, times and durations are not compared.
"""

import contextlib
import http.client
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<options>.*)\n(?P<text>(?:.*\n)*?)(?P=indent)```$", re.MULTILINE
)
VOLATILE = (
    (re.compile(r"req_[\w-]+…?"), "req_…"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "2026-01-01T00:00:00Z"),
    (re.compile(r"^date: .*$", re.MULTILINE | re.IGNORECASE), "date: …"),
    (re.compile(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b"), "0"),
    (re.compile(r"(?<=;)(r|t)=\d+"), r"\1=…"),
    (re.compile(r'"uptime_seconds":\d+'), '"uptime_seconds":0'),
    (re.compile(r"\d+(\.\d+)? ?ms"), "… ms"),
)
NUMBERS = ("duration", "duration_ms", "ttfb_ms", "uptime_seconds", "network.client.port")
PATIENCE = 20.0


@dataclass
class Block:
    """A fenced block, and where its text stands."""

    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, those in lists and tabs too."""
    source = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(source):
        title = re.search(r'title="([^"]*)"', found["options"])
        line = source.count("\n", 0, found.start("text")) + 1
        yield Block(found["language"], title[1] if title else "", textwrap.dedent(found["text"]), line)


def plain(text: str) -> str:
    """The text without what differs from one run to the next."""
    for pattern, replacement in VOLATILE:
        text = pattern.sub(replacement, text)
    return text


def expect(shown: str, actual: str, where: str) -> None:
    """Compare lines, ellipses aside."""
    pattern = ""
    for line in (plain(each).rstrip() for each in shown.strip().splitlines()):
        more = ".*" if line.endswith("…") else ""
        pattern += r"(?:.*\n)*?" if line == "…" else re.escape(line.removesuffix("…")) + more + r"\n"
    got = "".join(f"{plain(line).rstrip()}\n" for line in actual.strip().splitlines())
    assert re.fullmatch(pattern, got), f"{where} shows\n{shown}\ninstead of\n{actual}"


def fits(shown: Any, actual: Any, key: str = "") -> bool:
    """Whether a JSON value is what is shown of it."""
    if isinstance(shown, dict) and isinstance(actual, dict):
        some = {name: value for name, value in shown.items() if name != "…"}
        complete = "…" in shown or some.keys() == actual.keys()
        return complete and all(
            name in actual and fits(value, actual[name], name) for name, value in some.items()
        )
    if isinstance(shown, str) and isinstance(actual, str):
        shown, actual = plain(shown), plain(actual)
        return actual.startswith(shown[:-1]) if shown.endswith("…") else shown == actual
    if key in NUMBERS:
        return isinstance(actual, int | float)
    return bool(shown == actual)


class Server:
    """A server in a process of its own, on a free port."""

    def __init__(
        self, module: str, arguments: list[str], environment: dict[str, str], directory: Path
    ) -> None:
        with contextlib.suppress(ValueError):
            place = arguments.index("--port")
            del arguments[place : place + 2]
        self.lines: list[str] = []
        self.port = 0
        self._news = threading.Condition()
        path = os.pathsep.join((str(directory), str(ROOT)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--port", "0"],
            cwd=directory,
            env={**os.environ, **environment, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait(lambda: self.port, "its port")
        except AssertionError:
            self.stop()
            raise

    def _read(self) -> None:
        for line in self._output:
            with self._news:
                self.lines.append(line.strip())
                if found := re.search(r"running on https?://[\d.]+:(\d+)", line):
                    self.port = int(found[1])
                self._news.notify_all()

    def wait(self, condition: Any, what: str) -> None:
        """Return when the condition holds; it is looked at when a line arrives."""
        give_up = time.monotonic() + PATIENCE
        with self._news:
            while not condition():
                left = give_up - time.monotonic()
                if left < 0 or self._process.poll() is not None:
                    raise AssertionError("\n".join((f"no sign of {what} in", *self.lines)))
                self._news.wait(min(left, 0.5))

    def stop(self) -> None:
        """End it in an orderly way."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
        self._reader.join()
        self._output.close()


class Page:
    """One page, executed block by block."""

    def __init__(self, path: Path, directory: Path) -> None:
        self.path = path
        self.directory = directory
        module = ModuleType(
            "page"
        )  # annotations are looked up in the module that a function names as its own
        sys.modules["page"] = module
        self.namespace = vars(module)
        self.output = ""
        self.server: Server | None = None
        self.seen = 0
        self.announced: list[tuple[Block, str]] = []

    def run(self) -> None:
        """Execute every block, and stop the server at the end."""
        try:
            for block in blocks(self.path):
                self.block(block, f"{self.path}:{block.line}")
            self.seen = 0
            for block, where in self.announced:
                self.log(json.loads(block.text), where)
        finally:
            if self.server:
                self.server.stop()

    def block(self, block: Block, where: str) -> None:
        """Execute one block, or check it."""
        if block.language == "python":
            if block.title:
                (self.directory / block.title).write_text(block.text, encoding="utf-8")
            code = compile("\n" * (block.line - 1) + block.text, str(self.path), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(code, self.namespace)  # that is what this program is for
            self.output = printed.getvalue()
        elif block.language == "text" and block.title == "Output":
            expect(block.text, self.output, where)
        elif block.language == "json" and block.title == "Log" and not self.server:
            self.announced.append((block, where))
        elif block.language == "json" and block.title == "Log":
            self.log(json.loads(block.text), where)
        elif block.language == "sh":
            for line in block.text.splitlines():
                self.command(line, "", where)
        elif block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, shown = part.partition("\n")
                self.command(command, shown.strip(), where)

    def log(self, shown: Any, where: str) -> None:
        """A line that is shown has been written."""
        assert self.server, f"{where}: no server is running"
        server = self.server

        def written() -> bool:
            return any(
                fits(shown, json.loads(line)) for line in server.lines[self.seen :] if line.startswith("{")
            )

        server.wait(written, f"the line of {where}")

    def command(self, command: str, shown: str, where: str) -> None:
        """Run a command if it is one of ours."""
        words = shlex.split(command.rpartition("&& ")[2], comments=True)
        environment = {}
        while words and re.match(r"\w+=", words[0]):
            name, _, environment[name] = words.pop(0).partition("=")
        program = Path(words[0]).name if words else ""
        module = {"asgi-resilience": "asgi_resilience", "uvicorn": "uvicorn"}.get(program)
        if program == "curl":
            self.seen = len(self.server.lines) if self.server else 0
            answer = self.curl(words[1:], where)
            if shown:
                expect(shown, answer, where)
        elif module and shown:
            done = subprocess.run(
                [sys.executable, "-m", module, *words[1:]],
                cwd=self.directory,
                env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            expect(shown, done.stdout, where)
        elif module and self.here(words):
            if self.server:
                self.server.stop()
            self.server = Server(module, words[1:], environment, self.directory)

    def here(self, words: list[str]) -> bool:
        """Whether the page has written the module that the command serves, so that it is not the reader's own."""
        targets = (word.partition(":")[0].replace(".", "/") for word in words if ":" in word)
        return any((self.directory / f"{target}.py").exists() for target in targets)

    def curl(self, words: list[str], where: str) -> str:
        """What curl would print."""
        assert self.server, f"{where}: no server is running"
        method, body, head, headers, path = "", None, False, {}, "/"
        while words:
            match words.pop(0):
                case "-s" | "-N":
                    pass
                case "-i" | "-si":
                    head = True
                case "-X":
                    method = words.pop(0)
                case "-d":
                    body = words.pop(0)
                case "-H":
                    name, _, value = words.pop(0).partition(": ")
                    headers[name] = value
                case url:
                    path = "/" + url.removeprefix("http://").partition("/")[2]
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(
                method or ("POST" if body else "GET"), path, body, {"Accept": "*/*", **headers}
            )
            response = connection.getresponse()
            content = response.read().decode()
        if not head:
            return content
        lines = [
            f"HTTP/1.1 {response.status} {response.reason}",
            *(f"{k}: {v}" for k, v in response.getheaders()),
        ]
        return "\n".join((*lines, "", content))


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        if target.name == "README.md":
            Page(target, ROOT).run()
        else:
            sys.path.insert(0, scratch)
            Page(target, Path(scratch)).run()
