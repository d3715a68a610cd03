"""Faults on the wire, for any HTTP client of httpx2: also those of a body, which a call as such does not have."""

from collections.abc import AsyncIterator, Iterable

import anyio
import httpx2

from asgi_resilience.context import current_request
from asgi_resilience.faults import (
    ErrorStatus,
    Fault,
    FaultPlan,
    Latency,
    Raise,
    SlowBody,
    Truncate,
)

__all__ = ("FaultyTransport",)

_HEADER = "X-Injected-Fault"


class FaultyTransport(httpx2.AsyncBaseTransport):
    """Makes faults in the place of what a server would answer.

        ResilientTransport(provider, transport=FaultyTransport([Fault(ErrorStatus(429, retry_after=2.0), rate=0.2)]))

    The conditions of a fault are about the request that is sent: its path, its headers, its `X-Request-ID`. A response
    that was made up or spoilt has the header `X-Injected-Fault`.

    Args:
        faults: A plan, which may be changed later; or faults, for a plan of their own.
        transport: What really sends; default: a new `httpx2.AsyncHTTPTransport`.
        name: Of the target in the metric and the marks.

    Raises:
        ValueError: This is production, see `FaultPlan`.
    """

    def __init__(
        self,
        faults: FaultPlan | Iterable[Fault],
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        name: str = "http",
    ) -> None:
        self.plan = FaultPlan.of(faults)
        self._inner = httpx2.AsyncHTTPTransport() if transport is None else transport
        self._name = name

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request, or make up what became of it.

        Raises:
            httpx2.TransportError: The connection was cut, by the plan or in earnest.
        """

        def header(name: bytes) -> bytes | None:
            found = request.headers.get(name.decode("latin-1"))
            return None if found is None else found.encode("latin-1")

        request_id = request.headers.get("x-request-id")
        effects = self.plan.draw(request.url.path, request_id, header)
        record, marks = current_request(), ", ".join(effect.name for effect in effects)
        bodies: list[Truncate | SlowBody] = []
        for effect in effects:
            self.plan.mark(effect, record, self._name)
            if isinstance(effect, Latency):
                await anyio.sleep(effect.drawn(self.plan.random))
            elif isinstance(effect, ErrorStatus):
                return _made_up(effect, marks)
            elif isinstance(effect, Raise):
                raise effect.made()
            elif isinstance(effect, Truncate | SlowBody):
                bodies.append(effect)
            else:
                raise httpx2.RemoteProtocolError("injected fault: the connection was cut", request=request)
        response = await self._inner.handle_async_request(request)
        if marks:
            response.headers[_HEADER] = marks
        for effect in bodies:
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            if isinstance(effect, Truncate):
                response.stream = _Truncated(response.stream, effect)
            else:
                response.stream = _Slow(response.stream, effect)
        return response

    async def aclose(self) -> None:
        """Close the transport that really sends."""
        await self._inner.aclose()


def _made_up(effect: ErrorStatus, marks: str) -> httpx2.Response:
    headers = {_HEADER: marks, "Content-Length": "0"}
    if effect.retry_after is not None:
        headers["Retry-After"] = f"{effect.retry_after:.0f}"
    return httpx2.Response(effect.status, headers=headers, stream=httpx2.ByteStream(b""))


class _Truncated(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, effect: Truncate) -> None:
        self._stream = stream
        self._after = effect.after

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._after
        async for chunk in self._stream:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                break
        raise httpx2.RemoteProtocolError("injected fault: the connection was cut in the middle of the body")

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Slow(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, effect: SlowBody) -> None:
        self._stream = stream
        self._effect = effect

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            for start in range(0, len(chunk), self._effect.piece):
                piece = chunk[start : start + self._effect.piece]
                await anyio.sleep(len(piece) / self._effect.bytes_per_second)
                yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
