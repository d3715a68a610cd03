"""The command line's `datadog`: export, diff, apply, noise."""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from asgi_resilience.monitoring.account import Account, DatadogError
from asgi_resilience.monitoring.config import (
    PLACEHOLDER_EMAIL,
    RETENTION,
    Maintenance,
    MonitoringConfig,
)
from asgi_resilience.monitoring.noise import SEARCH, noise
from asgi_resilience.monitoring.objects import objects
from asgi_resilience.monitoring.plan import Change
from asgi_resilience.monitoring.sync import apply, diff
from asgi_resilience.monitoring.terraform import terraform

__all__ = ("datadog",)

_SIGNS: Final = {"create": "+", "update": "~", "keep": " ", "delete": "-"}
_WRONG: Final = 2
_DAY: Final = 86_400


def datadog(arguments: Sequence[str]) -> None:
    """Run `asgi-resilience datadog …`.

    Raises:
        SystemExit: Code 2 when the arguments are wrong or Datadog refuses; 1 when `diff` finds a difference.
    """
    options = _parser().parse_args(arguments)
    try:
        config = _config(options)
        options.run(options, config)
    except (DatadogError, ValueError, ImportError, OSError) as error:
        print(f"asgi-resilience: {error}", file=sys.stderr)
        raise SystemExit(_WRONG) from None


def _export(options: argparse.Namespace, config: MonitoringConfig) -> None:
    everything = objects(config)
    files: Mapping[str, Any]
    if options.format == "terraform":
        files = terraform(everything)
    else:
        files = {f"{each.kind}/{_file_name(each.key)}.json": each.body for each in everything}
    for name, content in files.items():
        path: Path = options.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(files)} files in {options.directory}")


def _diff(_: argparse.Namespace, config: MonitoringConfig) -> None:
    changes = diff(_account(), config)
    _tell_all(changes)
    if any(each.action != "keep" for each in changes):
        raise SystemExit(1)


def _apply(options: argparse.Namespace, config: MonitoringConfig) -> None:
    account = _account()
    if not options.yes:
        _tell_all(diff(account, config))
        print("Nothing was changed: --yes does it.")
        return
    if config.email == PLACEHOLDER_EMAIL:
        raise ValueError(f"--email is needed: nobody reads {PLACEHOLDER_EMAIL}, to whom low alerts would go")
    done = apply(account, config, prune=options.prune, tell=_tell)
    print(f"{len(done)} changed.")


def _noise(options: argparse.Namespace, config: MonitoringConfig) -> None:
    if options.days < 1:
        raise ValueError(f"--days={options.days}: expected 1 or more")
    search = SEARCH.format(service=config.service, environment=config.environment)
    since = time.time() - options.days * _DAY
    report = noise(_account().events(search, since), options.days)
    if options.format == "json":
        print(json.dumps([{**asdict(each), "verdict": each.verdict} for each in report], indent=2))
        return
    print(f"{'alerts':>6} {'a week':>6} {'<= 5 min':>8} {'median':>8} {'open':>4}  {'verdict':8}  monitor")
    for each in report:
        minutes = "" if each.minutes is None else f"{each.minutes} min"
        print(
            f"{each.alerts:6} {each.per_week:6} {each.short:8} {minutes:>8} {each.open:4}  "
            f"{each.verdict:8}  {each.monitor}"
        )


def _tell_all(changes: Sequence[Change]) -> None:
    for change in changes:
        if change.action != "keep":
            _tell(change)
    same = sum(each.action == "keep" for each in changes)
    print(f"{len(changes) - same} to change, {same} as they shall be.")


def _tell(change: Change) -> None:
    print(f"{_SIGNS[change.action]} {change.kind} {change.key}")
    for line in change.differences:
        print(f"    {line}")


def _account() -> Account:
    keys = {name: os.environ.get(name, "").strip() for name in ("DD_API_KEY", "DD_APP_KEY")}
    if missing := [name for name, value in keys.items() if not value]:
        raise ValueError(f"{' and '.join(missing)} must be set: keys of the Datadog account")
    site = os.environ.get("DD_SITE", "").strip() or "datadoghq.com"
    host = os.environ.get("DATADOG_HOST", "").strip() or f"https://api.{site}"
    return Account(keys["DD_API_KEY"], keys["DD_APP_KEY"], host)


def _config(options: argparse.Namespace) -> MonitoringConfig:
    maintenance = None
    if options.maintenance is not None:
        rrule, start, duration = options.maintenance
        maintenance = Maintenance(rrule=rrule, start=start, duration=duration)
    return MonitoringConfig(
        service=options.service,
        environment=options.env,
        team=options.team,
        runbooks=options.runbooks,
        email=options.email,
        percentiles="distribution" if options.distributions else "histogram",
        retention={**RETENTION, **dict(options.retention)},
        maintenance=maintenance,
    )


def _level_days(text: str) -> tuple[str, int]:
    level, _, days = text.partition("=")
    return level.upper(), int(days)


def _file_name(key: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in key)


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument_group("what is monitored").add_argument
    env = os.environ.get
    add("--service", default=env("DD_SERVICE") or "asgi-app", help="tag of the service; default: DD_SERVICE")
    add("--env", default=env("DD_ENV") or "production", help="tag of the environment; default: DD_ENV")
    add("--team", default="backend", help="tag of the team (default: %(default)s)")
    add("--email", default=PLACEHOLDER_EMAIL, help="who gets high and low alerts by mail")
    add(
        "--runbooks",
        default="docs/runbooks",
        help="directory or address of the runbooks (default: %(default)s)",
    )
    add(
        "--distributions",
        action=argparse.BooleanOptionalAction,
        default=env("ASGI_RESILIENCE_DOGSTATSD_DISTRIBUTION", "").lower() in ("1", "true", "yes", "on"),
        help="durations are sent as distributions; default: as ASGI_RESILIENCE_DOGSTATSD_DISTRIBUTION says",
    )
    add(
        "--retention",
        type=_level_days,
        action="append",
        default=[],
        metavar="LEVEL=DAYS",
        help="such as INFO=15",
    )
    add("--maintenance", nargs=3, metavar=("RRULE", "START", "DURATION"), help="when nobody is notified, UTC")

    parser = argparse.ArgumentParser(prog="asgi-resilience datadog", description="Monitoring as code.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    export = commands.add_parser("export", parents=[shared], help="write everything to files")
    export.add_argument("directory", type=Path, metavar="DIR")
    export.add_argument("--format", choices=("json", "terraform"), default="json")
    export.set_defaults(run=_export)
    commands.add_parser(
        "diff", parents=[shared], help="what would change; exit code 1 when something would"
    ).set_defaults(run=_diff)
    change = commands.add_parser("apply", parents=[shared], help="make Datadog what the code says")
    change.add_argument("--yes", action="store_true", help="do it; without, only say what would be done")
    change.add_argument("--prune", action="store_true", help="delete what the code does not know any more")
    change.set_defaults(run=_apply)
    report = commands.add_parser("noise", parents=[shared], help="which monitors cry wolf")
    report.add_argument("--days", type=int, default=7, help="how far back (default: %(default)s)")
    report.add_argument("--format", choices=("text", "json"), default="text")
    report.set_defaults(run=_noise)
    return parser
