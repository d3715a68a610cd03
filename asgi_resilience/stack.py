"""The whole stack in the right order.

This is the one place where the order of the layers is written:

    wrap(app) = Health(RequestID(TraceContext(AccessLog(Metrics(ErrorEnvelope(RateLimit(LoadShed(Timeout(app)))))))))

Health is outermost: a probe is neither limited, logged nor timed out with the traffic; where Prometheus is answered, that
is right inside of it, for the same reason. The id comes before everything
that mentions it. The log and the metrics see what the client sees, so they stand outside the envelope. The envelope
turns whatever falls out of the inner layers into the one shape of an error. Where faults are made on purpose, they are
made innermost, in the place of the app, so that every layer meets them.
"""

from typing import Any, Final, cast

from starlette.middleware import Middleware

from asgi_resilience.context import ASGIApp
from asgi_resilience.error_response import ErrorRenderer
from asgi_resilience.faults import FaultPlan
from asgi_resilience.logs.schema import LineFormatter
from asgi_resilience.metric_sink import NULL, MetricSink
from asgi_resilience.middleware.access_log import AccessLogMiddleware
from asgi_resilience.middleware.error_envelope import ErrorEnvelopeMiddleware
from asgi_resilience.middleware.fault_injection import FaultInjectionMiddleware
from asgi_resilience.middleware.health import HealthMiddleware
from asgi_resilience.middleware.load_shed import LoadShedMiddleware
from asgi_resilience.middleware.metrics import MetricsMiddleware
from asgi_resilience.middleware.prometheus import PrometheusMiddleware
from asgi_resilience.middleware.rate_limit import RateLimitMiddleware
from asgi_resilience.middleware.request_id import RequestIDMiddleware
from asgi_resilience.middleware.timeout import TimeoutMiddleware
from asgi_resilience.middleware.trace_context import TraceContextMiddleware
from asgi_resilience.peers import TrustedProxies
from asgi_resilience.quota.gcra import AsyncQuotaStore
from asgi_resilience.quota.of_settings import quota_store, with_check
from asgi_resilience.settings import Settings
from asgi_resilience.telemetry.error_budgets import keep_error_budgets
from asgi_resilience.telemetry.pipeline import pipeline
from asgi_resilience.telemetry.process_sink import set_process_sink

__all__ = ("is_wrapped", "stack", "wrap")

_LAYERS = (
    HealthMiddleware,
    PrometheusMiddleware,
    RequestIDMiddleware,
    TraceContextMiddleware,
    AccessLogMiddleware,
    MetricsMiddleware,
    ErrorEnvelopeMiddleware,
    RateLimitMiddleware,
    LoadShedMiddleware,
    TimeoutMiddleware,
    FaultInjectionMiddleware,
)


_DEEPEST: Final = 50
"""How far `is_wrapped` looks inwards: an object that makes up its attributes has no end of them."""


class _Layer(Middleware):
    """A layer that `stack` has listed, told from one that an application has put into a list of its own."""


def wrap(app: ASGIApp, settings: Settings | None = None) -> ASGIApp:
    """`app` inside the whole stack: what to hand to the server.

    Outside of the framework, the stack sees everything: the framework's own 404s and 500s, and mounted apps.

    Args:
        app: Any ASGI app.
        settings: None: `Settings.from_env()`.

    Raises:
        ValueError: The app is already wrapped, which would log and count everything twice; or the settings are wrong.
        TypeError: `app` can't be called.
    """
    if not callable(app):
        raise TypeError(f"wrap: expected an ASGI app, got {app!r}")
    if is_wrapped(app):
        raise ValueError(f"wrap: {app!r} is already wrapped; wrap it once, where it is handed to the server")
    for layer in reversed(stack(settings)):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return app


def is_wrapped(app: object) -> bool:
    """Whether one of our layers stands around `app`, other middlewares around that or not, or it was given `stack()`."""
    outer: Any = app
    for _ in range(_DEEPEST):
        listed = getattr(outer, "user_middleware", None)  # Starlette's name for what it was given
        if isinstance(outer, _LAYERS) or (
            isinstance(listed, list)
            and any(isinstance(each, _Layer) for each in cast("list[object]", listed))
        ):
            return True
        outer = getattr(outer, "app", None)  # everybody's name for the app inside of a middleware
    return False


def stack(settings: Settings | None = None) -> list[Middleware]:
    """The layers, outermost first, as Starlette takes them: `Starlette(middleware=stack(settings))`.

    Inside of the framework, the stack does not see what the framework answers outside of its middleware, such as
    Starlette's last-resort 500. `wrap` does. What is switched off is not in the list: also a rate limit without any
    limit, and a timeout without any.

    Args:
        settings: None: `Settings.from_env()`.

    Raises:
        ValueError: The settings are wrong.
    """
    settings = Settings.from_env() if settings is None else settings
    errors = ErrorRenderer(docs_url=settings.docs_url)
    proxies = TrustedProxies(settings.trusted_proxies)
    service, environment, version = settings.service, settings.environment, settings.version
    layers: list[Middleware] = []
    sink: MetricSink = NULL
    store = quota_store(settings)
    reports: dict[str, Any] = {}
    if settings.metrics and settings.slos:
        budgets = keep_error_budgets(pipeline(), settings.slos, settings.slo_state_file)
        reports["error_budgets"] = budgets.report
    if settings.health:
        base = settings.health_path.rstrip("/")
        layers.append(
            _Layer(
                HealthMiddleware,
                checks=with_check(settings.health_checks, store),
                version=version,
                path=settings.health_path,
                live_path=f"{base}/live",
                ready_path=f"{base}/ready",
                startup_path=f"{base}/startup",
                reports=reports,
                drain_seconds=settings.drain_seconds,
            )
        )
    if settings.metrics and settings.prometheus_path is not None:
        layers.append(_Layer(PrometheusMiddleware, path=settings.prometheus_path))
    if settings.request_id:
        layers.append(
            _Layer(RequestIDMiddleware, header=settings.request_id_header, trust=settings.trust_request_id)
        )
    if settings.trace_context:
        layers.append(
            _Layer(
                TraceContextMiddleware,
                trust=settings.trust_trace,
                service=service,
                environment=environment,
                version=version,
                route_resolver=settings.route_resolver,
                keep=settings.keep_traces,
                errors=errors if settings.error_envelope else None,
            )
        )
    if settings.access_log:
        layers.append(
            _Layer(
                AccessLogMiddleware,
                level=settings.log_level,
                sample_rate=settings.access_log_sample_rate,
                slow=settings.access_log_slow,
                exclude_paths=settings.access_log_exclude_paths,
                client_error_level=settings.client_error_level,
                trusted_proxies=proxies,
                formatter=LineFormatter(
                    service=service, environment=environment, version=version, redactor=settings.redactor()
                ),
            )
        )
    if settings.metrics:
        sink = _sink(settings)
        layers.append(_Layer(MetricsMiddleware, sink=sink, errors=settings.metric_errors))
    if settings.error_envelope:
        layers.append(
            _Layer(
                ErrorEnvelopeMiddleware,
                rewrite=settings.rewrite_error_responses,
                reraise=settings.reraise,
                errors=errors,
            )
        )
    return [*layers, *_guards(settings, errors, sink, store)]


def _guards(
    settings: Settings, errors: ErrorRenderer, sink: MetricSink, store: AsyncQuotaStore | None
) -> list[Middleware]:
    """The layers that answer in the place of the application, outermost first."""
    proxies = TrustedProxies(settings.trusted_proxies)
    layers: list[Middleware] = []
    if settings.rate_limit is not None or settings.rate_limit_paths:
        secret = settings.rate_limit_key_secret
        layers.append(
            _Layer(
                RateLimitMiddleware,
                limit=settings.rate_limit,
                paths=settings.rate_limit_paths,
                key=settings.rate_limit_key,
                exempt_paths=settings.rate_limit_exempt_paths,
                headers=settings.rate_limit_headers,
                unknown_client=settings.rate_limit_unknown_client,
                store=store,
                key_secret=None if secret is None else secret.encode(),
                trusted_proxies=proxies,
                errors=errors,
            )
        )
    if settings.load_shed:
        layers.append(
            _Layer(
                LoadShedMiddleware,
                limit=settings.load_shed_limit,
                queue=settings.load_shed_queue,
                max_wait=settings.load_shed_max_wait,
                lag_target=settings.load_shed_lag_target,
                paths=settings.load_shed_paths,
                priority_header=settings.load_shed_priority_header,
                exempt_paths=settings.load_shed_exempt_paths,
                trusted_proxies=proxies,
                errors=errors,
                sink=sink,
            )
        )
    if _has_limits(settings):
        layers.append(
            _Layer(
                TimeoutMiddleware,
                seconds=settings.timeout,
                stream_idle=settings.stream_idle_timeout,
                event_stream_idle=settings.event_stream_idle_timeout,
                stream=settings.stream_timeout,
                paths=settings.timeout_paths,
                exempt_paths=settings.timeout_exempt_paths,
                deadline_header=settings.deadline_header,
                trusted_proxies=proxies,
                errors=errors,
            )
        )
    if settings.faults != ():  # a plan that makes none yet may be changed
        faults = FaultPlan.of(settings.faults, settings.environment, sink)
        layers.append(_Layer(FaultInjectionMiddleware, faults=faults, errors=errors))
    return layers


def _sink(settings: Settings) -> MetricSink:
    """Where the layer, and all else in this process that has no sink of its own, takes its numbers."""
    sink = settings.metric_sink
    if sink is None:
        sink = pipeline()
        tags = (("service", settings.service), ("env", settings.environment), ("version", settings.version))
        sink.use_dogstatsd(
            wanted=settings.dogstatsd,
            tags=[f"{key}:{value}" for key, value in tags if value],
            distribution=settings.dogstatsd_distribution,
        )
        sink.measure_runtime(settings.runtime_metrics_interval if settings.runtime_metrics else None)
    set_process_sink(sink)
    return sink


def _has_limits(settings: Settings) -> bool:
    limits = (
        settings.timeout,
        settings.stream_idle_timeout,
        settings.event_stream_idle_timeout,
        settings.stream_timeout,
        settings.deadline_header,
    )
    return bool(settings.timeout_paths) or any(limit is not None for limit in limits)
