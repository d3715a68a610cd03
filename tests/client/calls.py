"""What the tests of calls share."""

import asyncio


def now():
    """The event loop's clock."""
    return round(asyncio.get_running_loop().time(), 6)


def only(events, kind):
    """The events of one type."""
    return [each for each in events if type(each) is kind]


class ThrottledError(Exception):
    """429, with or without a Retry-After."""

    def __init__(self, retry_after=None):
        self.status_code = 429
        self.retry_after = retry_after


class DeadlockError(Exception):
    """What asyncpg raises for one of two transactions that wait for each other."""

    sqlstate = "40P01"
