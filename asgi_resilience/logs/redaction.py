"""Takes secrets out of what a log line is made of: text, values of any nesting, headers and query strings.

Three things give a secret away, in this order:

1. **Its name**: `password`, `X-Api-Key`, `refreshToken` (`DEFAULT_KEYS`), as a key of a mapping, a header, a query
   parameter, or inside text: `key=value`, `"key": "value"`, `Authorization: Bearer …`.
2. **Its shape**: JSON web tokens, card numbers, user information in a URL, `Bearer …`.
3. **What it means to people**: e-mail addresses keep one of their two halves.

Each pattern starts at a literal and never goes back over what it has read, so the time is linear in the text; ordinary
short text passes after a handful of substring searches. What is redacted once is not changed by a second pass.
"""

import dataclasses
import enum
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time
from typing import Any, Final, Literal, cast
from urllib.parse import unquote_plus

from asgi_resilience.logs import patterns as find
from asgi_resilience.logs.patterns import EMAIL_MASK, MARK

__all__ = ("DEFAULT_KEYS", "MARK", "Redactor", "unserialisable")

DEFAULT_KEYS: Final = (
    *("password", "passwd", "passphrase", "passcode", "pwd$", "secret", "credential", "otp$", "cvv$", "cvc$"),
    *("api_key", "access_key", "private_key", "signing_key", "encryption_key", "card_number"),
    *("authorization", "auth$", "token$", "jwt$", "bearer$", "signature$", "sig$"),
    *("cookie$", "cookies$", "session_id", "sess_id", "csrf$", "xsrf$"),
)
"""Names of secrets. A key is found anywhere in a name; with a trailing `$`, only at its end (and before digits)."""

_EDGE: Final = 256
_MAX_NAMES: Final = 4096
_LONG_NAME: Final = 256
_SMALL: Final = 10**12  # a number with fewer digits than a card's
_INT64: Final = 1 << 63
_ENCODINGS: Final = 2
_PAIR: Final = 2
_TOO_DEEP: Final = "[too deep]"
_MORE: Final = "…"
_SEPARATORS: Final = re.compile(r"[\W_]+")
_SPOKEN: Final = ("decimal", "fractions", "ipaddress", "pathlib", "uuid")  # packages whose `str` says it all


class Redactor:
    """Replaces secrets by `MARK`. Holds no state but its configuration, and never changes what it is given.

    Args:
        keys: Names of secrets, as in `DEFAULT_KEYS`; add yours with `(*DEFAULT_KEYS, "iban")`. Case and the
            separators `_`, `-`, `.` and space make no difference: `api_key` is also `apiKey`, `API-KEY` and `apikey`.
        patterns: Regular expressions of further secrets in text. Of one with groups, only the first group is replaced.
            They run on every text, so their cost is yours.
        email: The half of an e-mail address to mask: `"local"` gives `******@example.com`, `"domain"` gives
            `user@******.com`.
        max_text: Text beyond this many characters is cut, before anything else looks at it.
        max_items: Values beyond this many in one structure are left out.
        max_depth: Structures deeper than this are left out.

    Raises:
        ValueError: An option is out of range, or a pattern is not a regular expression.
    """

    def __init__(
        self,
        *,
        keys: Iterable[str] = DEFAULT_KEYS,
        patterns: Iterable[str | re.Pattern[str]] = (),
        email: Literal["local", "domain"] = "local",
        max_text: int = 32_768,
        max_items: int = 1_000,
        max_depth: int = 8,
    ) -> None:
        if email not in ("local", "domain"):
            raise ValueError(f"email={email!r}: expected 'local' or 'domain'")
        if max_text < 2 * _EDGE:
            raise ValueError(f"max_text={max_text!r}: expected at least {2 * _EDGE}")
        if max_items < 1:
            raise ValueError(f"max_items={max_items!r}: expected at least 1")
        if max_depth < 1:
            raise ValueError(f"max_depth={max_depth!r}: expected at least 1")
        keys = tuple(keys)
        if not all(find.words(key) for key in keys):
            raise ValueError(f"keys={keys!r}: each needs a letter or a digit")
        self._named = re.compile("|".join(map(find.in_name, keys)) or "(?!)").search
        self._assigned = find.assignment(keys) if keys else None
        try:
            self._patterns = tuple(re.compile(pattern) for pattern in patterns)
        except re.error as error:
            raise ValueError(f"patterns: {error.pattern!r} is not a regular expression: {error}") from None
        self._email = rf"{EMAIL_MASK}@\2\3" if email == "local" else rf"\1@{EMAIL_MASK}\3"
        self._max_text = max_text
        self._max_items = max_items
        self._max_depth = max_depth
        self._names: dict[str, bool] = {}

    # ------------------------------------------------------------------------------------------------------- text

    def text(self, text: str) -> str:
        """`text` without secrets; the same object when there are none. Never raises."""
        if len(text) > self._max_text:
            return self._cut(text)
        if find.suspicious(text):
            text = self._redacted(text)
        for pattern in self._patterns:
            text = pattern.sub(_masked_group if pattern.groups else MARK, text)
        return text

    def _redacted(self, original: str) -> str:
        text = original
        if "://" in text:
            text = find.URL_USER.sub(f"{MARK}@", text)
        if self._assigned is not None:
            text = find.mask(text, find.assigned(find.lower(text), self._assigned))
        text = find.JWT.sub(find.mask_jwt, text)
        text = find.BEARER.sub(rf"\1{MARK}", text)
        text = find.mask(text, find.cards(text))
        if "@" in text:
            text = find.EMAIL.sub(self._email, text)
        return original if text == original else text

    def _cut(self, text: str) -> str:
        """The head of `text`. A secret that the limit cuts in two may not be recognised: so the edge goes too."""
        head = self.text(text[: self._max_text])
        head = head[: min(len(head), self._max_text) - _EDGE]
        space = head.rfind(" ", len(head) - _EDGE)
        return f"{head[:space] if space > 0 else head} …[{len(text) - self._max_text} more characters]"

    # ------------------------------------------------------------------------------------------------- structures

    def secret(self, name: str) -> bool:
        """Whether a value of this name is a secret."""
        known = self._names.get(name)
        if known is None:
            known = self._named(_SEPARATORS.sub("", name[:_LONG_NAME].lower())) is not None
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            self._names[name] = known
        return known

    def value(self, name: str, obj: Any) -> Any:
        """`obj` without secrets, made of what JSON knows; an untouched structure is returned as it is. Never raises.

        A secret by name is replaced whatever it is, unless it is None, True or False. Mappings, sequences, sets,
        dataclasses and named tuples are walked through; of other objects the `repr` is redacted as text. What fails
        becomes a marker.

        Args:
            name: What the value is called; empty when it has no name.
            obj: Anything.
        """
        return self._walk(name, obj, 0, iter(range(self._max_items)))

    def _walk(self, name: str, obj: Any, depth: int, budget: Iterator[int]) -> Any:
        kind = cast("Any", type(obj))
        if obj is None or kind is bool:
            return obj
        if name and self.secret(name):
            return MARK
        if kind is str:
            return self.text(obj)
        if kind is int and -_SMALL < obj < _SMALL:
            return obj
        if kind is float and math.isfinite(obj):
            return obj
        try:
            return self._convert(name, obj, depth, budget)
        except Exception:  # noqa: BLE001 - the objects are the application's, and so may be what they raise
            return unserialisable(obj)

    def _convert(self, name: str, obj: Any, depth: int, budget: Iterator[int]) -> Any:
        kind = cast("Any", type(obj))
        if issubclass(kind, Mapping):
            return self._mapping(obj, depth, budget)
        if issubclass(kind, tuple) and hasattr(obj, "_fields"):  # a named tuple
            return self._mapping(dict(zip(obj._fields, obj, strict=True)), depth, budget)
        if issubclass(kind, list | tuple | set | frozenset | deque):
            return self._sequence(obj, depth, budget)
        if issubclass(kind, enum.Enum):
            return self._walk(name, obj.value, depth, budget)
        if dataclasses.is_dataclass(kind):
            shown = {each.name: getattr(obj, each.name) for each in dataclasses.fields(kind) if each.repr}
            return self._mapping(shown, depth, budget)
        if issubclass(kind, int):
            text = str(int(obj))
            masked = self.text(text)
            return int(obj) if masked == text and -_INT64 <= obj < _INT64 else masked
        return self.text(self._as_text(obj))

    def _as_text(self, obj: Any) -> str:
        if isinstance(obj, str):
            return str.__str__(obj)
        if isinstance(obj, bytes | bytearray):
            return obj[: self._max_text + 1].decode("utf-8", "backslashreplace")
        if isinstance(obj, date | time):
            return obj.isoformat()
        if isinstance(obj, BaseException):
            return f"{type(obj).__qualname__}: {obj}"
        return str(obj) if type(obj).__module__.partition(".")[0] in _SPOKEN else repr(obj)

    def _mapping(self, obj: Mapping[Any, Any], depth: int, budget: Iterator[int]) -> Any:
        if depth >= self._max_depth:
            return _TOO_DEEP
        if not depth and self._is_harmless(obj):
            return obj
        result: dict[str, Any] = {}
        same = type(obj) is dict
        for key, item in obj.items():
            if next(budget, None) is None:
                result[_MORE] = f"[{len(obj) - len(result)} more]"
                return result
            name = self._name(key)
            result[name] = value = self._walk(name, item, depth + 1, budget)
            same = same and value is item and name is key
        return obj if same else result

    def _is_harmless(self, obj: Mapping[Any, Any]) -> bool:
        """Whether this is a flat dict without secrets, as most are: one look at all of its text, in place of one at each."""
        texts: list[str] = [*obj]
        if self._patterns or len(texts) > self._max_items or cast("Any", type(obj)) is not dict:
            return False
        for name, item in obj.items():
            kind = cast("Any", type(item))
            if kind is str:
                texts.append(item)
            elif item is not None and not (kind in (int, float, bool) and -_SMALL < item < _SMALL):
                return False
            if cast("Any", type(name)) is not str or self.secret(name):
                return False
        return sum(map(len, texts)) <= self._max_text and not find.suspicious("\n".join(texts))

    def _sequence(self, obj: Any, depth: int, budget: Iterator[int]) -> Any:
        if depth >= self._max_depth:
            return _TOO_DEEP
        if len(obj) == _PAIR and type(obj) in (list, tuple) and isinstance(obj[0], str | bytes):
            name = self._name(obj[0])  # as in a list of headers
            return [name, self._walk(name, obj[1], depth + 1, budget)]
        result: list[Any] = []
        same = type(obj) is list
        for item in obj:
            if next(budget, None) is None:
                result.append(f"[{len(obj) - len(result)} more]")
                return result
            value = self._walk("", item, depth + 1, budget)
            result.append(value)
            same = same and value is item
        return obj if same else result

    def _name(self, key: Any) -> str:
        return self.text(self._as_text(key) if isinstance(key, str | bytes) else str(key))

    # ------------------------------------------------------------------------------------------- headers and queries

    def headers(self, headers: Iterable[tuple[bytes | str, bytes | str]]) -> list[tuple[str, str]]:
        """The headers as text, in order and with their repetitions, without secrets."""
        result: list[tuple[str, str]] = []
        for key, value in headers:
            name, text = (
                part.decode("latin-1") if isinstance(part, bytes) else part for part in (key, value)
            )
            result.append((name, MARK if self.secret(name) else self.text(text)))
        return result

    def query(self, query: bytes | str) -> str:
        """A query string without secrets. What is not secret keeps its encoding."""
        text = query.decode("latin-1") if isinstance(query, bytes) else query
        return "&".join(map(self._parameter, text[: self._max_text].split("&")))

    def _parameter(self, pair: str) -> str:
        name, equals, _ = pair.partition("=")
        if self.secret(_decode(name)):
            return f"{name}={MARK}" if equals else pair
        decoded = _decode(pair)
        redacted = self.text(decoded)
        return pair if redacted == decoded else redacted


def _masked_group(match: re.Match[str]) -> str:
    start, end = match.start(), match.end()
    first, last = match.span(1)
    if first < 0:
        return match[0]
    return f"{match.string[start:first]}{MARK}{match.string[last:end]}"


def _decode(text: str) -> str:
    for _ in range(_ENCODINGS):
        if "%" not in text and "+" not in text:
            break
        text = unquote_plus(text)
    return text


def unserialisable(obj: object) -> str:
    """The marker for a value that can't be shown."""
    return f"[unserialisable {type(obj).__name__}]"
