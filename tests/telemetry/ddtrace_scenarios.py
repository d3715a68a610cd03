"""Requests under a real ddtrace, which would stay in a test process for good: `test_tracing.py` runs this as a program.

Writes, as JSON, what each scenario saw: the record, what ddtrace itself would write into a log line, and the spans.
"""

import json
import logging
import sys
from functools import partial

import anyio
import ddtrace
from ddtrace.contrib.asgi import TraceMiddleware
from ddtrace.internal import core
from ddtrace.internal.core import event_hub
from ddtrace.trace import Context, Span, TraceFilter, tracer
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from asgi_resilience import context
from asgi_resilience.context import current_request
from asgi_resilience.middleware.error_envelope import ErrorEnvelopeMiddleware
from asgi_resilience.middleware.request_id import RequestIDMiddleware
from asgi_resilience.middleware.trace_context import TraceContextMiddleware
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
        self.facts["spans"] = [
            {
                "name": span.name,
                "trace_id": f"{span.trace_id:032x}",
                "span_id": f"{span.span_id:016x}",
                "parent_id": span.parent_id,
                "error": span.error,
                "request_id": span.get_tag("http.request_id"),
                "error_code": span.get_tag("error.code"),
            }
            for span in finished
        ]
        self.facts["failures"] = sum(context.failures.values())
        return self.facts


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


def layers(app, **options):
    return RequestIDMiddleware(TraceContextMiddleware(app, service="ours", environment="ours", **options))


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
    return layers(partial(fine, seen))


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

    return layers(app)


async def main():
    told = {
        "bare": await scenario(
            lambda seen: layers(TraceMiddleware(partial(fine, seen)), response_header="x-trace-id")
        ),
        "bare_exception": await scenario(lambda seen: layers(TraceMiddleware(partial(fails, seen)))),
        "alone": await scenario(lambda seen: TraceContextMiddleware(TraceMiddleware(partial(fine, seen)))),
        "child": await scenario(lambda seen: layers(TraceMiddleware(partial(nested, seen)))),
        "around": await scenario(lambda seen: TraceMiddleware(layers(partial(fine, seen)))),
        "around_error": await scenario(
            lambda seen: TraceMiddleware(layers(ErrorEnvelopeMiddleware(partial(fails, seen))))
        ),
        "inbound": await scenario(
            lambda seen: layers(TraceMiddleware(partial(fine, seen))), headers={"traceparent": TRACEPARENT}
        ),
        "uninstrumented": await scenario(lambda seen: layers(partial(fine, seen))),
        "remote_parent": await scenario(below_remote_parent),
        "refused": await scenario(lambda seen: layers(TraceMiddleware(partial(fine, seen)), ddtrace=False)),
        "not_ours": await scenario(
            lambda seen: layers(partial(fine, seen), ddtrace=False, response_header="x-trace-id")
        ),
        "untaggable": await scenario(untaggable),
        "no_event": await scenario(
            without_event(lambda seen: layers(TraceMiddleware(partial(nested, seen)), ddtrace=True))
        ),
        "no_event_exception": await scenario(
            without_event(lambda seen: layers(TraceMiddleware(partial(fails, seen)), ddtrace=True))
        ),
    }
    ddtrace.patch(starlette=True)
    told["starlette"] = await scenario(lambda seen: layers(starlette(seen)), "/ok/5")
    told["starlette_mount"] = await scenario(lambda seen: layers(starlette(seen)), "/sub/ok/5")
    told["starlette_exception"] = await scenario(lambda seen: layers(starlette(seen)), "/boom")
    told["websocket"] = await scenario(lambda seen: layers(starlette(seen)), "/ws", websocket=True)
    return told


if __name__ == "__main__":
    if tracer.enabled:  # to configure the tracer would switch it on
        tracer.configure(trace_processors=[Capture()])
    logging.disable()
    sys.stdout.write(json.dumps(anyio.run(main, backend=sys.argv[1])))
