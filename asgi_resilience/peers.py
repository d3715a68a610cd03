"""Who is at the other end: the client's address, told by the connection or by proxies that one has reason to believe.

A server behind a proxy sees the proxy's address. The proxy writes the client's into a header, and so can anybody:
a header counts only when it comes from a proxy that the deployment has named, and only as far as such proxies wrote it.
The list grows to the right with each hop, so it is read from the right:

    X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.0.0.9        connection from 10.0.0.2, trusted: 10.0.0.0/8
                     claimed  ^ the client  <- trusted hops

What stands to the left of the first hop that is not trusted was written by the client, and is never looked at.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, Literal, TypeAlias

from asgi_resilience.context import Scope

__all__ = ("ForwardingHeader", "TrustedProxies", "network_key", "peer")

ForwardingHeader: TypeAlias = Literal["x-forwarded-for", "forwarded"]
_HEADERS: Final = ("x-forwarded-for", "forwarded")

_LONGEST_NODE: Final = len('"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535"')
_MOST_HOPS: Final = 32
_MOST_REMEMBERED: Final = 4096
_MAPPED_PREFIX: Final = 96

_NODE = re.compile(r"\[(?P<six>[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|(?P<four>[0-9.]+)(?::[0-9]{1,5})?", re.ASCII)
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 token, no credential
_PAIR = re.compile(rf'[ \t]*(?:({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?[ \t]*')


def peer(scope: Scope) -> str | None:
    """The address at the other end of the connection; None where there is none, as on a unix socket."""
    client = scope.get("client")
    return (client[0] or None) if client else None


class TrustedProxies:
    """The proxies whose word on the client's address counts.

    Args:
        networks: Addresses (`"10.0.0.2"`), networks (`"10.0.0.0/8"`, without host bits), `"unix"` for peers without an
            address (a proxy on a unix socket), `"*"` for everybody. With `"*"` any client can claim any address, unless
            nothing but the proxy can reach the server. Default: nobody.
        header: The header that these proxies write: `"x-forwarded-for"` or `"forwarded"` (RFC 7239). Only this one is read:
            a proxy that writes the one hands the other on as the client sent it.

    Raises:
        ValueError: An entry is none of the above, or `header` is neither of the two.
        TypeError: `networks` is one string and not several.
    """

    __slots__ = ("_everybody", "_header", "_known", "_networks", "_nobody", "_unix")

    def __init__(self, networks: Iterable[str] = (), *, header: ForwardingHeader = "x-forwarded-for") -> None:
        if isinstance(networks, str):
            raise TypeError(
                f"trusted_proxies={networks!r}: expected a sequence of strings, such as [{networks!r}]"
            )
        if header not in _HEADERS:
            raise ValueError(f"header={header!r}: expected 'x-forwarded-for' or 'forwarded'")
        entries = tuple(networks)
        self._header = header.encode()
        self._everybody = "*" in entries
        self._unix = self._everybody or "unix" in entries
        self._networks = tuple(_network(entry) for entry in entries if entry not in ("*", "unix"))
        self._nobody = not entries
        self._known: dict[str, bool] = {}

    @classmethod
    def of(cls, value: "TrustedProxies | Iterable[str]") -> "TrustedProxies":
        """`value` itself, or the proxies it lists: what an option called `trusted_proxies` takes."""
        return value if isinstance(value, TrustedProxies) else cls(value)

    def trusts(self, host: str | None) -> bool:
        """Whether `host`, an address as a server reports it, is one of these proxies; None is a peer without one."""
        if self._nobody:
            return False
        if self._everybody:
            return True
        if not host:
            return self._unix
        trusted = self._known.get(host)
        if trusted is None:
            address = _address(host)
            if address is None:
                return False
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            trusted = self._known[host] = any(address in network for network in self._networks)
        return trusted

    def client(self, scope: Scope) -> str | None:
        """The address of the client, as far as trusted proxies tell; None when it has none.

        The peer of the connection, unless that is a trusted proxy; then the first hop, from the right, that is not.
        A hop that is malformed, hidden or `unknown` ends the walk: the client is the last hop that somebody vouched for.
        IPv4-mapped IPv6 addresses become IPv4, ports are dropped.
        """
        connection = scope.get("client")
        host: str | None = (connection[0] or None) if connection else None
        if host is not None and ":" in host:
            host = _canonical(host)
        if self._nobody or not self.trusts(host):
            return host
        read = _forwarded_for if self._header == b"forwarded" else _x_forwarded_for
        for hop in reversed(_hops(scope, self._header)):
            address = read(hop)
            if address is None:
                return host
            host = str(address)
            if not self.trusts(host):
                return host
        return host

    def __repr__(self) -> str:
        names = [*map(str, self._networks), *["unix"] * self._unix, *["*"] * self._everybody]
        return f"TrustedProxies({names!r}, header={self._header.decode()!r})"


def network_key(address: str) -> str:
    """What a limit counts by: an IPv4 address itself, an IPv6 address as its /64, anything else unchanged.

    A single IPv6 host commonly owns a /64 and can take a new address in it for every request.
    """
    return _network_key(address) if ":" in address else address


@lru_cache(maxsize=_MOST_REMEMBERED)
def _network_key(address: str) -> str:
    parsed = _address(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed), 64), strict=False))
    return address if parsed is None else str(parsed)


def _network(entry: str) -> Any:
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise ValueError(
            f"trusted_proxies: {entry!r} is not an address, a network such as '10.0.0.0/8', 'unix' or '*' ({error})"
        ) from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= _MAPPED_PREFIX:
        return ip_network((mapped, network.prefixlen - _MAPPED_PREFIX))
    return network


def _address(text: str) -> IPv4Address | IPv6Address | None:
    return _parse(text) if len(text) <= _LONGEST_NODE else None  # nothing longer may settle in the cache


@lru_cache(maxsize=_MOST_REMEMBERED)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _canonical(host: str) -> str:
    address = _address(host)
    return host if address is None else str(address)


def _hops(scope: Scope, name: bytes) -> list[str]:
    # Several lines of a list are one list (RFC 9110 §5.3). The leftmost part may hold more than one hop: it is not read
    # beyond the bound, which keeps a list of ten thousand trusted hops from costing anything.
    lines = [value for key, value in scope["headers"] if key == name or key.lower() == name]
    return str(b",".join(lines), "latin-1").rsplit(",", _MOST_HOPS)[-_MOST_HOPS:] if lines else []


def _x_forwarded_for(hop: str) -> IPv4Address | IPv6Address | None:
    hop = hop.strip(" \t")
    if len(hop) > _LONGEST_NODE:
        return None
    node = _NODE.fullmatch(hop)
    if node is None:
        return None if "%" in hop else _address(hop)  # an IPv6 address without brackets is customary here
    return _address(node["six"] or node["four"])


def _forwarded_for(hop: str) -> IPv4Address | IPv6Address | None:
    """The `for` of one element (RFC 7239 §4). A comma or a semicolon inside quotes makes the element unreadable.

    That is safe: a piece of an element that begins inside quotes holds an odd number of them, and never parses.
    """
    values: dict[str, str] = {}
    for part in hop.split(";"):
        pair = _PAIR.fullmatch(part)
        if pair is None:
            return None
        name, token, quoted = pair.groups()
        if name is not None:
            if name.lower() in values:
                return None
            values[name.lower()] = token if quoted is None else quoted
    node = _NODE.fullmatch(values.get("for", ""))
    return None if node is None else _address(node["six"] or node["four"])
