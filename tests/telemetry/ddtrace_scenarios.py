"""Requests under a real ddtrace, which would stay in a test process for good: `test_tracing.py` runs this as a program.

Writes, as JSON, what each scenario saw: the record, what ddtrace itself would write into a log line, and the spans.
"""

import json
import logging
import sys
import threading
from functools import partial

import anyio
import ddtrace
from ddtrace.contrib.asgi import TraceMiddleware
from ddtrace.internal import core
from ddtrace.internal.core import event_hub
from ddtrace.trace import Context, Span, TraceFilter, tracer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from asgi_resilience import NotFound, Settings, TimeoutMiddleware, context, stack, wrap
from asgi_resilience.client.propagation import trace_headers
from asgi_resilience.context import KEY, current_request
from asgi_resilience.middleware.error_envelope import ErrorEnvelopeMiddleware
from asgi_resilience.middleware.request_id import RequestIDMiddleware
from asgi_resilience.middleware.trace_context import TraceContextMiddleware
from asgi_resilience.telemetry import keep_trace, set_attributes
from asgi_resilience.testing import asgi_request, asgi_websocket

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
finished = []


class Capture(TraceFilter):
    def process_trace(self, trace):
        finished.extend(trace)


class Seen:
    """What was seen of one request."""

    def __init__(self):
        self.facts = {}

    def handler(self):
        record = current_request()
        self.facts["in_handler"] = dict(record.log_fields)
        self.facts["of_ddtrace"] = tracer.get_log_correlation_context()
        self.record = record

    def close(self):
        record = self.record
        self.facts["record"] = {
            "trace_id": record.trace_id,
            "span_id": record.span_id,
            "traced": record.traced,
            "log_fields": record.log_fields,
            "route": record.route,
        }
        self.facts["spans"] = [facts_of(span) for span in finished]
        self.facts["failures"] = sum(context.failures.values())
        return self.facts


def facts_of(span):
    return {
        "name": span.name,
        "trace_id": f"{span.trace_id:032x}",
        "span_id": f"{span.span_id:016x}",
        "parent_id": span.parent_id,
        "error": span.error,
        "request_id": span.get_tag("http.request_id"),
        "error_code": span.get_tag("error.code"),
        "resource": span.resource,
        "route": span.get_tag("http.route"),
        "status": span.get_tag("http.status_code"),
        "priority": span.context.sampling_priority,
        "decided_by": span.context._meta.get("_dd.p.dm"),
        "links": [f"{link.trace_id:032x}-{link.span_id:016x}" for link in span._get_links()],
        "tags": {key: value for key, value in span.get_tags().items() if key.startswith(("shop.", "user."))},
        "numbers": {key: value for key, value in span.get_metrics().items() if key.startswith("shop.")},
    }


async def fine(seen, scope, receive, send):
    seen.handler()
    await PlainTextResponse("ok")(scope, receive, send)


async def fails(seen, scope, receive, send):
    seen.handler()
    raise LookupError("boom")


async def nested(seen, scope, receive, send):
    seen.handler()
    with tracer.trace("inner.work"):
        await PlainTextResponse("ok")(scope, receive, send)


def starlette(seen):
    async def ok(_request):
        seen.handler()
        return PlainTextResponse("ok")

    async def boom(_request):
        seen.handler()
        raise LookupError("boom")

    async def talk(socket):
        seen.handler()
        await socket.accept()
        await socket.close()

    return Starlette(
        routes=[
            Route("/ok/{id}", ok),
            Route("/boom", boom),
            Mount("/sub", app=Starlette(routes=[Route("/ok/{id}", ok)])),
            WebSocketRoute("/ws", talk),
        ]
    )


class Noted:
    """Notes the record of a request whose handler does not."""

    def __init__(self, app, seen):
        self.app = app
        self.seen = seen

    async def __call__(self, scope, receive, send):
        if self.seen is not None:
            self.seen.record = scope[KEY]
        await self.app(scope, receive, send)


def layers(app, seen=None, **options):
    layer = TraceContextMiddleware(app, service="ours", environment="ours", **options)
    return RequestIDMiddleware(Noted(layer, seen))


async def scenario(make, path="/", headers=(), websocket=False):
    finished.clear()
    context.failures.clear()
    tracer.context_provider.activate(None)
    seen = Seen()
    app = make(seen)
    if websocket:
        await asgi_websocket(app, path, headers=headers)
    else:
        response = await asgi_request(app, path=path, headers=headers)
        seen.facts["status"] = response.status
        seen.facts["request_id"] = response.headers.get("x-request-id")
        seen.facts["trace_header"] = response.headers.get("x-trace-id")
    return seen.close()


def without_event(make):
    """Make the app while ddtrace has no event for the start of a request."""

    def made(seen):
        event_hub.reset("asgi.start_request")
        on, core.on = core.on, None
        try:
            return make(seen)
        finally:
            core.on = on

    return made


def below_remote_parent(seen):
    tracer.context_provider.activate(Context(trace_id=5, span_id=6))
    return layers(partial(fine, seen), open_span=False)


def untaggable(seen):
    def broken(*_args):
        raise RuntimeError("no")

    inner = TraceMiddleware(partial(fine, seen))

    async def app(scope, receive, send):
        set_tag, Span.set_tag = Span.set_tag, broken
        try:
            await inner(scope, receive, send)
        finally:
            Span.set_tag = set_tag

    return layers(app, open_span=False)


def unclosable(seen):
    """An app whose span ends with an exception, and then takes no tag any more."""
    set_tag = Span.set_tag

    def broken(*_args):
        raise RuntimeError("no")

    async def app(scope, receive, send):
        seen.handler()
        Span.set_tag = broken
        raise LookupError("boom")

    inner = TraceMiddleware(app)

    async def repaired(scope, receive, send):
        try:
            await inner(scope, receive, send)
        finally:
            Span.set_tag = set_tag

    return layers(repaired, open_span=False)


async def breaks_off(seen, scope, receive, send):
    seen.handler()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise LookupError("boom")


async def unavailable(seen, scope, receive, send):
    seen.handler()
    await PlainTextResponse("later", 503)(scope, receive, send)


async def missing(seen, scope, receive, send):
    seen.handler()
    raise NotFound


async def hangs(seen, scope, receive, send):
    seen.handler()
    await anyio.sleep_forever()


async def tells(seen, scope, receive, send):
    seen.handler()
    with tracer.trace("inner.work"):
        set_attributes(**{"shop.match": "a1", "shop.hit": True, "shop.value": 0.25, "shop.none": None})
        keep_trace()
    await PlainTextResponse("ok")(scope, receive, send)
    set_attributes(**{"shop.late": "x"})


async def calls(seen, scope, receive, send):
    seen.handler()
    with tracer.trace("call") as span:
        seen.facts["calling"] = f"{span.span_id:016x}"
        seen.facts["sends"] = dict(trace_headers(current_request()))
    await PlainTextResponse("ok")(scope, receive, send)


def cancelled(app):
    """The server takes the request's task away."""

    async def server(scope, receive, send):
        with anyio.move_on_after(0.01):
            await app(scope, receive, send)

    return server


async def talks(seen, scope, receive, send):
    seen.handler()
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close"})


def outside_of_requests():
    """What the functions for handlers do where there is no request."""
    finished.clear()
    tracer.context_provider.activate(None)
    set_attributes(**{"shop.nobody": "x"})
    keep_trace()
    with tracer.trace("job"):
        set_attributes(**{"shop.job": "x"})
        keep_trace()
        sends = dict(trace_headers(None))
    nothing = [*trace_headers(None)]
    return {
        "spans": [facts_of(span) for span in finished],
        "sends": sends,
        "nothing": nothing,
        "failures": 0,
    }


def hidden(app):
    """Nobody can see that ddtrace stands in here."""
    inner = TraceMiddleware(app)

    async def closed(scope, receive, send):
        await inner(scope, receive, send)

    return closed


def mounted(app):
    """Another app below a path, as a mount calls it."""
    inner = TraceMiddleware(app)

    async def mount(scope, receive, send):
        await inner({**scope, "root_path": "/sub"}, receive, send)

    return mount


async def shutdown(flush, **options):
    """The messages of a lifespan, and the threads that the tracer was flushed in."""
    context.failures.clear()
    threads, sent = [], []

    def flushed():
        threads.append(threading.current_thread() is threading.main_thread())
        flush()

    async def app(scope, receive, send):
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message):
        sent.append((message["type"], len(threads)))

    original, tracer.flush = tracer.flush, flushed
    try:
        await TraceContextMiddleware(app, **options)({"type": "lifespan"}, None, send)
    finally:
        tracer.flush = original
    return {"sent": sent, "in_main": threads, "failures": sum(context.failures.values())}


def fails_to_flush():
    raise OSError("nobody listens")


class Again:
    """Sends each request twice; the second is the one that counts."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def nowhere(_message):
            pass

        await self.app(dict(scope), receive, nowhere)
        tracer.context_provider.activate(None)
        finished.clear()
        await self.app(scope, receive, send)


def route_of(scope):
    return "/items/{id}" if scope["path"].startswith("/items/") else None


def late_route(scope):
    return scope.get("routed")


async def routes_late(seen, scope, receive, send):
    seen.handler()
    scope["routed"] = "/late/{id}"
    await PlainTextResponse("ok")(scope, receive, send)


class Listed:
    """An app of a framework that has a list of middlewares."""

    def __init__(self, app, name, entry):
        self.inner = TraceMiddleware(app)
        setattr(self, name, [object, entry])

    async def __call__(self, scope, receive, send):
        await self.inner(scope, receive, send)


class Defined:
    middleware = TraceMiddleware


class Endless:
    """Has an app inside of it, like that one, and so on."""

    def __getattr__(self, name):
        return self

    async def __call__(self, scope, receive, send):
        await PlainTextResponse("ok")(scope, receive, send)


TRUSTED = {"trust": ("10.0.0.0/8",)}
INBOUND = {
    "traceparent": TRACEPARENT,
    "tracestate": "dd=s:2",
    "x-datadog-sampling-priority": "2",
    "baggage": "user.id=5",
    "x-b3-sampled": "1",
}


async def main():
    own = partial(layers, open_span=True)
    told = {
        "bare": await scenario(
            lambda seen: layers(TraceMiddleware(partial(fine, seen)), response_header="x-trace-id")
        ),
        "bare_exception": await scenario(lambda seen: layers(TraceMiddleware(partial(fails, seen)))),
        "bare_answered": await scenario(
            lambda seen: wrap(
                TraceMiddleware(partial(fails, seen)), Settings(reraise=False, access_log=False)
            )
        ),
        "bare_missing": await scenario(
            lambda seen: wrap(TraceMiddleware(partial(missing, seen)), Settings(access_log=False))
        ),
        "bare_unavailable": await scenario(lambda seen: layers(TraceMiddleware(partial(unavailable, seen)))),
        "bare_breaks_off": await scenario(lambda seen: layers(TraceMiddleware(partial(breaks_off, seen)))),
        "bare_cancelled": await scenario(
            lambda seen: cancelled(layers(TraceMiddleware(partial(hangs, seen))))
        ),
        "alone": await scenario(lambda seen: TraceContextMiddleware(TraceMiddleware(partial(fine, seen)))),
        "child": await scenario(lambda seen: layers(TraceMiddleware(partial(nested, seen)))),
        "around": await scenario(lambda seen: TraceMiddleware(layers(partial(fine, seen)))),
        "around_error": await scenario(
            lambda seen: TraceMiddleware(layers(ErrorEnvelopeMiddleware(partial(fails, seen))))
        ),
        "around_unavailable": await scenario(
            lambda seen: TraceMiddleware(layers(partial(unavailable, seen)))
        ),
        "around_exception": await scenario(lambda seen: TraceMiddleware(layers(partial(fails, seen)))),
        "around_breaks_off": await scenario(lambda seen: TraceMiddleware(layers(partial(breaks_off, seen)))),
        "inbound": await scenario(
            lambda seen: layers(TraceMiddleware(partial(fine, seen))), headers={"traceparent": TRACEPARENT}
        ),
        "untrusted": await scenario(
            lambda seen: layers(TraceMiddleware(partial(fine, seen)), **TRUSTED), headers=INBOUND
        ),
        "untrusted_datadog": await scenario(
            lambda seen: own(partial(fine, seen), trust=False), headers={"x-datadog-trace-id": "5"}
        ),
        "opened": await scenario(lambda seen: own(partial(fine, seen), route_resolver=route_of), "/items/5"),
        "opened_late": await scenario(
            lambda seen: own(partial(routes_late, seen), route_resolver=late_route)
        ),
        "opened_exception": await scenario(lambda seen: own(partial(fails, seen))),
        "opened_error": await scenario(lambda seen: own(ErrorEnvelopeMiddleware(partial(fails, seen)))),
        "opened_inbound": await scenario(
            lambda seen: own(partial(fine, seen)), headers={"traceparent": TRACEPARENT}
        ),
        "opened_timeout": await scenario(
            lambda seen: own(TimeoutMiddleware(TraceMiddleware(partial(hangs, seen)), seconds=0.01))
        ),
        "opened_nowhere": await scenario(lambda seen: own(PlainTextResponse("no", 404), seen=seen)),
        "opened_websocket": await scenario(
            lambda seen: own(partial(talks, seen), route_resolver=route_of), "/items/5", websocket=True
        ),
        "endless": await scenario(lambda seen: own(Endless(), seen=seen)),
        "listed_starlette": await scenario(
            lambda seen: own(Listed(partial(fine, seen), "user_middleware", Middleware(TraceMiddleware)))
        ),
        "listed_class": await scenario(
            lambda seen: own(Listed(partial(fine, seen), "middleware", TraceMiddleware))
        ),
        "listed_defined": await scenario(
            lambda seen: own(Listed(partial(fine, seen), "middleware", Defined))
        ),
        "hidden": await scenario(lambda seen: Again(own(hidden(partial(fine, seen))))),
        "mounted": await scenario(lambda seen: Again(own(mounted(partial(fine, seen))))),
        "keep_path": await scenario(lambda seen: own(partial(fine, seen), keep="/paid"), "/paid/5"),
        "keep_header": await scenario(
            lambda seen: own(partial(fine, seen), keep="header:x-debug"), headers={"x-debug": "1"}
        ),
        "keep_untrusted": await scenario(
            lambda seen: own(partial(fine, seen), keep="header:x-debug", **TRUSTED), headers={"x-debug": "1"}
        ),
        "tells": await scenario(lambda seen: own(partial(tells, seen))),
        "calls": await scenario(lambda seen: own(partial(calls, seen)), headers={"traceparent": TRACEPARENT}),
        "calls_refused": await scenario(
            lambda seen: own(partial(calls, seen), ddtrace=False), headers={"traceparent": TRACEPARENT}
        ),
        "uninstrumented": await scenario(lambda seen: layers(partial(fine, seen), open_span=False)),
        "remote_parent": await scenario(below_remote_parent),
        "refused": await scenario(lambda seen: layers(TraceMiddleware(partial(fine, seen)), ddtrace=False)),
        "not_ours": await scenario(
            lambda seen: layers(partial(fine, seen), ddtrace=False, response_header="x-trace-id")
        ),
        "untaggable": await scenario(untaggable),
        "unclosable": await scenario(unclosable),
        "no_event": await scenario(
            without_event(lambda seen: layers(TraceMiddleware(partial(nested, seen)), ddtrace=True))
        ),
        "no_event_exception": await scenario(
            without_event(lambda seen: layers(TraceMiddleware(partial(fails, seen)), ddtrace=True))
        ),
    }
    told["outside"] = outside_of_requests()
    told["shutdown"] = await shutdown(int)
    told["shutdown_refused"] = await shutdown(int, ddtrace=False)
    told["shutdown_failing"] = await shutdown(fails_to_flush)
    ddtrace.patch(starlette=True)
    told["starlette"] = await scenario(lambda seen: layers(starlette(seen)), "/ok/5")
    told["starlette_mount"] = await scenario(lambda seen: layers(starlette(seen)), "/sub/ok/5")
    told["starlette_nowhere"] = await scenario(lambda seen: layers(starlette(seen), seen=seen), "/made/up")
    told["starlette_exception"] = await scenario(lambda seen: layers(starlette(seen)), "/boom")
    told["starlette_wrapped"] = await scenario(
        lambda seen: wrap(starlette(seen), Settings(reraise=False, access_log=False)), "/boom"
    )
    told["starlette_stack"] = await scenario(
        lambda seen: Starlette(
            routes=starlette(seen).routes, middleware=stack(Settings(reraise=False, access_log=False))
        ),
        "/boom",
    )
    told["websocket"] = await scenario(lambda seen: layers(starlette(seen)), "/ws", websocket=True)
    return told


if __name__ == "__main__":
    if tracer.enabled:  # to configure the tracer would switch it on
        tracer.configure(trace_processors=[Capture()])
    logging.disable()
    sys.stdout.write(json.dumps(anyio.run(main, backend=sys.argv[1])))
