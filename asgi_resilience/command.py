"""The command line: `asgi-resilience run MODULE:APP` serves an application wrapped, without a changed line in it.

It is uvicorn's own command with the target exchanged for `application`, which every server process calls, and with
two other defaults: no access log of uvicorn's (ours has the same line, as JSON) and no logging setup of uvicorn's.
With `--workers` or `--reload` the server runs in child processes, so what to serve travels in an environment variable.
"""

import copy
import importlib
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from anyio import to_thread

from asgi_resilience.context import ASGIApp
from asgi_resilience.lifespan import Lifespan
from asgi_resilience.logs.setup import configure_logging
from asgi_resilience.logs.sink import flush_all
from asgi_resilience.settings import Settings
from asgi_resilience.stack import is_wrapped, wrap
from asgi_resilience.telemetry.pipeline import pipeline

if TYPE_CHECKING:
    import click

__all__ = ("application", "main")

_USAGE: Final = """\
Usage: asgi-resilience run MODULE:APP [OPTIONS]

Serve any ASGI application with uvicorn, wrapped in the whole stack.
The settings come from the environment: ASGI_RESILIENCE_TIMEOUT=10, ASGI_RESILIENCE_RATE_LIMIT=100/minute, ...

  asgi-resilience run --help       the options, all of them uvicorn's
  asgi-resilience datadog --help   dashboards, monitors, SLOs and log retention in Datadog, as code
  asgi-resilience --version        the version of this package"""

_RUN: Final = "_ASGI_RESILIENCE_RUN"
_USAGE_ERROR: Final = 2
_NO_TIMEOUT: Final = 30.0  # seconds that requests are given at the end where they have no limit
_LEEWAY: Final = (
    5.0  # seconds by which the server waits longer than a request may take until its response starts
)
_LEVELS: Final = {"critical": "ERROR", "warning": "WARN"}  # where uvicorn's words are not ours

# uvicorn sets logging up when it is told nothing: this configuration, by definition, changes nothing.
_LOGGING_AS_IT_IS: Final[dict[str, Any]] = {
    "version": 1,
    "incremental": True,
    "formatters": {"default": {}, "access": {}},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Without the program's name; None: `sys.argv`.

    Raises:
        SystemExit: Always at the end; code 2 when the arguments, the target or the settings are wrong.
    """
    match list(sys.argv[1:] if arguments is None else arguments):
        case ["run", *options]:
            _run(options)
        case ["datadog", *options]:
            from asgi_resilience.monitoring.command import datadog  # noqa: PLC0415 - `run` does without it

            datadog(options)
        case ["--version"]:
            print(f"asgi-resilience {version('asgi-resilience')}")
        case ["--help" | "-h"]:
            print(_USAGE)
        case _:
            print(_USAGE, file=sys.stderr)
            raise SystemExit(_USAGE_ERROR)


def application() -> ASGIApp:
    """What each server process serves: the target of the command line, wrapped unless it already is."""
    run: dict[str, Any] = json.loads(os.environ[_RUN])
    settings = _settings()
    # Once in each process, and before the target is imported: if that sets logging up itself, its set-up holds.
    if run["configured"] not in (None, os.getpid()):
        configure_logging(settings)
    app = _target(run["target"], factory=run["factory"])
    if run["factory"]:
        try:
            app = app()
        except Exception as error:  # noqa: BLE001 - whatever the factory raises is the reason that we can't serve it
            _stop(f"{run['target']!r} failed: {_cause(error)}")
        _check_call(f"{run['target']}()", app, factory=False)
    # Inside of the layers, so that they see the end of an application without lifespan, too.
    return Lifespan(app, _end) if is_wrapped(app) else wrap(Lifespan(app, _end), settings)


async def _end() -> None:
    """What the process owes when it has served its last request: a worker is killed right after the shutdown."""
    if "asgi_resilience.client.registry" in sys.modules:  # else there are no dependencies
        from asgi_resilience.client.registry import aclose_all  # noqa: PLC0415 - as above

        await aclose_all()
    await to_thread.run_sync(_flush)


def _flush() -> None:
    flush_all()
    pipeline().close()


def _run(options: list[str]) -> None:
    try:
        from uvicorn.main import main as uvicorn  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        _stop("'run' needs uvicorn: pip install 'asgi-resilience[server]'")
    command = copy.copy(uvicorn)
    command.help = "Serve MODULE:APP, any ASGI application, wrapped in the whole stack."
    command.params = [_parameter(each) for each in uvicorn.params if each.name != "interface"]
    command.callback = _serve
    command.main(options, prog_name="asgi-resilience run")


def _parameter(parameter: "click.Parameter") -> "click.Parameter":
    if parameter.name == "access_log":
        parameter = copy.copy(parameter)
        parameter.default = False
    elif parameter.name == "app":
        parameter = copy.copy(parameter)
        parameter.metavar = "MODULE:APP"
    return parameter


def _serve(*, app: str, factory: bool, **options: Any) -> None:
    from uvicorn.main import main as uvicorn  # noqa: PLC0415 - as above

    if options["env_file"]:
        from dotenv import load_dotenv  # noqa: PLC0415 - comes with uvicorn[standard]

        load_dotenv(options["env_file"])
    sys.path.insert(0, options["app_dir"])
    level: str | None = options["log_level"]
    if level:
        os.environ["ASGI_RESILIENCE_LOG_LEVEL"] = _LEVELS.get(level, level.upper())
    settings = _settings()
    configured: int | None = None
    if options["log_config"] is None:
        options["log_config"] = _LOGGING_AS_IT_IS
        configure_logging(settings)
        configured = os.getpid()
    if options["timeout_graceful_shutdown"] is None:
        options["timeout_graceful_shutdown"] = ceil((settings.timeout or _NO_TIMEOUT) + _LEEWAY)
    # Looked at here already, so that a mistake is one line, and not a worker that dies again and again.
    _target(app, factory=factory)
    os.environ[_RUN] = json.dumps({"target": app, "factory": factory, "configured": configured})
    _flush_at_sigterm()
    serve = cast("Callable[..., None]", uvicorn.callback)
    serve(app="asgi_resilience.command:application", factory=True, interface="asgi3", **options)


def _flush_at_sigterm() -> None:
    """Have the process end by SIGTERM as it would, with all lines and metrics out: uvicorn raises it again at its end."""
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, _: object) -> None:
        _flush()
        signal.signal(number, before or signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, end)


def _settings() -> Settings:
    try:
        return Settings.from_env()
    except ValueError as error:
        _stop(str(error))


def _target(target: str, *, factory: bool) -> Any:
    """The object that MODULE:APP names, which can be called as it will be."""
    name, _, path = target.partition(":")
    if not name or not path:
        _stop(f"{target!r} is not of the form MODULE:APP, such as 'main:app'")
    try:
        found: Any = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything while it is imported
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            _stop(f"there is no module {error.name!r}; looked in {Path.cwd()} and on the Python path")
        _stop(f"importing {name!r} failed: {_cause(error)}")
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            _stop(f"{target!r} not found: {error}")
    _check_call(target, found, factory=factory)
    return found


def _check_call(target: str, app: object, *, factory: bool) -> None:
    if not callable(app):
        _stop(f"{target!r} is a {type(app).__name__}, which can't be called: not an ASGI application")
    try:
        signature = inspect.signature(app)
    except ValueError:  # some callables of C have none
        return
    try:
        signature.bind(*(() if factory else ("scope", "receive", "send")))
    except TypeError:
        if factory:
            _stop(f"{target!r} takes arguments: not an application factory (leave --factory out?)")
        _stop(
            f"{target!r} can't be called with (scope, receive, send): a factory (add --factory) or a WSGI application?"
        )


def _cause(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return text if frame.filename.startswith("<") else f"{text} ({frame.filename}, line {frame.lineno})"


def _stop(message: str) -> NoReturn:
    print(f"asgi-resilience: {message}", file=sys.stderr)
    raise SystemExit(_USAGE_ERROR)
