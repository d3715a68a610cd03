"""How many different users there are: a question for Redis, asked once an hour for each of them."""

import time

from examples.inference_service.cache import Cache
from examples.inference_service.metrics import active_daily, active_monthly

__all__ = ("ActiveUsers",)

_HOUR = 3600


class ActiveUsers:
    """Counts users; without Redis it counts none, and nobody minds."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._hour = 0
        self._known: set[str] = set()  # in this hour, by this process

    async def note(self, user_id: str) -> None:
        """Somebody is here."""
        hour = int(time.time()) // _HOUR
        if hour != self._hour:
            self._hour, self._known = hour, set()
        if user_id in self._known:
            return
        counts = await self._cache.count_user(user_id, hour)
        if counts is not None:
            self._known.add(user_id)
            active_daily.set(counts[0])
            active_monthly.set(counts[1])
