"""Answer Prometheus with the metrics of this process."""

from collections.abc import Callable

from asgi_resilience.context import ASGIApp, Receive, Scope, Send
from asgi_resilience.telemetry.pipeline import prometheus_text
from asgi_resilience.telemetry.prometheus import CONTENT_TYPE

__all__ = ("PrometheusMiddleware",)


class PrometheusMiddleware:
    """Answer GET and HEAD on one path with the metrics; everything else goes to the app.

    A scrape is neither counted, logged, limited nor timed out where this stands outside of the layers that do so. It is
    for the inside of your network: the metrics name every route.

    Args:
        app: The application.
        path: Where the metrics are.
        text: Gives them. Default: those of the process's pipeline.

    Raises:
        ValueError: `path` does not begin with a slash.
    """

    def __init__(
        self, app: ASGIApp, *, path: str = "/metrics", text: Callable[[], str] = prometheus_text
    ) -> None:
        if not path.startswith("/"):
            raise ValueError(f"path={path!r}: expected a path that begins with '/'")
        self.app = app
        self._path = path
        self._text = text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not self._is_mine(scope):
            await self.app(scope, receive, send)
            return
        headers = [(b"cache-control", b"no-store")]
        if scope["method"] in ("GET", "HEAD"):
            status, body = 200, self._text().encode()
            headers.append((b"content-type", CONTENT_TYPE.encode("ascii")))
        else:
            status, body = 405, b""
            headers.append((b"allow", b"GET, HEAD"))
        headers.append((b"content-length", str(len(body)).encode("ascii")))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _is_mine(self, scope: Scope) -> bool:
        path: str = scope["path"]
        root: str = scope.get("root_path", "").rstrip("/")
        return path == self._path or path == root + self._path
