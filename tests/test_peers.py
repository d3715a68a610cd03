"""Who the client is: what the connection says, and what headers say when a trusted proxy wrote them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience import peers
from asgi_resilience.peers import TrustedProxies, network_key, peer


def scope(client="10.0.0.1", *headers):
    """A request from `client` with these header lines."""
    return {
        "type": "http",
        "client": None if client is None else (client, 50000),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }


def behind(value, *, trusted=("10.0.0.0/8",), client="10.0.0.1", header="x-forwarded-for"):
    """The client that a request with this one forwarding header is believed to come from."""
    return TrustedProxies(trusted, header=header).client(scope(client, (header, value)))


def test_the_peer_is_the_other_end_of_the_connection():
    """The address is that of the scope; a scope without one, or with an empty one, has no peer (74)."""
    assert peer(scope("192.0.2.1")) == "192.0.2.1"
    assert peer(scope(None)) is None
    assert peer(scope("")) is None
    assert peer({"type": "http", "headers": []}) is None


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8",)])
def test_nobody_else_is_believed(header, trusted):
    """From a peer that is not trusted, forwarding headers are not looked at (73)."""
    proxies = TrustedProxies(trusted, header=header)
    spoofed = scope("192.0.2.1", ("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6"))
    assert proxies.client(spoofed) == "192.0.2.1"


def test_without_proxies_nobody_is_trusted():
    """With no networks at all the peer is the client, also where there is none."""
    proxies = TrustedProxies()
    assert not proxies.trusts("127.0.0.1")
    assert not proxies.trusts(None)
    assert proxies.client(scope(None, ("x-forwarded-for", "6.6.6.6"))) is None
    assert proxies.client({"type": "http", "headers": []}) is None


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 10.0.0.9", "203.0.113.7"),
        ("6.6.6.6 ,\t203.0.113.7\t, 10.9.9.9 ", "203.0.113.7"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
    ],
)
def test_the_client_is_the_first_hop_from_the_right_that_is_not_trusted(value, client):
    """X-Forwarded-For is walked from the right over trusted hops; what stands further left is never looked at (73)."""
    assert behind(value) == client


@pytest.mark.parametrize(
    "hop",
    [
        "",
        "unknown",
        "client.example",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:123456",
        "1.2.3.4:x",
        "1.2.3.4 5",
        "[1.2.3.4]junk",
        "2001:db8::1::2",
        "[2001:db8::1",
        "2001:db8::1]",
        "fe80::1%eth0",
        '"1.2.3.4"',
        "1.2.3.4\x00",
        "١.2.3.4".encode().decode("latin-1"),
        "9" * 5000,
        "[" + "0:" * 3000 + "]",
    ],
)
def test_a_malformed_hop_ends_the_walk(hop):
    """What is no address says nothing: the client is the last hop that somebody vouched for."""
    assert behind(hop) == "10.0.0.1"
    assert behind(f"203.0.113.7, {hop}, 10.0.0.9") == "10.0.0.9"


def test_several_lines_are_one_list():
    """Repeated header lines are read as one list in their order, whatever the case of their names (9)."""
    proxies = TrustedProxies(["10.0.0.0/8"])
    lines = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("x-forwarded-for", "203.0.113.7, 10.0.0.4"),
        ("x-forwarded-for", "10.0.0.3"),
    ]
    assert proxies.client(scope("10.0.0.1", *lines)) == "203.0.113.7"


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ("For=203.0.113.7;proto=http;by=10.0.0.2", "203.0.113.7"),
        ("for=6.6.6.6, for=203.0.113.7", "203.0.113.7"),
        ("for=6.6.6.6,for=203.0.113.7;host=example.com, for=10.0.0.9", "203.0.113.7"),
        ('for="203.0.113.7:4711"', "203.0.113.7"),
        ('for="[2001:db8::1]"', "2001:db8::1"),
        ('proto=https;FOR="[2001:db8::1]:443"', "2001:db8::1"),
        ('for=203.0.113.7; host="a;b"', "10.0.0.1"),
        ('host="a\\"b";for=203.0.113.7', "203.0.113.7"),
        (";for=203.0.113.7;", "203.0.113.7"),
        ("for=203.0.113.7; proto=http", "203.0.113.7"),
    ],
)
def test_forwarded_is_walked_alike(value, client):
    """`Forwarded` (RFC 7239) is read from the right, by its `for` parameters."""
    assert behind(value, header="forwarded") == client


@pytest.mark.parametrize(
    "element",
    [
        "",
        "for",
        "for=",
        "for=unknown",
        "for=_hidden",
        'for="_hidden:_port"',
        "for=[2001:db8::1]",
        'for="2001:db8::1"',
        "for=1.2.3.4:80",
        "for=1.2.3.4;for=6.6.6.6",
        "for=1.2.3.4;For=6.6.6.6",
        "for=1.2.3.4;proto=http;proto=https",
        'for="1.2.3.4',
        "for=1.2.3.4 6.6.6.6",
        "for = 1.2.3.4",
        "proto=http",
        "1.2.3.4",
        'for="1.2.3.4\\"',
        'for="[' + "0:" * 3000 + ']"',
    ],
)
def test_a_malformed_or_hidden_element_ends_the_walk(element):
    """An element that is malformed, hidden, unknown or without `for` says nothing of the client."""
    assert behind(element, header="forwarded") == "10.0.0.1"
    assert behind(f"for=203.0.113.7, {element}, for=10.0.0.9", header="forwarded") == "10.0.0.9"


@given(st.text(alphabet='fFor=;,"\\ 6.:[]x', max_size=60), st.text(alphabet=' ,;"=\\fora6.', max_size=20))
def test_nothing_the_client_writes_reaches_past_the_proxy_s_element(claimed, host):
    """Whatever a client puts to the left, and into a value that the proxy quotes, the proxy's own element decides."""
    quoted = host.replace("\\", "\\\\").replace('"', '\\"')
    value = f'{claimed}, for=203.0.113.7;host="{quoted}"'
    assert behind(value, header="forwarded") in ("203.0.113.7", "10.0.0.1")
    assert behind(f"{claimed}, for=203.0.113.7", header="forwarded") == "203.0.113.7"


def test_only_the_named_header_is_read():
    """A proxy that writes one header hands the other on as the client sent it: only the one it writes is read."""
    both = scope("10.0.0.1", ("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.8"))
    assert TrustedProxies(["10.0.0.1"]).client(both) == "203.0.113.7"
    assert TrustedProxies(["10.0.0.1"], header="forwarded").client(both) == "203.0.113.8"
    assert TrustedProxies(["10.0.0.1"]).client(scope("10.0.0.1", ("forwarded", "for=6.6.6.6"))) == "10.0.0.1"


def test_a_trusted_proxy_without_the_header_is_the_client():
    """A request of the proxy itself, such as its health check, comes from the proxy."""
    assert TrustedProxies(["10.0.0.0/8"]).client(scope("10.0.0.1")) == "10.0.0.1"


def test_a_list_of_trusted_hops_is_read_to_a_bound():
    """No more than 32 hops are looked at, so a huge list of trusted addresses costs nothing."""
    many = ", ".join(f"10.0.{number // 256}.{number % 256}" for number in range(5000))
    assert behind(many) == f"10.0.{(5000 - 32) // 256}.{(5000 - 32) % 256}"


def test_everybody_can_be_trusted():
    """With `"*"` every hop is trusted, so the leftmost is the client: for servers that only the proxy can reach."""
    assert behind("203.0.113.7, 192.0.2.1", trusted=["*"], client="198.51.100.1") == "203.0.113.7"
    assert behind("203.0.113.7", trusted=["*"], client=None) == "203.0.113.7"
    assert TrustedProxies(["*"]).trusts("anything")


def test_a_proxy_on_a_unix_socket_can_be_trusted():
    """`"unix"` trusts peers without an address, and nobody else (74)."""
    proxies = TrustedProxies(["unix"])
    assert proxies.trusts(None)
    assert proxies.trusts("")
    assert not proxies.trusts("127.0.0.1")
    assert proxies.client(scope(None, ("x-forwarded-for", "6.6.6.6, 203.0.113.7"))) == "203.0.113.7"
    assert proxies.client(scope(None, ("x-forwarded-for", "unknown"))) is None
    assert proxies.client(scope("127.0.0.1", ("x-forwarded-for", "6.6.6.6"))) == "127.0.0.1"
    assert behind("6.6.6.6", client=None) is None


@pytest.mark.parametrize("client", ["::ffff:10.0.0.1", "::FFFF:10.0.0.1", "10.0.0.1"])
@pytest.mark.parametrize("network", ["10.0.0.0/8", "10.0.0.1", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1"])
def test_mapped_addresses_are_ipv4(client, network):
    """A dual-stack socket reports IPv4 peers as IPv4-mapped IPv6; both forms match both (75)."""
    proxies = TrustedProxies([network])
    assert proxies.trusts(client)
    assert proxies.client(scope(client)) == "10.0.0.1"


def test_mapped_peers_are_ipv4_without_proxies_too():
    """The address of a peer has one form whether or not there are proxies."""
    assert TrustedProxies().client(scope("::ffff:192.0.2.1")) == "192.0.2.1"
    assert TrustedProxies().client(scope("2001:DB8::1")) == "2001:db8::1"
    assert TrustedProxies().client(scope("not:an:address")) == "not:an:address"


def test_a_wide_ipv6_network_stays_one():
    """A network that holds more than the mapped range is not turned into IPv4."""
    assert repr(TrustedProxies(["::/0"])) == "TrustedProxies(['::/0'], header='x-forwarded-for')"


@pytest.mark.parametrize("host", ["testclient", "localhost", "10.0.0.1.example", "1" * 100])
def test_a_name_is_never_trusted(host):
    """What is no address is in no network; it is not remembered either."""
    proxies = TrustedProxies(["10.0.0.0/8", "0.0.0.0/0"])
    assert not proxies.trusts(host)
    assert proxies.client(scope(host, ("x-forwarded-for", "6.6.6.6"))) == host
    assert proxies._known == {}


def test_what_is_remembered_is_bounded(monkeypatch):
    """A flood of addresses does not fill the memory."""
    monkeypatch.setattr(peers, "_MOST_REMEMBERED", 10)
    proxies = TrustedProxies(["10.0.0.0/8"])
    for number in range(35):
        assert not proxies.trusts(f"192.0.2.{number}")
        assert len(proxies._known) <= 10
    assert proxies.trusts("10.1.2.3")
    assert proxies.trusts("10.1.2.3")


@pytest.mark.parametrize(
    "entry", ["", "localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.*", "fe80::1%eth0/64", "Unix"]
)
def test_an_entry_of_another_form_is_refused(entry):
    """An entry that is no address and no network is an error that names it; so is one with host bits."""
    with pytest.raises(ValueError, match="trusted_proxies: ") as caught:
        TrustedProxies(["10.0.0.0/8", entry])
    assert repr(entry) in str(caught.value)


def test_one_string_is_no_list_of_networks():
    """A bare string, which would be read letter by letter, is refused."""
    with pytest.raises(TypeError, match=r"trusted_proxies='10.0.0.1': expected a sequence of strings"):
        TrustedProxies("10.0.0.1")


def test_another_header_is_refused():
    """Only the two headers whose grammar is known can be named."""
    with pytest.raises(ValueError, match="header='x-real-ip': expected 'x-forwarded-for' or 'forwarded'"):
        TrustedProxies(["10.0.0.1"], header="x-real-ip")


def test_an_option_takes_either():
    """`TrustedProxies.of` takes an instance as it is, and makes one of a list."""
    proxies = TrustedProxies(["unix", "*"], header="forwarded")
    assert TrustedProxies.of(proxies) is proxies
    assert TrustedProxies.of(["10.0.0.1"]).trusts("10.0.0.1")
    assert repr(proxies) == "TrustedProxies(['unix', '*'], header='forwarded')"
    assert repr(TrustedProxies.of(["unix"])) == "TrustedProxies(['unix'], header='x-forwarded-for')"


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
        ("testclient", "testclient"),
        ("no:address", "no:address"),
        ("0:" * 100, "0:" * 100),
    ],
)
def test_ipv6_is_counted_by_network(address, key):
    """An IPv6 client is its /64, in which it can have any address; anything else is itself (75)."""
    assert network_key(address) == key
