r"""What secrets look like in text: the patterns behind `logs.redaction`, and nothing else.

Text may be hostile, so each pattern starts at a literal or at the edge of a run, and takes with it what it has read
(`*+` gives nothing back): no character is looked at more than a bounded number of times.
"""

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

__all__ = (
    "BEARER",
    "EMAIL",
    "EMAIL_MASK",
    "JWT",
    "MARK",
    "URL_USER",
    "assigned",
    "assignment",
    "cards",
    "in_name",
    "lower",
    "mask",
    "mask_jwt",
    "suspicious",
    "words",
)

Span: TypeAlias = tuple[int, int]

MARK: Final = "[redacted]"
EMAIL_MASK: Final = "******"


def mask(text: str, spans: Iterable[Span]) -> str:
    """`text` with `MARK` in the place of each span; they are in order."""
    parts: list[str] = []
    done = 0
    for start, end in spans:
        if done <= start < end:
            parts += (text[done:start], MARK)
            done = end
    return "".join((*parts, text[done:])) if parts else text


# ----------------------------------------------------------------------------------------------------- secrets by name

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")
_CAPITALS: Final = re.compile("[A-Z]+")

_SETS: Final = r"""
    (?: ["'\\\]]{1,4} [ \t]{0,4} (?: => | [:=]{1,2} | , )                  # 'key': 'value', ['key'] = , ('key', 'value')
      | (?: %2[27] )? [ \t]{0,4} (?: => | [:=]{1,2} | %3[ad] )             # key=value, key: value, %22key%22%3A
    ) [ \t]{0,4}
"""
_ENDS: Final = r"""(?= [,;]["'\s] | [\s&}\])] | \Z )"""
_SCHEME: Final = (
    r"(?: basic | bearer | digest | dpop | hmac | negotiate | signature | token | aws4-hmac-sha256 )[ \t]+"
)
_VALUE: Final = rf"""
    (?! (?: true | false | null | none ) {_ENDS} )
    (?: [bur]{{0,2}} " ( (?: [^"\\] | \\. )*+ )
      | [bur]{{0,2}} ' ( (?: [^'\\] | \\. )*+ )
      | (?P<escape> \\++ ) (?P<quote> ["'] ) ( .*? ) (?= (?<!\\) (?P=escape) (?P=quote) | \Z )     # JSON inside JSON
      | ( \{{ [^}}]*+ \}}? | \[ [^\]]*+ \]? | \( [^)]*+ \)? )
      | ( -? [0-9]++ (?: \. [0-9]++ )? ) {_ENDS}
      | ( (?: {_SCHEME} )? [^\s&]+? ) (?= [,;.)\]}}>"'`]{{0,4}} (?: [\s&] | %26 | \Z ) )
    )
"""
# Cookies are several pairs, and so are the parameters of an authorization scheme.
_SEVERAL: Final = ("cookie", "authorization")
_MORE: Final = re.compile(
    r"""(?: ["']? [;,] [ \t]* [\w.-]++ = (?: "[^"]*+"? | [^\s;,"]*+ ) )*+""", re.VERBOSE
)


def words(key: str) -> list[str]:
    """`api_key`, `apiKey` and `API-KEY` as `["api", "key"]`."""
    return [word.lower() for word in _WORD.findall(key)]


def in_name(key: str) -> str:
    """The pattern of a key in a name that is lower case and without separators."""
    return "".join(words(key)) + ("[0-9]*$" if key.endswith("$") else "")


def assignment(keys: Iterable[str]) -> re.Pattern[str]:
    """The pattern of `key=value` and its relatives, for lower-case text; `assigned` reads what it finds."""
    names = "|".join(
        "[ _.-]?".join(words(key)) + ("[0-9]{0,3}" if key.endswith("$") else r"[\w.-]{0,32}+") for key in keys
    )
    # The names stand outside of the verbose part: one of their separators is a space.
    return re.compile(f"(?:{names})(?x:{_SETS}{_VALUE})", re.DOTALL)


def assigned(text: str, pattern: re.Pattern[str]) -> Iterator[Span]:
    """Where the values of secrets stand in a text that is lower case."""
    end = 0
    for match in pattern.finditer(text):
        if match.start() < end:
            continue
        start, end = match.span(match.lastindex or 0)
        if text.startswith(_SEVERAL, match.start()) and text[start - 1] not in "\"'":
            more = _MORE.match(text, end)
            end = more.end() if more else end
        yield start, end


def lower(text: str) -> str:
    """`text` in lower case, with every character where it was."""
    lowered = text.lower()
    if len(lowered) != len(text):
        return _CAPITALS.sub(lambda match: match[0].lower(), text)
    return lowered


# ---------------------------------------------------------------------------------------------------- secrets by shape

URL_USER: Final = re.compile(r"(?<=://)[^\s/?#]*@")
"""User information in front of a host (RFC 3986 §3.2.1), up to the last `@`: passwords hold unescaped ones, too."""

BEARER: Final = re.compile(
    r"\b(bearer[ \t]{1,4})(?!\[redacted\])(?:(?=[a-z~+/._=-]*+[0-9])[\w.~+/=-]++|[\w.~+/=-]{20,}+)",
    re.IGNORECASE,
)
"""A token after `Bearer`, but not the word after it in a sentence: it has a digit, or is long."""

JWT: Final = re.compile(r"eyJ[\w-]*+(?:\.[\w-]*+){0,4}+", re.ASCII)
"""What may be a JSON web token; see `mask_jwt`. It takes the whole run, so that a run is read once."""

_SHORTEST_HEADER: Final = 15  # {"alg":"x"}
_HEADER_SAMPLE: Final = 64


def mask_jwt(match: re.Match[str]) -> str:
    """For a match of `JWT`: a token's header is text in base64 (RFC 7519 §3), and something comes after it."""
    found = match[0]
    header, _, rest = found.partition(".")
    if not rest or len(header) < _SHORTEST_HEADER:
        return found
    sample = header[: min(len(header), _HEADER_SAMPLE) & ~3]
    return MARK if urlsafe_b64decode(sample).isascii() else found


_LOCAL: Final = r"""[^\s@<>()\[\]{}"',;:=/\\&?#|`]"""
EMAIL: Final = re.compile(
    rf"""
    (?<! {_LOCAL} ) (?<! {_LOCAL}' )
    ( {_LOCAL}++ (?: ' {_LOCAL}++ )*+ )
    @
    ( \w[\w-]*+ (?: \.\w[\w-]*+ )*? )
    ( \. (?! [0-9]+(?![\w-]) ) \w[\w-]*+ ) (?! \.\w )
    (?: @[\w.-]*+ )*+
    """,
    re.VERBOSE,
)
"""An e-mail address: its local part, its domain without the last label, and the last label with its dot."""

_CARD: Final = re.compile(
    r"""
    (?<! [0-9A-Za-z] ) (?<! [0-9]\. )                # not in the middle of a hexadecimal id, not behind the decimal point
    (?= ( [2-6][0-9]{3}                              # nothing that begins with 1: milliseconds since 1970 do
          (?: [0-9]{9,15}
            | ([ -]) (?: [0-9]{4}\2[0-9]{4}\2[0-9]{1,4} | [0-9]{6}\2[0-9]{4,5} )
          ) ) ( (?:\2[0-9]{1,3})? ) (?! [0-9A-Za-z] )
    )
    """,
    re.VERBOSE,
)
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))


def cards(text: str) -> Iterator[Span]:
    """Where card numbers stand (ISO/IEC 7812-1): 13 to 19 digits with a right check digit, solid or in groups."""
    for match in _CARD.finditer(text):
        start, end = match.span(1)
        last = match.end(3)
        if last > end and _luhn(text[start:last]):
            yield start, last
        elif _luhn(text[start:end]):
            yield start, end


def _luhn(number: str) -> bool:
    digits = number.encode().translate(None, b" -")
    others = digits[-1::-2]
    return (sum(others) - ord("0") * len(others) + sum(digits[-2::-2].translate(_DOUBLED))) % 10 == 0


# ---------------------------------------------------------------------------------------------- is there anything at all

# One pass over the bytes: a signal stays, digits are one digit, what may stand inside a card number goes.
_SIGNALS: Final = bytes.maketrans(b"@=:%123456789", b"@@@@000000000")
_MANY_DIGITS: Final = "0" * 13  # as many as the shortest card number has


def suspicious(text: str) -> bool:
    """Whether any of these patterns may match; the answer is no for most short text, and takes a fraction of a µs."""
    try:
        signals = text.encode().translate(_SIGNALS, b" -").decode()
    except UnicodeEncodeError:  # half a surrogate pair
        return True
    return (
        "@" in signals
        or _MANY_DIGITS in signals
        or "eyJ" in signals
        or "earer" in signals
        or "'," in signals
        or '",' in signals
    )
