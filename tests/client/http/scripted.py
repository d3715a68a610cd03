"""A server without a network that answers as scripted, and a client of it."""

import asyncio

import httpx2

from asgi_resilience.client import (
    ResilientClient,
)

URL = "https://provider.example"


def now():
    """The event loop's clock."""
    return round(asyncio.get_running_loop().time(), 6)


class Server:
    """Answers as scripted, and keeps what it was sent; the last answer repeats."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.requests = []
        self.bodies = []

    async def __call__(self, request):
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, httpx2.ConnectError):
            raise answer
        self.bodies.append(await request.aread())
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return httpx2.Response(200)
        if isinstance(answer, int):
            return httpx2.Response(answer)
        return answer(request) if callable(answer) else answer

    def sent(self, name):
        """The values of one header, request by request."""
        return [request.headers.get(name) for request in self.requests]


class Mock(httpx2.AsyncBaseTransport):
    """A transport without a network that notices whether it was closed."""

    closed = False

    def __init__(self, server):
        self._server = server

    async def handle_async_request(self, request):
        return await self._server(request)

    async def aclose(self):
        self.closed = True


def client(dependency, server, **options):
    """A client of a scripted server."""
    return ResilientClient(dependency=dependency, transport=Mock(server), base_url=URL, **options)


class Body(httpx2.AsyncByteStream):
    """A response body that notices how it is treated, and may break off."""

    def __init__(self, *parts):
        self._parts = parts
        self.closed = False

    async def __aiter__(self):
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def aclose(self):
        self.closed = True


def streamed(status, *parts, **headers):
    """A response with such a body, which can be looked at as `body`."""
    response = httpx2.Response(status, headers=headers, stream=Body(*parts))
    response.body = response.stream
    return response
