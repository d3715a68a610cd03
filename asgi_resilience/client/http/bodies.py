"""Bodies of requests and responses: which can be sent again, which break off, and which are in memory."""

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2

from asgi_resilience.client.dependency import Dependency

__all__ = ("RequestBody", "WatchedBody", "copy_response", "is_small", "read_response")

_SMALL: Final = 65_536


class RequestBody(httpx2.AsyncByteStream):
    """The body of a request, and whether it can be sent once more. A one-shot body would be empty the second time."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream
        self._sent = False

    @property
    def can_be_sent(self) -> bool:
        """Whether it is all there: it was not sent yet, or comes the same again."""
        return not self._sent or isinstance(self._stream, httpx2.ByteStream) or _rewinds(self._stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._sent = True
        async for chunk in self._stream:
            yield chunk


class WatchedBody(httpx2.AsyncByteStream):
    """The body of a response that the caller reads: where it breaks off, the dependency has failed after all."""

    def __init__(self, stream: httpx2.AsyncByteStream, dependency: Dependency) -> None:
        self._stream = stream
        self._dependency = dependency

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except httpx2.TransportError as error:
            self._dependency.report(error)
            raise

    async def aclose(self) -> None:
        """Close what it reads from."""
        await self._stream.aclose()


def is_small(response: httpx2.Response) -> bool:
    """Whether a body is worth reading only to use its connection again."""
    length = response.headers.get("content-length", "")
    return length.isdecimal() and len(length) < len(str(_SMALL)) + 1 and int(length) <= _SMALL


async def read_response(response: httpx2.Response) -> httpx2.Response:
    """The same response with its body, undecoded, in memory; its connection is free again."""
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    try:
        body = b"".join([chunk async for chunk in response.stream])
    finally:
        await response.stream.aclose()
    response.stream = httpx2.ByteStream(body)
    return response


def copy_response(response: httpx2.Response) -> httpx2.Response:
    """A response of its own to hand out, so that whoever keeps the original keeps it unread."""
    return httpx2.Response(
        response.status_code,
        headers=response.headers,
        stream=response.stream,
        extensions=dict(response.extensions),
    )


def _rewinds(stream: object) -> bool:
    """Whether a multipart body renders the same twice: its files are bytes, or can be read from the start again."""
    fields: Any = getattr(stream, "fields", None)
    if fields is None:
        return False
    files = [each.file for each in fields if hasattr(each, "file")]
    return all(
        isinstance(each, str | bytes) or (hasattr(each, "seekable") and each.seekable()) for each in files
    )
