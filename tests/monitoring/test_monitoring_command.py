"""`asgi-resilience datadog`: export, diff, apply, noise."""

import json
import time
from pathlib import Path

import pytest

from asgi_resilience.command import main
from asgi_resilience.monitoring.account import Account
from asgi_resilience.monitoring.command import datadog
from asgi_resilience.monitoring.config import MonitoringConfig
from asgi_resilience.monitoring.objects import objects
from tests.monitoring.test_noise import event


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No variable of whoever runs the tests."""
    for name in ("DD_API_KEY", "DD_APP_KEY", "DD_SITE", "DATADOG_HOST", "DD_SERVICE", "DD_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ASGI_RESILIENCE_DOGSTATSD_DISTRIBUTION", raising=False)


@pytest.fixture
def keys(monkeypatch, stand_in):
    """Keys of the account on the loopback."""
    monkeypatch.setenv("DD_API_KEY", "api")
    monkeypatch.setenv("DD_APP_KEY", "app")
    monkeypatch.setenv("DATADOG_HOST", stand_in[0])


def stopped(*arguments):
    """The exit code of a command that ends early."""
    with pytest.raises(SystemExit) as end:
        datadog(arguments)
    return end.value.code


def test_export_as_json(tmp_path: Path, capsys, monkeypatch):
    """A file for each object, by its kind and key, of the service that the environment names."""
    monkeypatch.setenv("DD_SERVICE", "shop")
    monkeypatch.setenv("DD_ENV", "staging")
    main(["datadog", "export", str(tmp_path / "out"), "--format", "json"])
    everything = objects(MonitoringConfig(service="shop", environment="staging"))
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.json")}
    assert len(written) == len(everything)
    assert {"monitor/high-error-rate.json", "dashboard/business.json", "slo/availability.json"} <= written
    monitor = json.loads((tmp_path / "out/monitor/high-error-rate.json").read_text(encoding="utf-8"))
    assert monitor["name"] == "[shop staging] High error rate"
    assert capsys.readouterr().out == f"{len(everything)} files in {tmp_path / 'out'}\n"


def test_export_as_terraform(tmp_path: Path):
    """Files that Terraform reads, and nothing else; a second export changes none of them."""
    datadog(["export", str(tmp_path), "--format", "terraform", "--service", "shop"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == {
        f"{name}.tf.json"
        for name in ("providers", "monitor", "slo", "dashboard", "log-index", "log-pipeline")
    }
    datadog(["export", str(tmp_path), "--format", "terraform", "--service", "shop"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_options(tmp_path: Path, monkeypatch):
    """Team, runbooks, retention, maintenance, and how durations are sent, which the service's own variable says."""
    monkeypatch.setenv("ASGI_RESILIENCE_DOGSTATSD_DISTRIBUTION", "true")
    options = [
        "--service",
        "shop",
        "--env",
        "dev",
        "--team",
        "web",
        "--runbooks",
        "https://x.example",
        "--retention",
    ]
    options += [
        "info=15",
        "--maintenance",
        "FREQ=DAILY",
        "2026-01-01T03:00:00",
        "1h",
        "--email",
        "a@shop.example",
    ]
    datadog(["export", str(tmp_path), *options])
    index = json.loads((tmp_path / "log-index/shop-dev-info.json").read_text(encoding="utf-8"))
    assert index["num_retention_days"] == 15
    latency = json.loads((tmp_path / "monitor/high-latency.json").read_text(encoding="utf-8"))
    assert latency["query"].startswith("percentile(last_10m):p95:")
    assert "team:web" in latency["tags"]
    assert "https://x.example/high-latency-investigation/" in latency["message"]
    assert "@a@shop.example" in latency["message"]
    downtime = json.loads((tmp_path / "downtime/maintenance.json").read_text(encoding="utf-8"))
    assert downtime["schedule"]["recurrences"][0]["duration"] == "1h"
    datadog(["export", str(tmp_path), *options, "--no-distributions"])
    latency = json.loads((tmp_path / "monitor/high-latency.json").read_text(encoding="utf-8"))
    assert latency["query"].startswith("avg(last_10m):")


def test_apply_is_a_dry_run(keys, held, capsys):
    """Without `--yes` it says what it would do."""
    datadog(["apply", "--service", "shop"])
    said = capsys.readouterr().out
    assert "+ monitor high-error-rate\n" in said
    assert said.endswith("0 as they shall be.\nNothing was changed: --yes does it.\n")
    assert held.writes == []


def test_apply_and_diff(keys, held, capsys):
    """`--yes` does it; `diff` ends with 1 before, with 0 afterwards, and shows what was changed by hand."""
    options = ["--service", "shop", "--email", "oncall@shop.example"]
    assert stopped("diff", *options) == 1
    datadog(["apply", *options, "--yes"])
    assert capsys.readouterr().out.endswith(f"\n{len(objects(MonitoringConfig()))} changed.\n")
    datadog(["diff", *options])
    assert capsys.readouterr().out == f"0 to change, {len(objects(MonitoringConfig()))} as they shall be.\n"
    next(iter(held.kept["slo"].values()))["target_threshold"] = 1.0
    assert stopped("diff", *options) == 1
    assert capsys.readouterr().out == (
        "~ slo availability\n    target_threshold: 1.0 -> 99.9\n"
        f"1 to change, {len(objects(MonitoringConfig())) - 1} as they shall be.\n"
    )


def test_nobody_reads_the_placeholder(keys, held, capsys):
    """Alerts by mail to an address of an example would be lost: `apply --yes` refuses it."""
    assert stopped("apply", "--yes") == 2
    assert capsys.readouterr().err.startswith("asgi-resilience: --email is needed")
    assert held.writes == []


def test_noise_as_text(keys, held, capsys):
    """A table, noisiest first, from all pages of the history of this service's alerts."""
    held.events = [[event(0, "error"), event(3, "success")], [event(9, "error", "Disk full soon")]]
    datadog(["noise", "--service", "shop", "--days", "14"])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["alerts", "a", "week", "<=", "5", "min", "median", "open", "verdict", "monitor"],
        ["1", "0.5", "0", "1", "fine", "Disk", "full", "soon"],
        ["1", "0.5", "1", "3.0", "min", "0", "fine", "High", "latency"],
    ]
    query = held.queries[0]
    assert query["filter[query]"] == ["source:alert managed-by:asgi-resilience service:shop env:production"]
    assert float(query["filter[from]"][0]) / 1000 == pytest.approx(time.time() - 14 * 86_400, abs=60)


def test_noise_as_json(keys, held, capsys):
    """For a program that reads it."""
    held.events = [[event(0, "error"), event(30, "success")]]
    datadog(["noise", "--format", "json"])
    assert json.loads(capsys.readouterr().out) == [
        {
            "monitor": "High latency",
            "alerts": 1,
            "per_week": 1.0,
            "short": 0,
            "minutes": 30.0,
            "open": 0,
            "verdict": "fine",
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["diff"], "DD_API_KEY and DD_APP_KEY must be set"),
        (["diff", "--service", "my shop"], "service='my shop': expected a tag value"),
        (["noise", "--days", "0"], "--days=0: expected 1 or more"),
        (["export", "/dev/null/x"], "[Errno 20] Not a directory"),
        (["export", "x", "--retention", "TRACE=1"], "retention="),
    ],
)
def test_what_is_wrong_is_one_line(arguments, told, capsys):
    """Code 2, and one line that says what to do about it."""
    assert stopped(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"asgi-resilience: {told}")


@pytest.mark.parametrize("arguments", [[], ["explode"], ["diff", "--retention", "INFO"], ["export"]])
def test_a_wrong_command_shows_the_usage(arguments, capsys):
    """The words of argparse, and code 2."""
    assert stopped(*arguments) == 2
    assert capsys.readouterr().err.startswith("usage: asgi-resilience datadog")


def test_wrong_keys_are_one_line(keys, held, capsys):
    """What Datadog says to keys that it does not know."""
    held.refuse = (403, b'{"errors": ["Forbidden"]}')
    assert stopped("diff") == 2
    assert capsys.readouterr().err.endswith("/api/v1/monitor: Forbidden\n")


@pytest.mark.parametrize(
    ("site", "host"), [("", "https://api.datadoghq.com"), ("datadoghq.eu", "https://api.datadoghq.eu")]
)
def test_the_site_is_that_of_the_agent(monkeypatch, stand_in, site, host):
    """`DD_SITE` says which of Datadog's sites holds the account."""
    asked = []

    def call(account, *_, **__):
        asked.append(account._host)
        raise ValueError

    monkeypatch.setattr(Account, "call", call)
    monkeypatch.setenv("DD_API_KEY", "api")
    monkeypatch.setenv("DD_APP_KEY", "app")
    monkeypatch.setenv("DD_SITE", site)
    assert stopped("diff") == 2
    assert asked == [host]
