"""Redaction: what is planted does not survive, what is harmless does, and hostile text costs no more than its length."""

import enum
import json
import re
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import PurePosixPath
from time import thread_time
from types import MappingProxyType
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgi_resilience.logs.patterns import words
from asgi_resilience.logs.redaction import DEFAULT_KEYS, MARK, Redactor

redactor = Redactor()
domain = Redactor(email="domain")

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
JWE = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..c2l4dGVlbi1ieXRlcw.Y2lwaGVydGV4dA.dGFn"
CARDS = ["4111111111111111", "5555 5555 5555 4444", "3782-822463-10005", "378282246310005", "4222222222222"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=hunter2", "password=[redacted]"),
        ("Password : hunter2, then", "Password : [redacted], then"),
        ("PGPASSWORD=x:y z", "PGPASSWORD=[redacted] z"),
        ("db_password_2=5 n=6", "db_password_2=[redacted] n=6"),
        ("the password=a,b;c d", "the password=[redacted] d"),
        ('{"apiKey": "a\\"b", "n": 1}', '{"apiKey": "[redacted]", "n": 1}'),
        ("{'API-KEY': 'a\\'b', 'n': 1}", "{'API-KEY': '[redacted]', 'n': 1}"),
        ('{"token":123,"user":"bob"}', '{"token":[redacted],"user":"bob"}'),
        ("{'secret': b'raw', 'n': 1}", "{'secret': b'[redacted]', 'n': 1}"),
        ('"password": ["a", "b"], "n": 1', '"password": [redacted], "n": 1'),
        ("credentials={'a': 'b'} n", "credentials=[redacted] n"),
        ("passwd=('a', 'b') n", "passwd=[redacted] n"),
        (r"\"password\": \"a\\\"b\", \"n\": 1", r"\"password\": \"[redacted]\", \"n\": 1"),
        ("headers['authorization'] = 'Basic abc'", "headers['authorization'] = '[redacted]'"),
        (
            "[(b'authorization', b'Bearer x'), (b'host', b'h')]",
            "[(b'authorization', b'[redacted]'), (b'host', b'h')]",
        ),
        ("Authorization: Bearer x", "Authorization: [redacted]"),
        ("Proxy-Authorization: Basic dXNlcjpwYXNz end", "Proxy-Authorization: [redacted] end"),
        ('authorization: Digest username="a", response="b" end', "authorization: [redacted] end"),
        ("Cookie: a=b; c=d\nHost: h", "Cookie: [redacted]\nHost: h"),
        ("Set-Cookie: sid=1; Path=/; HttpOnly", "Set-Cookie: [redacted]; HttpOnly"),
        ("cookie=a=b; cookie=c", "cookie=[redacted]"),
        ("?next=%2Fcb%3Ftoken%3Dabc%26n=1", "?next=%2Fcb%3Ftoken%3D[redacted]%26n=1"),
        ("login {%22password%22%3A%22x%22} end", "login {%22password%22%3A[redacted]} end"),
        ("a Bearer mF_9.B5f-4.1JqM b", "a Bearer [redacted] b"),
        ("bearer abcdefghijklmnopqrst", "bearer [redacted]"),
        (f"token {JWT}.", "token [redacted]"),
        (f"at%20{JWT}", "at%20[redacted]"),
        (JWE, MARK),
        ("https://alice:s3cr3t@example.com/x", "https://[redacted]@example.com/x"),
        ("redis://:p@ss@host:6379/0", "redis://[redacted]@host:6379/0"),
        ("/cb?access_token=abc&n=1", "/cb?access_token=[redacted]&n=1"),
        (
            "s3?X-Amz-Signature=abc&X-Amz-Credential=AK%2F1",
            "s3?X-Amz-Signature=[redacted]&X-Amz-Credential=[redacted]",
        ),
        ("from alice@example.com.", "from ******@example.com."),
        ("<o'brien+x@mail.example.co.uk>", "<******@mail.example.co.uk>"),
        ("a@b.com@c.com", "******@b.com"),
        ("PASSWORD=\u0130x", "PASSWORD=[redacted]"),
        ("paid with 2345 4111 1111 1111 1111", "paid with 2345 [redacted]"),
        ("6304 0000 0000 0000 000.", "[redacted]."),
    ],
)
def test_secrets_in_text_are_replaced(text, expected):
    """In text, a secret gives itself away by its name or by its shape; what is around it stays."""
    assert redactor.text(text) == expected


@pytest.mark.parametrize("card", CARDS)
def test_cards_are_found_by_their_check_digit(card):
    """A card number goes, and the same digits with another check digit stay (Luhn)."""
    other = card[:-1] + str((int(card[-1]) + 1) % 10)
    assert redactor.text(f"card {card}, paid") == "card [redacted], paid"
    assert redactor.text(f"card {other}, paid") == f"card {other}, paid"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET /items/42 200",
        "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0",
        "token_count=5, max_tokens: 9, authors=3, passing: 1",
        "password=true token=null 'secret': False",
        "password=",
        "password='' n=1",
        "Bearer token, Bearer of news",
        "0.4111111111111111 1763934000123 a4111111111111111 4111111111111111f",
        "550e8400-e29b-41d4-a716-446655440000",
        "keyJson.loads keyJoinedWithSomethingLong.a.b eyJ. eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9 eyJhbGciOiJIUzI1NiJ9.",
        "@property user@localhost pkg@1.2.3 git@{1} @x.com 10.0.0.1",
        "http://host:80/a@b?c=d",
        "at 12:30:45, took=12 ms; status: 200",
    ],
)
def test_harmless_text_is_the_same_object(text):
    """What holds no secret comes back as it is."""
    assert redactor.text(text) is text


@pytest.mark.parametrize("key", DEFAULT_KEYS)
def test_every_default_key_holds_in_text_and_as_a_name(key):
    """Each built-in key is found in any case and with any separator."""
    parts = words(key)
    for name in (
        "_".join(parts),
        "-".join(parts).upper(),
        parts[0] + "".join(map(str.title, parts[1:])),
        "".join(parts),
    ):
        assert redactor.secret(f"my_{name}")
        assert redactor.secret(f"{name}2")
        assert "hunter2" not in redactor.text(f"my_{name}=hunter2")
        assert "hunter2" not in redactor.text(f'"{name}": "hunter2"')


def test_a_domain_can_be_masked_in_the_place_of_the_local_part():
    """With `email="domain"` the name and the last label stay."""
    assert domain.text("to alice@mail.example.com, o'b@x.org") == "to alice@******.com, o'b@******.org"


def test_keys_and_patterns_can_be_added():
    """A user's keys hold in text and as names; of a pattern with groups, only the first one is replaced."""
    mine = Redactor(
        keys=(*DEFAULT_KEYS, "IBAN", "pin$"), patterns=(r"sk_live_\w+", re.compile("tenant-(\\d+)|x"))
    )
    assert mine.text("iban: DE89 pin=1 shipping=2 sk_live_abc tenant-42 x") == (
        "iban: [redacted] pin=[redacted] shipping=2 [redacted] tenant-[redacted] x"
    )
    assert mine.value("", {"customerIban": "DE89", "pin": 1, "pinned": 2}) == {
        "customerIban": MARK,
        "pin": MARK,
        "pinned": 2,
    }


def test_without_keys_only_shapes_are_secret():
    """`keys=()` turns the names off and nothing else."""
    bare = Redactor(keys=())
    assert bare.text(f"password=x {JWT}") == "password=x [redacted]"
    assert bare.value("password", "x") == "x"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"email": "none"}, "email='none': expected 'local' or 'domain'"),
        ({"max_text": 511}, "max_text=511: expected at least 512"),
        ({"max_items": 0}, "max_items=0: expected at least 1"),
        ({"max_depth": 0}, "max_depth=0: expected at least 1"),
        ({"keys": ("ok", "$")}, "keys=('ok', '$'): each needs a letter or a digit"),
        ({"patterns": ("(",)}, "patterns: '(' is not a regular expression"),
    ],
)
def test_options_are_validated(options, message):
    """A wrong option is a ValueError that names it, its value and what is expected."""
    with pytest.raises(ValueError, match=re.escape(message)):
        Redactor(**options)


# ------------------------------------------------------------------------------------------------------- properties

harmless = st.text(alphabet="bdfghijklm \n/.!?", max_size=30)
sensitive_name = st.sampled_from(
    ["password", "apiKey", "X-API-KEY", "client_secret", "refreshToken", "Authorization"]
)
secret_value = st.text(alphabet="QXZ0123456789", min_size=6, max_size=24).map(lambda value: f"QX{value}")
fragments = st.lists(
    st.sampled_from([
        *("password", "token", "=", ": ", ":", "'", '"', "\\", ",", ";", " ", "&", "%3d", "[", "]", "{", "}", "(", ")"),
        *("a", "x.com", "@", "://", ".", "eyJ", "Bearer ", "cookie", "authorization", "4111 1111 1111 1111", "1", MARK),
        *("******", "true", "\n", "\u0130", "é", JWT),
    ]),
    max_size=14,
).map("".join)  # fmt: skip


@given(harmless, sensitive_name, secret_value, st.sampled_from(["{}={}", '"{}": "{}"', "{}: {}", "'{}': b'{}'", '\\"{}\\":\\"{}\\"']), harmless)  # fmt: skip
def test_a_planted_value_of_a_secret_name_does_not_survive(before, name, value, form, after):
    """Whatever stands around `name=value`, the value of a secret name is gone."""
    assert value not in redactor.text(f"{before} {form.format(name, value)} {after}")


@given(harmless, st.sampled_from([*CARDS, JWT, JWE, "alice.liddell@example.com"]), harmless)
def test_a_planted_shape_does_not_survive(before, secret, after):
    """Whatever stands around a token, a card number or an address, it is gone."""
    text = redactor.text(f"{before} {secret} {after}")
    assert secret not in text
    assert "alice" not in text


@given(harmless)
def test_plain_words_survive(text):
    """Text without names of secrets and without their shapes is not changed."""
    assert redactor.text(text) == text


@given(fragments)
@example("password=[redacted]@x.com")
def test_redacting_twice_is_redacting_once(text):
    """A second pass finds nothing more to do, whichever half of an address is masked."""
    for each in (redactor, domain):
        once = each.text(text)
        assert each.text(once) == once


@given(st.text())
def test_any_text_is_taken(text):
    """No text makes it fail, surrogates included."""
    assert isinstance(redactor.text(text), str)
    assert isinstance(redactor.text(f"{text}\ud800=:@"), str)


# ---------------------------------------------------------------------------------------------------------- hostility

HOSTILE = {
    "addresses": "a@",
    "address without end": "@a.",
    "digits": "41",
    "groups of digits": "4111 ",
    "tokens": "eyJ.eyJ.",
    "one token": "eyJ",
    "assignments": "password=password=",
    "names": "password",
    "open quotes": 'password="',
    "escaped quotes": 'password=\\"',
    "cookies": "cookie=a; ",
    "urls": "://a",
    "bearers": "bearer ",
    "apostrophes": "a'",
    "closing brackets": ")",
    "backslashes": "\\",
}
generous = Redactor(max_text=10**7)


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(("head", "tail"), [("", "@"), ("password=a", "="), ("x@", ":")])
def test_time_is_linear_in_hostile_text(piece, head, tail):
    """Eight times the text takes far less than 64 times the time, which quadratic patterns would need."""

    def seconds(size):
        text = head + piece * (size // len(piece)) + tail
        best = 10.0
        for _ in range(3):
            start = thread_time()
            generous.text(text)
            best = min(best, thread_time() - start)
        return best

    assert seconds(64_000) < 30 * max(seconds(8_000), 0.0004)


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_a_megabyte_is_cut_before_it_costs_anything(piece):
    """By default a text of a megabyte costs what its first 32,768 characters cost."""
    text = redactor.text(piece * (1_048_576 // len(piece)))
    assert len(text) <= 32_768
    assert text.endswith(" more characters]")


def test_a_secret_across_the_limit_does_not_survive_in_part():
    """Where the limit cuts a secret in two, the part that is left is not shown."""
    for shift in range(40):
        text = "x " * (16_384 - 20) + "y" * shift + " 4111 1111 1111 1111 alice@example.com " + "z" * 100
        cut = redactor.text(text)
        assert "4111" not in cut
        assert "alice" not in cut


# --------------------------------------------------------------------------------------------------------- structures


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()


Point = namedtuple("Point", "x password")  # noqa: PYI024 - the untyped kind is in use as well


@dataclass
class User:
    name: str
    password: str
    hidden: str = field(default="no", repr=False)


class Broken:
    def __repr__(self):
        raise RuntimeError("no")


class BrokenKey:
    def __hash__(self):
        return 1

    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (12, 12),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (4111111111111111, MARK),
        (4111111111111112, 4111111111111112),
        ("password=x", "password=[redacted]"),
        (Text("a@b.com"), "******@b.com"),
        (b"password=x\xff", "password=[redacted]"),
        (b"\xff", "\\xff"),
        (bytearray(b"abc"), "abc"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/x"), "/x"),
        (ValueError("token=x"), "ValueError: token=[redacted]"),
        ({"n": 1}, {"n": 1}),
        ({"Password": "x", "n": {"api-key": [1]}}, {"Password": MARK, "n": {"api-key": MARK}}),
        ({"password": None, "has_secret": True}, {"password": None, "has_secret": True}),
        ({b"cookie": 1, 2: "x"}, {"cookie": MARK, "2": "x"}),
        ({"alice@example.com": 1}, {"******@example.com": 1}),
        (MappingProxyType({"token": "x"}), {"token": MARK}),
        (OrderedDict(a=1), {"a": 1}),
        (["a@b.com", ("c", "d", "e")], ["******@b.com", ["c", "d", "e"]]),
        ([(b"authorization", b"Bearer x"), ("host", "h")], [["authorization", MARK], ["host", "h"]]),
        (Point(1, "x"), {"x": 1, "password": MARK}),
        (User("alice", "x"), {"name": "alice", "password": MARK}),
        (frozenset({"a@b.com"}), ["******@b.com"]),
        (Broken(), "[unserialisable Broken]"),
        ([Broken(), 1], ["[unserialisable Broken]", 1]),
        ({BrokenKey(): 1}, "[unserialisable dict]"),
        (10**5000, "[unserialisable int]"),
        (User, repr(User)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_become_what_json_knows(value, expected):
    """Each kind of value has one form without secrets; what can't be shown becomes a marker, never an exception."""
    result = redactor.value("", value)
    assert result == expected
    json.dumps(result)


def test_a_value_of_a_secret_name_is_replaced_whatever_it_is():
    """The name decides over strings, numbers and whole structures."""
    for value in ("x", 1, 1.5, b"x", {"a": 1}, [1], Broken()):
        assert redactor.value("db_password", value) == MARK


def test_nothing_that_is_given_is_changed():
    """Structures are copied where they are written to, and returned themselves where they are not (105)."""
    inner = {"n": [1, {"m": "x"}], "t": "text"}
    assert redactor.value("", inner) is inner
    outer = {"headers": {"Cookie": "a=b"}, "same": inner}
    result = redactor.value("", outer)
    assert result == {"headers": {"Cookie": MARK}, "same": inner}
    assert result["same"] is inner
    assert outer["headers"] == {"Cookie": "a=b"}


def test_deep_and_circular_structures_end():
    """A structure that holds itself is followed to `max_depth` and `max_items`, not for ever."""
    ring = []
    ring.extend([ring] * 5 + [1])
    assert "[too deep]" in json.dumps(redactor.value("", ring))
    loop = {}
    loop["loop"] = loop
    assert json.dumps(redactor.value("", loop)).count("loop") == 8


def test_large_structures_are_cut():
    """Beyond `max_items` values, a structure says how many it left out."""
    small = Redactor(max_items=3)
    assert small.value("", list(range(10))) == [0, 1, 2, "[7 more]"]
    assert small.value("", dict.fromkeys(range(10), 1)) == {"0": 1, "1": 1, "2": 1, "…": "[7 more]"}
    assert len(json.dumps(redactor.value("", [["x"] * 1000] * 1000))) < 20_000


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4) | st.sets(st.text(), max_size=3),
    max_leaves=20,
)  # fmt: skip


@given(nested)
def test_any_structure_can_be_made_json(value):
    """Whatever is logged, the result is plain JSON and a second pass changes nothing."""
    once = redactor.value("", value)
    json.dumps(once, allow_nan=False)
    assert redactor.value("", once) == once


@given(nested, sensitive_name, secret_value)
def test_a_planted_secret_does_not_survive_at_any_depth(value, name, secret):
    """A secret name is found next to anything, inside of mappings and lists."""
    planted = {"a": [value, {"b": ({name: secret},)}], "c": {name: [secret]}}
    assert secret not in json.dumps(redactor.value("", planted))


@given(
    st.dictionaries(
        fragments | sensitive_name,
        fragments | harmless | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    )
)
def test_a_flat_dict_is_redacted_like_any_other(flat):
    """One look at all of a dict finds what a look at each of its items finds."""
    assert redactor.value("", flat) == redactor.value("", {"nested": flat})["nested"]


def test_names_are_remembered_within_bounds():
    """A flood of different names costs no memory."""
    for number in range(10_000):
        assert not redactor.secret(f"field_{number}x")
    assert len(redactor._names) <= 4096


# ------------------------------------------------------------------------------------------------ headers and queries


def test_headers_keep_their_order_and_repetitions():
    """Headers become text, and the values of secret names go (104)."""
    raw = [
        (b"Host", b"example.com"),
        (b"Cookie", b"a=b"),
        ("X-API-Key", "k"),
        (b"set-cookie", b"x=1"),
        (b"set-cookie", b"y=2"),
        (b"referer", b"https://h/?token=x"),
        (b"x-bin", b"\xff"),
    ]
    assert redactor.headers(raw) == [
        ("Host", "example.com"),
        ("Cookie", MARK),
        ("X-API-Key", MARK),
        ("set-cookie", MARK),
        ("set-cookie", MARK),
        ("referer", "https://h/?token=[redacted]"),
        ("x-bin", "ÿ"),
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", ""),
        (b"page=2&q=%20x", "page=2&q=%20x"),
        (b"token=abc&page=2", f"token={MARK}&page=2"),
        (b"api%5Fkey=abc&access%2Dtoken=x&flag", f"api%5Fkey={MARK}&access%2Dtoken={MARK}&flag"),
        (b"password", "password"),
        (b"mail=alice%40example.com", "mail=******@example.com"),
        (b"mail=alice%2540example.com", "mail=******@example.com"),
        (f"next=/cb?x=1%26t={JWT}", f"next=/cb?x=1&t={MARK}"),
        ("card=4111+1111+1111+1111", f"card={MARK}"),
    ],
)
def test_queries_lose_their_secrets_only(query, expected):
    """Parameters go by name, by shape even under two layers of encoding; the rest keeps its bytes (106)."""
    assert redactor.query(query) == expected


def test_a_short_path_costs_next_to_nothing():
    """A path without secrets costs less than a tenth of one with a secret."""

    def seconds(text):
        best = 10.0
        for _ in range(20):
            start = thread_time()
            for _ in range(200):
                redactor.text(text)
            best = min(best, thread_time() - start)
        return best

    assert seconds("/api/v1/users/12345/orders") * 5 < seconds("/api/v1/users?password=x&mail=a@b.com")
