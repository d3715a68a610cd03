"""Run README's command for the main job, and look at what a newcomer would look at.

The command is executed as it stands, on a free port. Then: every kind of answer over real HTTP, with its id and its
envelope; and after an orderly stop one JSON log line per request, with nothing secret in it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from email.message import Message

FIELDS = {"code", "message", "details", "timestamp", "request_id", "documentation_url"}
INSTALL_AND_START = 300.0
STOP = 30.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url: str) -> tuple[int, Message, bytes]:
    """Status, headers and body, whatever the status."""
    try:
        response = urllib.request.urlopen(url, timeout=10)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return response.status, response.headers, response.read()


def wait_until_served(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return when the server answers."""
    give_up = time.monotonic() + INSTALL_AND_START
    while time.monotonic() < give_up:
        assert server.poll() is None, f"the command ended with {server.returncode}"
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"no answer from {url} within {INSTALL_AND_START:.0f} s")


def check(base: str) -> dict[str, int]:
    """Ask for every kind of answer; return the status by request id."""
    seen: dict[str, int] = {}

    def get(path: str, status: int, code: str | None = None, *, patience: int = 1) -> tuple[Message, bytes]:
        for _ in range(patience):
            got, headers, body = fetch(base + path)
            if got == status:
                break
        assert got == status, f"GET {path}: {got} instead of {status}: {body!r}"
        name = headers["x-request-id"]
        assert name and name.startswith("req_"), f"GET {path}: x-request-id {name!r}"
        seen[name] = status
        if code is not None:
            assert headers["content-type"] == "application/json", headers["content-type"]
            error = json.loads(body)["error"]
            assert set(error) == FIELDS, f"GET {path}: {error}"
            assert (error["code"], error["request_id"]) == (code, name), f"GET {path}: {error}"
        print(f"GET {path}: {status} {name} {code or ''}")
        return headers, body

    get("/items/1", 200)
    get("/items/9", 404, "RESOURCE_NOT_FOUND")
    get("/no/such/page", 404, "RESOURCE_NOT_FOUND")
    assert b"hunter2" not in get("/crash", 500, "INTERNAL_SERVER_ERROR")[1]
    assert get("/stream", 200)[1] == b"0\n1\n2\n3\n4\n"
    before = time.monotonic()
    get("/slow", 504, "REQUEST_TIMED_OUT")
    assert time.monotonic() - before < 5, "the 504 came late"
    headers, _ = get("/items/2", 429, "RATE_LIMIT_EXCEEDED", patience=100)
    assert int(headers["retry-after"]) >= 1
    assert fetch(base + "/health")[0] == 200, "a probe is not limited"
    return seen


def check_log(log: str, seen: dict[str, int]) -> None:
    """One line per request, each of them JSON, and no secret in any."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    for name, status in seen.items():
        statuses = [
            each["http"]["status_code"] for each in lines if each.get("request_id") == name and "http" in each
        ]
        assert statuses == [status], f"{name}: access lines with {statuses} instead of [{status}]"
    assert "hunter2" not in log, "a password in the log"
    assert "ada@example.com" not in log, "an e-mail address in the log"
    print(f"{len(lines)} log lines")


def main(command: str) -> None:
    """Serve, check, stop, check the log."""
    assert "--port 8000" in command, command
    port = free_port()
    with tempfile.TemporaryFile("w+b") as log:
        server = subprocess.Popen(
            ["bash", "-c", command.replace("--port 8000", f"--port {port}")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        seen: dict[str, int] = {}
        try:
            base = f"http://127.0.0.1:{port}"
            wait_until_served(base + "/health", server)
            seen = check(base)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGINT)
                server.wait(STOP)
            log.seek(0)
            text = log.read().decode()
            if not seen:
                print(text)
        check_log(text, seen)


if __name__ == "__main__":
    main(sys.argv[1])
