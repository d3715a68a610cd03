"""HTTP through a dependency; the only modules that import httpx2."""

from asgi_resilience.client.http.client import ResilientClient
from asgi_resilience.client.http.faults import FaultyTransport
from asgi_resilience.client.http.transport import ResilientTransport

__all__ = ("FaultyTransport", "ResilientClient", "ResilientTransport")
