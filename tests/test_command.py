"""The command line, run as a program: real uvicorn, a real port."""

import contextlib
import http.client
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asgi_resilience import command
from asgi_resilience.command import application, main

ROOT = Path(__file__).parent.parent
SERVICE = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"bare")]})
        await send({"type": "http.response.body", "body": b"hello"})

def make():
    return app

def broken():
    raise LookupError("no database\\nat all")

def wsgi(environ, start_response):
    return []

number = 7
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with a module `service` in it."""
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    return tmp_path


def run(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [sys.executable, "-m", "asgi_resilience", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextlib.contextmanager
def served(
    directory: Path, *arguments: str, stop: signal.Signals = signal.SIGINT, **environment: str
) -> Iterator[tuple[int, list[str]]]:
    """Serve, give the port and the lines of the log so far, and stop as Ctrl+C does; all lines are there afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "asgi_resilience", "run", "--port", "0", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        port = 0
        while not port:
            line = process.stdout.readline()
            assert line, "the server has ended:\n" + "".join(lines)
            lines.append(line)
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
        wait_until_accepted(port)
        yield port, lines
    finally:
        process.send_signal(stop)
        lines += process.communicate(timeout=30)[0].splitlines(keepends=True)


def wait_until_accepted(port: int) -> None:
    """With workers the port is known before anybody listens on it."""
    give_up = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < give_up
        else:
            return


def get(port: int, path: str = "/") -> tuple[int, dict[str, str], bytes]:
    """One request over a real connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()


def access_lines(lines: list[str]) -> list[dict[str, object]]:
    """The log lines that tell of a request."""
    return [each for each in map(json.loads, lines) if "http" in each]


def test_run_serves_an_application_wrapped(directory):
    """A bare ASGI callable gets an id on its answer and one JSON line in the log, and uvicorn adds no line of its own."""
    with served(directory, "service:app", DD_SERVICE="greeter") as (port, lines):
        status, headers, body = get(port)
    assert (status, body, headers["x-app"]) == (200, b"hello", "bare")
    (line,) = access_lines(lines)
    assert (line["request_id"], line["service"]) == (headers["x-request-id"], "greeter")
    assert not [each for each in lines if "127.0.0.1:" in each and "GET / HTTP" in each]


def test_settings_come_from_the_environment(directory):
    """`ASGI_RESILIENCE_…` sets the layers."""
    with served(directory, "service:app", ASGI_RESILIENCE_RATE_LIMIT="1/hour") as (port, _):
        assert [get(port)[0], get(port)[0]] == [200, 429]


def test_a_factory_is_called_once_for_each_process(directory):
    """`--factory` serves what the target returns."""
    with served(directory, "service:make", "--factory") as (port, _):
        assert get(port)[1]["x-app"] == "bare"


def test_workers_serve_the_wrapped_application(directory):
    """With `--workers` every child process wraps the application itself."""
    with served(directory, "service:app", "--workers", "2") as (port, _):
        assert get(port)[1]["x-request-id"]


def test_no_line_is_lost_when_the_process_is_told_to_end(directory):
    """SIGTERM, as orchestrators send it, ends the process when all lines are written, also without a lifespan."""
    slow_log = "from asgi_resilience.logs.sink import LogSink, set_default_sink\n"
    slow_log += "set_default_sink(LogSink(flush_interval=1))\n"
    (directory / "service.py").write_text(slow_log + SERVICE, encoding="utf-8")
    with served(directory, "service:app", "--lifespan", "off", stop=signal.SIGTERM) as (port, lines):
        get(port)
    assert [each["message"] for each in access_lines(lines)] == ["GET / 200"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_application_that_is_wrapped_already_is_served_as_it_is(directory, workers):
    """The application's own settings and its own logging hold, and it is not wrapped twice."""
    (directory / "wrapped.py").write_text(
        "from asgi_resilience import Settings, configure_logging, wrap\n"
        "import service\n"
        "settings = Settings(service='mine')\n"
        "configure_logging(settings)\n"
        "app = wrap(service.app, settings)\n",
        encoding="utf-8",
    )
    with served(directory, "wrapped:app", "--workers", workers) as (port, lines):
        assert get(port)[0] == 200
    assert len(access_lines(lines)) == 1
    assert {json.loads(each)["service"] for each in lines} == {"mine"}


def test_the_access_log_and_the_logging_of_uvicorn_can_be_had(directory):
    """`--access-log` and `--log-config` do what they do in uvicorn; then logging is not ours to set up."""
    config = {"version": 1, "disable_existing_loggers": False, "root": {"level": "INFO", "handlers": ["out"]}}
    config["handlers"] = {"out": {"class": "logging.StreamHandler", "formatter": "plain"}}
    config["formatters"] = {"plain": {"format": "PLAIN %(message)s"}}
    (directory / "log.json").write_text(json.dumps(config), encoding="utf-8")
    with served(directory, "service:app", "--log-config", "log.json", "--access-log", "--no-use-colors") as (
        port,
        lines,
    ):
        assert get(port)[0] == 200
    assert any(line.startswith("PLAIN ") and '"GET / HTTP/1.1" 200' in line for line in lines)


def test_the_log_level_is_an_option(directory):
    """`--log-level` sets the level of the whole log, in the words of uvicorn."""
    with served(directory, "service:app", "--log-level", "debug", "--no-use-colors") as (port, lines):
        assert get(port)[0] == 200
    assert "DEBUG" not in {json.loads(line)["level"] for line in lines} - {"DEBUG"}


def test_an_env_file_is_read_before_the_settings(directory):
    """`--env-file` sets our settings too."""
    (directory / "service.env").write_text("ASGI_RESILIENCE_RATE_LIMIT=1/hour\n", encoding="utf-8")
    with served(directory, "service:app", "--env-file", "service.env") as (port, _):
        assert [get(port)[0], get(port)[0]] == [200, 429]


def test_the_application_directory_is_an_option(directory, tmp_path_factory):
    """`--app-dir` is where the module is looked for."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with served(elsewhere, "service:app", "--app-dir", str(directory)) as (port, _):
        assert get(port)[0] == 200


@pytest.mark.parametrize(
    ("target", "options", "reason"),
    [
        ("service", [], "'service' is not of the form MODULE:APP, such as 'main:app'"),
        ("service:", [], "'service:' is not of the form MODULE:APP, such as 'main:app'"),
        ("nowhere:app", [], "there is no module 'nowhere'; looked in "),
        ("service.nowhere:app", [], "there is no module 'service.nowhere'; looked in "),
        ("service:nothing", [], "'service:nothing' not found: module 'service' has no attribute 'nothing'"),
        ("service:number", [], "'service:number' is a int, which can't be called: not an ASGI application"),
        ("service:wsgi", [], "'service:wsgi' can't be called with (scope, receive, send): a factory"),
        ("service:make", [], "'service:make' can't be called with (scope, receive, send): a factory"),
        ("service:app", ["--factory"], "'service:app' takes arguments: not an application factory"),
        ("service:broken", ["--factory"], "'service:broken' failed: LookupError: no database at all ("),
    ],
)
def test_a_bad_target_is_one_line(directory, target, options, reason):
    """A target that can't be served ends the program with code 2 and one line that says why."""
    done = run(directory, "run", target, *options)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"asgi-resilience: {reason}")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import json\njson.loads('{')\n", "importing 'bad' failed: JSONDecodeError: Expecting "),
        ("def\n", "importing 'bad' failed: SyntaxError: "),
        (
            "import sqlalchemy_of_mars\n",
            "importing 'bad' failed: ModuleNotFoundError: No module named 'sqlalchemy_of_mars' (",
        ),
        ("raise SystemExit('bye')\n", "importing 'bad' failed: SystemExit: bye ("),
    ],
)
def test_a_module_that_raises_is_one_line_with_its_cause(directory, source, reason):
    """What a module raises while it is imported is named, with the line that raised it; no traceback."""
    (directory / "bad.py").write_text(source, encoding="utf-8")
    done = run(directory, "run", "bad:app")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"asgi-resilience: {reason}")


def test_bad_settings_are_one_line(directory):
    """A setting that is out of range ends the program with code 2, and the line names it."""
    done = run(directory, "run", "service:app", ASGI_RESILIENCE_TIMEOUT="soon")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("asgi-resilience: ")
    assert "soon" in line


def test_options_are_those_of_uvicorn(directory):
    """`run --help` shows uvicorn's options under our name; an unknown one ends with code 2."""
    shown = run(directory, "run", "--help").stdout
    assert "Usage: asgi-resilience run [OPTIONS] MODULE:APP" in shown
    assert "--timeout-keep-alive" in shown
    assert "--interface" not in shown
    assert run(directory, "run", "service:app", "--no-such-option").returncode == 2


def test_the_version_and_the_usage_need_no_server(capsys):
    """`--version` and `--help` answer; anything else shows the usage on stderr and ends with code 2."""
    main(["--version"])
    main(["--help"])
    said = capsys.readouterr()
    assert re.fullmatch(r"asgi-resilience \d\S*\n(.*\n)+", said.out)
    for wrong in ([], ["serve"], ["--version", "now"]):
        with pytest.raises(SystemExit) as stopped:
            main(wrong)
        assert stopped.value.code == 2
        assert capsys.readouterr().err.startswith("Usage: asgi-resilience run MODULE:APP")


def test_importing_the_program_does_not_run_it(capsys):
    """`asgi_resilience.__main__` is also where the installed command finds `main`."""
    assert importlib.import_module("asgi_resilience.__main__").main is main
    assert capsys.readouterr().out == ""


def test_a_missing_server_is_one_line(monkeypatch, capsys):
    """Without uvicorn `run` says which command installs it."""
    monkeypatch.setitem(sys.modules, "uvicorn.main", None)
    with pytest.raises(SystemExit) as stopped:
        main(["run", "service:app"])
    assert stopped.value.code == 2
    assert (
        capsys.readouterr().err
        == "asgi-resilience: 'run' needs uvicorn: pip install 'asgi-resilience[server]'\n"
    )


def test_what_a_factory_makes_is_checked(monkeypatch, capsys):
    """A factory that can't tell its parameters is called, and has to return an application."""
    monkeypatch.setenv(
        command._RUN, json.dumps({"target": "builtins:dict", "factory": True, "configured": None})
    )
    with pytest.raises(SystemExit) as stopped:
        application()
    assert stopped.value.code == 2
    assert "'builtins:dict()' is a dict, which can't be called" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "timeout", "seconds"),
    [([], "7", 12), ([], "none", 35), (["--timeout-graceful-shutdown", "3"], "7", 3)],
)
def test_the_end_has_a_deadline(directory, options, timeout, seconds):
    """Unless one is given, the server waits for requests for 5 s more than they may take."""
    program = (
        "from uvicorn.main import main as uvicorn\n"
        "uvicorn.callback = lambda **options: print(options['timeout_graceful_shutdown'])\n"
        "from asgi_resilience.command import main\n"
        f"main(['run', 'service:app', *{options!r}])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ASGI_RESILIENCE_TIMEOUT": timeout}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{seconds}\n"
