"""One and the same small service in four frameworks, or without any."""

import anyio
from litestar import Litestar, get, websocket
from litestar.connection import WebSocket as LitestarWebSocket
from litestar.params import FromPath
from litestar.response import Stream
from quart import Quart
from quart import websocket as quart_websocket
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from asgi_resilience import current_request

SECRET = "postgresql://ada:hunter2@db"


def own_id() -> str:
    return current_request().request_id


async def stalling():
    yield b"first half"
    await anyio.sleep_forever()


def starlette():
    async def item(request):
        return PlainTextResponse(own_id())

    async def crash(request):
        raise RuntimeError(SECRET)

    async def slow(request):
        await anyio.sleep_forever()

    async def stream(request):
        return StreamingResponse(stalling(), media_type="text/plain")

    async def echo(socket):
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    return Starlette(
        routes=[
            Route("/items/{number}", item),
            Route("/crash", crash),
            Route("/slow", slow),
            Route("/stream", stream),
            WebSocketRoute("/echo", echo),
        ]
    )


def litestar():
    @get("/items/{number:int}", media_type="text/plain")
    async def item(number: FromPath[int]) -> str:
        return own_id()

    @get("/crash")
    async def crash() -> None:
        raise RuntimeError(SECRET)

    @get("/slow")
    async def slow() -> None:
        await anyio.sleep_forever()

    @get("/stream")
    async def stream() -> Stream:
        return Stream(stalling, media_type="text/plain")

    @websocket("/echo")
    async def echo(socket: LitestarWebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    return Litestar([item, crash, slow, stream, echo], openapi_config=None)


def quart():
    app = Quart(__name__)

    @app.get("/items/<int:number>")
    async def item(number):
        return own_id(), 200, {"content-type": "text/plain"}

    @app.get("/crash")
    async def crash():
        raise RuntimeError(SECRET)

    @app.get("/slow")
    async def slow():
        await anyio.sleep_forever()

    @app.get("/stream")
    async def stream():
        return stalling(), 200, {"content-type": "text/plain"}

    @app.websocket("/echo")
    async def echo():
        await quart_websocket.send(await quart_websocket.receive())

    return app


def bare():
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        path = scope["path"]
        if path == "/echo":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": (await receive())["text"]})
            await send({"type": "websocket.close"})
            return
        if path == "/crash":
            raise RuntimeError(SECRET)
        if path == "/slow":
            await anyio.sleep_forever()
        found = path.startswith(("/items/", "/stream"))
        await send({"type": "http.response.start", "status": 200 if found else 404})
        if path == "/stream":
            async for part in stalling():
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": own_id().encode() if found else b""})

    return app


FRAMEWORKS = {"starlette": starlette, "litestar": litestar, "quart": quart, "bare": bare}
