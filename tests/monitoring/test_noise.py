"""The report on alerts that nobody needed."""

from asgi_resilience.monitoring.noise import Noise, noise
from tests.monitoring.strict_models import EVENTS, mistakes

MINUTE = 60_000


def event(minute, status, monitor="High latency", groups=("*",)):
    """A transition of a monitor, as the API lists it."""
    inner = {"timestamp": minute * MINUTE, "status": status, "monitor_groups": list(groups), "title": "t"}
    if monitor:
        inner["monitor"] = {"name": monitor}
    return {"type": "event", "id": "e", "attributes": {"attributes": inner}}


def test_events_have_the_form_of_the_api():
    """Datadog's own model knows every field of the events that these tests are made of."""
    assert mistakes({"data": [event(1, "error")]}, EVENTS) == []


def test_an_alert_that_comes_and_goes_flaps():
    """Half of three alerts were over within five minutes: nobody could have done anything."""
    events = [event(0, "error"), event(4, "success"), event(60, "error"), event(65, "success")]
    events += [event(90, "error"), event(120, "success")]
    (report,) = noise(events, days=7)
    assert report == Noise("High latency", alerts=3, per_week=3.0, short=2, minutes=5.0, open=0)
    assert report.verdict == "flapping"


def test_an_alert_a_day_is_noisy():
    """More than seven alerts a week are too many for one monitor, however long they last."""
    events = [
        event(minute, status)
        for day in range(8)
        for minute, status in ((day * 1440, "error"), (day * 1440 + 30, "ok"))
    ]
    (report,) = noise(events, days=7)
    assert (report.alerts, report.verdict) == (8, "noisy")
    (report,) = noise(events, days=14)
    assert (report.per_week, report.verdict) == (4.0, "fine")


def test_an_open_alert_counts_once():
    """It is told again while it is open, and warnings are not alerts."""
    events = [event(0, "error"), event(30, "error"), event(40, "warning"), event(60, "failure")]
    (report,) = noise(events, days=7)
    assert (report.alerts, report.open, report.minutes, report.verdict) == (1, 1, None, "fine")


def test_groups_count_apart():
    """Two hosts are two alerts, the order of their tags does not matter, and the noisiest monitor comes first."""
    events = [
        event(0, "error", "CPU", ("host:a", "path:/")),
        event(1, "error", "CPU", ("host:b",)),
        event(2, "error", "Disk"),
        event(9, "success", "CPU", ("path:/", "host:a")),
    ]
    cpu, disk = noise(events, days=7)
    assert (cpu.monitor, cpu.alerts, cpu.open, cpu.minutes) == ("CPU", 2, 1, 9.0)
    assert (disk.monitor, disk.alerts) == ("Disk", 1)


def test_a_recovery_alone_is_nothing():
    """Its alert lies before the report; an event without a monitor goes by its title."""
    assert noise([event(0, "success")], days=7) == []
    assert [each.monitor for each in noise([event(0, "error", monitor="")], days=7)] == ["t"]
