"""The settings: their fields, their checks, and how they are read from the environment."""

import copy
import pickle
import re
import warnings
from dataclasses import FrozenInstanceError, asdict, fields, replace
from inspect import cleandoc

import pytest

from asgi_resilience.logs.redaction import MARK
from asgi_resilience.metric_sink import NULL
from asgi_resilience.settings import Settings, table
from asgi_resilience.slo import DEFAULT_SLOS
from asgi_resilience.timeouts import Timeouts

FIELDS = {each.name: each for each in fields(Settings)}

WRONG = {
    "service": "",
    "environment": None,
    "version": 2,
    "health": 1,
    "health_path": "health",
    "health_checks": 7,
    "drain_seconds": -1,
    "request_id": "yes",
    "request_id_header": "X Request",
    "trust_request_id": ("nowhere",),
    "trace_context": None,
    "trust_trace": ("10.0.0.1/8",),
    "keep_traces": ("checkout",),
    "route_resolver": "/items/{id}",
    "access_log": "on",
    "access_log_sample_rate": 2,
    "access_log_slow": -1,
    "access_log_exclude_paths": "/a",
    "client_error_level": "ERROR",
    "log_level": "LOUD",
    "redact_keys": "ssn",
    "redact_patterns": ("(",),
    "redact_email": "all",
    "metrics": 0,
    "metric_sink": print,
    "metric_errors": ("6xx",),
    "dogstatsd": "yes",
    "dogstatsd_distribution": None,
    "prometheus_path": "metrics",
    "runtime_metrics": "on",
    "runtime_metrics_interval": 0,
    "slos": ("availability",),
    "slo_state_file": "",
    "faults": ["latency"],
    "error_envelope": "no",
    "load_shed": "on",
    "load_shed_limit": 0,
    "load_shed_queue": -1,
    "load_shed_max_wait": 0,
    "load_shed_lag_target": -0.1,
    "load_shed_paths": {"/a": "urgent"},
    "load_shed_priority_header": "",
    "load_shed_exempt_paths": "/a",
    "rewrite_error_responses": 1,
    "reraise": 0,
    "docs_url": "docs.example.com",
    "rate_limit": "often",
    "rate_limit_paths": {"login": "1/second"},
    "rate_limit_key": "cookie:a",
    "rate_limit_exempt_paths": ("a",),
    "rate_limit_headers": None,
    "rate_limit_unknown_client": "ignore",
    "rate_limit_store": "memcached://user:password@host",
    "rate_limit_leased": "yes",
    "rate_limit_key_secret": "too short",
    "timeout": "30",
    "stream_idle_timeout": 0,
    "event_stream_idle_timeout": -1,
    "stream_timeout": float("inf"),
    "timeout_paths": {"/a": "x"},
    "timeout_exempt_paths": "/a",
    "deadline_header": "",
    "trusted_proxies": ("10.0.0.1/8",),
}

FROM_TEXT = {
    "service": ("shop", "shop"),
    "environment": ("production", "production"),
    "version": ("1.2", "1.2"),
    "health": ("off", False),
    "health_path": ("/-/health", "/-/health"),
    "drain_seconds": ("5", 5.0),
    "request_id": ("no", False),
    "request_id_header": ("X-Correlation-ID", "X-Correlation-ID"),
    "trust_request_id": ("10.0.0.0/8, unix", ("10.0.0.0/8", "unix")),
    "trace_context": ("0", False),
    "trust_trace": ("no", False),
    "keep_traces": ("/checkout, header:X-Tier=gold", ("/checkout", "header:X-Tier=gold")),
    "access_log": ("False", False),
    "access_log_sample_rate": ("0.1", 0.1),
    "access_log_slow": ("inf", float("inf")),
    "access_log_exclude_paths": ("/a,/b", ("/a", "/b")),
    "client_error_level": ("warning", "WARN"),
    "log_level": ("trace", "TRACE"),
    "redact_keys": ("ssn, iban", ("ssn", "iban")),
    "redact_patterns": (r"\d{3,4} x+", (r"\d{3,4}", "x+")),
    "redact_email": ("domain", "domain"),
    "metrics": ("off", False),
    "metric_errors": ("5xx, 429", ("5xx", "429")),
    "dogstatsd": ("off", False),
    "dogstatsd_distribution": ("on", True),
    "prometheus_path": ("/metrics", "/metrics"),
    "runtime_metrics": ("off", False),
    "runtime_metrics_interval": ("60", 60.0),
    "slo_state_file": ("/var/lib/shop/slo.json", "/var/lib/shop/slo.json"),
    "error_envelope": ("off", False),
    "rewrite_error_responses": ("off", False),
    "reraise": ("off", False),
    "docs_url": ("https://docs.example.com", "https://docs.example.com"),
    "rate_limit": ("10/second, 100/minute", "10/second, 100/minute"),
    "rate_limit_paths": ("/login=5/minute,/a=none", {"/login": "5/minute", "/a": None}),
    "rate_limit_key": ("header:X-API-Key", "header:X-API-Key"),
    "rate_limit_exempt_paths": ("/a", ("/a",)),
    "rate_limit_headers": ("no", False),
    "rate_limit_unknown_client": ("shared", "shared"),
    "rate_limit_store": ("redis://cache:6379/1", "redis://cache:6379/1"),
    "rate_limit_leased": ("on", True),
    "rate_limit_key_secret": ("0123456789abcdef", "0123456789abcdef"),
    "load_shed": ("on", True),
    "load_shed_limit": ("50", 50),
    "load_shed_queue": ("0", 0),
    "load_shed_max_wait": ("0.5", 0.5),
    "load_shed_lag_target": ("none", None),
    "load_shed_paths": ("/pay=critical,/feed=sheddable", {"/pay": "critical", "/feed": "sheddable"}),
    "load_shed_priority_header": ("X-Priority", "X-Priority"),
    "load_shed_exempt_paths": ("/a,/b", ("/a", "/b")),
    "timeout": ("2.5", 2.5),
    "stream_idle_timeout": ("none", None),
    "event_stream_idle_timeout": ("60", 60.0),
    "stream_timeout": ("600", 600.0),
    "timeout_paths": ("/reports=120,/stream=none", {"/reports": 120.0, "/stream": None}),
    "timeout_exempt_paths": ("/a", ("/a",)),
    "deadline_header": ("X-Request-Timeout-Ms", "X-Request-Timeout-Ms"),
    "trusted_proxies": ("10.0.0.0/8,::1", ("10.0.0.0/8", "::1")),
}


def variable(name):
    return f"ASGI_RESILIENCE_{name.upper()}"


# ---------------------------------------------------------------------------------------------------- the value


def test_the_defaults_are_documented():
    """Every field has a line in the docstring, in the order of the fields."""
    attributes = cleandoc(Settings.__doc__).partition("Attributes:\n")[2].partition("\n\n")[0]
    documented = re.findall(r"^    (\w+): ", attributes, re.MULTILINE)
    assert documented == [*FIELDS]


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_checked(name):
    """A wrong value is refused when the settings are made, and the error names the field and the value."""
    with pytest.raises(ValueError, match=r"expected|not an address|not a regular") as raised:
        Settings(**{name: WRONG[name]})
    shown = "***" if name in table.SECRETS else repr(WRONG[name])
    assert str(raised.value).startswith(f"{name}={shown}: ")


def test_settings_are_frozen():
    """Nothing can be set afterwards, and there is no room for what is no field."""
    with pytest.raises(FrozenInstanceError):
        Settings().timeout = 1.0
    with pytest.raises((AttributeError, TypeError)):
        Settings().anything = 1


def test_collections_are_copies():
    """What is done to a list or mapping afterwards changes no settings."""
    paths, limits = ["/a"], {"/a": 1.0}
    settings = Settings(timeout_exempt_paths=paths, timeout_paths=limits)
    paths.append("/b")
    limits["/b"] = 2.0
    assert (settings.timeout_exempt_paths, settings.timeout_paths) == (("/a",), {"/a": 1.0})


@pytest.mark.parametrize(
    "same",
    [
        copy.deepcopy,
        lambda each: pickle.loads(pickle.dumps(each)),
        replace,
        lambda each: Settings(**asdict(each)),
    ],
)
def test_settings_can_be_copied(same):
    """Settings are an ordinary value: equal copies, `dataclasses.replace`, `asdict`, pickling."""
    settings = Settings(metrics=False, rate_limit_paths={"/a": ["1/second"]}, timeout_paths={"/b": 5.0})
    assert same(settings) == settings


@pytest.mark.parametrize(
    "options", [{"dogstatsd": True}, {"prometheus_path": "/metrics"}, {"slos": DEFAULT_SLOS}]
)
def test_what_belongs_to_the_pipeline_does_not_go_with_another_sink(options):
    """An agent, a path for Prometheus or objectives next to a sink of one's own are a mistake, and said so."""
    with pytest.raises(ValueError, match=f"{next(iter(options))}=.*: does not go with a metric_sink"):
        Settings(metric_sink=NULL, **options)
    assert Settings(metric_sink=NULL, dogstatsd=False).dogstatsd is False


@pytest.mark.parametrize("name", ["rate_limit_store", "rate_limit_key_secret"])
def test_secrets_are_not_shown(name):
    """Neither an error nor the text of the settings tells a password."""
    for wrong in (
        lambda: Settings(**{name: "a password"}),
        lambda: Settings.from_env({variable(name): "a password"}),
    ):
        with pytest.raises(ValueError, match="=\\*\\*\\*: expected") as raised:
            wrong()
        assert "a password" not in str(raised.value)
    text = {"rate_limit_store": "redis://:password@cache", "rate_limit_key_secret": "password" * 2}[name]
    assert "password" not in repr(Settings(**{name: text})).replace(name, "")


@pytest.mark.parametrize("key", ["header:X-API-Key", lambda scope: None])
def test_a_shared_store_needs_a_shared_secret(key):
    """Keys that are hashed are hashed alike by all processes, or the settings are refused; addresses are not hashed."""
    with pytest.raises(ValueError, match="rate_limit_key_secret=None: needed with a rate_limit_store"):
        Settings(rate_limit_store="redis://cache", rate_limit_key=key)
    Settings(rate_limit_store="redis://cache", rate_limit_key=key, rate_limit_key_secret="a" * 16)
    Settings(rate_limit_store="redis://cache")


@pytest.mark.parametrize("slos", [DEFAULT_SLOS[0], [DEFAULT_SLOS[0]]])
def test_one_objective_is_as_good_as_several(slos):
    """Whatever holds them, they are kept as a tuple."""
    assert Settings(slos=slos).slos == DEFAULT_SLOS[:1]


def test_objectives_have_different_names():
    """Their gauges and their histories would be the same."""
    with pytest.raises(ValueError, match=r"slos=.*: expected SLOs with different names"):
        Settings(slos=DEFAULT_SLOS * 2)


def test_whole_timeouts_are_kept():
    """A path may have all its limits at once."""
    assert Settings(timeout_paths={"/a": Timeouts(1.0)}).timeout_paths == {"/a": Timeouts(1.0)}


def test_the_redactor_is_that_of_the_settings():
    """Keys, patterns and the masked side of addresses go into every log line."""
    redactor = Settings(redact_keys=("iban",), redact_patterns=(r"id-\d+",), redact_email="domain").redactor()
    assert redactor.text("iban=DE12 id-77 ada@example.com password=x") == (
        f"iban={MARK} {MARK} ada@******.com password={MARK}"
    )


# ---------------------------------------------------------------------------------------------- the environment


def test_every_field_is_read():
    """All fields but those that hold objects have a variable."""
    assert FROM_TEXT.keys() == FIELDS.keys() - {
        *("health_checks", "metric_sink", "slos", "faults", "route_resolver")
    }


@pytest.mark.parametrize("name", FROM_TEXT)
def test_a_field_is_read_from_its_variable(name):
    """`ASGI_RESILIENCE_<FIELD>` sets the field, with space around the text ignored."""
    text, value = FROM_TEXT[name]
    assert getattr(Settings.from_env({variable(name): f" {text}\n"}), name) == value
    assert getattr(Settings(), name) != value


def test_all_fields_at_once():
    """The variables don't get into one another's way."""
    settings = Settings.from_env({variable(name): text for name, (text, _) in FROM_TEXT.items()})
    assert {name: getattr(settings, name) for name in FROM_TEXT} == {
        name: v for name, (_, v) in FROM_TEXT.items()
    }


@pytest.mark.parametrize("name", FROM_TEXT)
def test_an_empty_variable_is_not_set(name):
    """An empty variable, as templates leave it, changes nothing: above all it switches no limit off."""
    assert Settings.from_env({variable(name): " "}) == Settings()


def test_nothing_set_is_the_default(monkeypatch):
    """Without variables the settings are the defaults; without an argument `os.environ` is read."""
    assert Settings.from_env({}) == Settings()
    monkeypatch.setenv("ASGI_RESILIENCE_TIMEOUT", "7")
    assert Settings.from_env().timeout == 7.0


@pytest.mark.parametrize(
    ("tag", "name"), [("DD_SERVICE", "service"), ("DD_ENV", "environment"), ("DD_VERSION", "version")]
)
def test_datadog_s_tags_come_first(tag, name):
    """Unified service tagging wins over our own variable, unless it is empty."""
    assert getattr(Settings.from_env({tag: "theirs"}), name) == "theirs"
    assert getattr(Settings.from_env({tag: "theirs", variable(name): "ours"}), name) == "theirs"
    assert getattr(Settings.from_env({tag: "", variable(name): "ours"}), name) == "ours"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ASGI_RESILIENCE_TIMEOUT": "soon"}, "ASGI_RESILIENCE_TIMEOUT='soon': expected a number, or none"),
        ({"ASGI_RESILIENCE_HEALTH": "maybe"}, "ASGI_RESILIENCE_HEALTH='maybe': expected true or false"),
        (
            {"ASGI_RESILIENCE_TIMEOUT": "-1"},
            "ASGI_RESILIENCE_TIMEOUT='-1': expected seconds above 0, or None for no limit",
        ),
        (
            {"ASGI_RESILIENCE_RATE_LIMIT": "often"},
            "ASGI_RESILIENCE_RATE_LIMIT='often': rate limit 'often': expected ",
        ),
        (
            {"ASGI_RESILIENCE_TIMEOUT_PATHS": "a=1"},
            "ASGI_RESILIENCE_TIMEOUT_PATHS='a=1': 'a': expected a path",
        ),
        (
            {"ASGI_RESILIENCE_TIMEOUT_PATHS": "/a"},
            "ASGI_RESILIENCE_TIMEOUT_PATHS='/a': expected paths with seconds, as in ",
        ),
        ({"ASGI_RESILIENCE_LOG_LEVEL": "loud"}, "ASGI_RESILIENCE_LOG_LEVEL='loud': expected one of TRACE, "),
        ({"DD_VERSION": "a\x00"}, "DD_VERSION='a\\x00': expected text in one line"),
    ],
)
def test_a_wrong_variable_is_named(variables, message):
    """The error names the variable, its text, and what was expected."""
    with pytest.raises(ValueError) as raised:
        Settings.from_env(variables)
    assert str(raised.value).startswith(message)


def test_what_is_given_in_code_wins():
    """Overrides win over the environment, whose variable for them is not even looked at; objects are given so."""
    environ = {"ASGI_RESILIENCE_TIMEOUT": "soon", "ASGI_RESILIENCE_SERVICE": "env"}
    settings = Settings.from_env(environ, timeout=3.0, metric_sink=NULL)
    assert (settings.timeout, settings.service, settings.metric_sink) == (3.0, "env", NULL)


def test_a_wrong_override_is_named_as_a_field():
    """A mistake in the code is not blamed on a variable."""
    with pytest.raises(ValueError, match=r"^timeout=-1: expected"):
        Settings.from_env({"ASGI_RESILIENCE_TIMEOUT": "5"}, timeout=-1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ASGI_RESILIENCE_TIMOUT",
            "ASGI_RESILIENCE_TIMOUT is not a setting that can be read; is ASGI_RESILIENCE_TIMEOUT meant?",
        ),
        ("ASGI_RESILIENCE_", "ASGI_RESILIENCE_ is not a setting that can be read"),
        ("ASGI_RESILIENCE_METRIC_SINK", "ASGI_RESILIENCE_METRIC_SINK is not a setting that can be read"),
    ],
)
def test_a_variable_that_names_no_field_is_a_warning(name, message):
    """A misspelt variable is told of with the nearest name, at the caller's line, and stops no deployment."""
    with pytest.warns(UserWarning, match="is not a setting") as caught:
        settings = Settings.from_env({name: "1"})
    assert settings == Settings()
    (warning,) = caught
    assert str(warning.message).startswith(message)
    assert warning.filename == __file__


def test_other_programs_variables_are_not_ours():
    """Only variables with our prefix are looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            Settings.from_env({"_ASGI_RESILIENCE_RUN": "x", "TIMEOUT": "x", "DD_AGENT_HOST": "x"})
            == Settings()
        )


def test_every_field_has_a_form():
    """A field that is added without a form, or a reader, fails here and not at a user's."""
    for name, each in FIELDS.items():
        assert name in table.FORMS or type(each.default) in table.FORMS_BY_TYPE
        assert name in table.OBJECTS or name in table.READERS or type(each.default) in table.READERS_BY_TYPE
