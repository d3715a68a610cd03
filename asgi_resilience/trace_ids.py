"""Where new trace and span ids come from.

Not from the module-level generator: an application that seeds that one would make the same ids in every process.
"""

import os
from random import Random
from typing import Final

__all__ = ("new_span_id", "random_bits")

_random: Final = Random()  # noqa: S311 - ids must differ, not be secret
os.register_at_fork(after_in_child=_random.seed)

random_bits: Final = _random.getrandbits
"""Called with a number of bits; differs between processes, forked ones too."""


def new_span_id() -> str:
    """16 hex digits, not all 0."""
    return f"{random_bits(64) or 1:016x}"
