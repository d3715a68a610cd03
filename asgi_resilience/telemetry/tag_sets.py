"""The tags of one metric: declared once, bounded in number, and the same tuple each time the values are the same."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from asgi_resilience.metric_sink import OVERFLOW, Tags

__all__ = ("TagSets",)

_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,99}")
_UNSAFE: Final = re.compile(r"[^\w\-:/.]+", re.ASCII)
_LONGEST: Final = 100


class TagSets:
    """Makes tags out of values.

    Args:
        metric: Name of the metric, for messages.
        keys: Every key that a tag may have.
        limit: How many combinations of values are told apart; what comes later is `OVERFLOW`.

    Attributes:
        keys: As given, in order.

    Raises:
        ValueError: A key is no tag key or stands there twice, or the limit is below 1.
    """

    __slots__ = ("_known", "_limit", "_metric", "keys")

    def __init__(self, metric: str, keys: Iterable[str], limit: int) -> None:
        self.keys = (keys,) if isinstance(keys, str) else tuple(keys)
        for key in self.keys:
            if not _KEY.fullmatch(key):
                raise ValueError(
                    f"tags={key!r} of {metric}: expected a letter, then letters, digits and '_', all lower case"
                )
        if len(set(self.keys)) < len(self.keys):
            raise ValueError(f"tags={self.keys!r} of {metric}: a key stands there twice")
        if limit < 1:
            raise ValueError(f"max_series={limit!r} of {metric}: expected 1 or more")
        self._metric = metric
        self._limit = limit
        self._known: dict[tuple[str | None, ...], Tags] = {}

    def check(self, values: Mapping[str, object]) -> None:
        """Find keys that were not declared.

        Raises:
            ValueError: There is one; it names the key and the declared ones.
        """
        for key in values:
            if key not in self.keys:
                raise ValueError(f"{self._metric} has no tag {key!r}: declared are {list(self.keys)}")

    def of(self, values: Mapping[str, object]) -> Tags:
        """The tags for these values; a value of None leaves its tag out.

        Characters that DogStatsD or Prometheus would read as syntax become `_`, and values are cut at 100 characters.

        Raises:
            ValueError: As `check`.
        """
        if not values:
            return ()
        texts: list[str | None] = []
        strangers = len(values)
        for key in self.keys:
            value = values.get(key)
            strangers -= key in values
            texts.append(value if value is None or type(value) is str else str(value))
        if strangers:
            self.check(values)
        combination = tuple(texts)
        known = self._known.get(combination)
        if known is None:
            if len(self._known) >= self._limit:
                return OVERFLOW
            known = self._known[combination] = tuple(
                f"{key}:{_UNSAFE.sub('_', text[:_LONGEST]) or '_'}"
                for key, text in zip(self.keys, combination, strict=True)
                if text is not None
            )
        return known
