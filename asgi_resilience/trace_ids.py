"""Where new trace and span ids come from.

Not from the module-level generator: an application that seeds that one would make the same ids in every process. Ids are
made many at a time and cut up, for less than half of what each would cost by itself. Taking one off a list is atomic, so
threads never share one; a forked child throws its parent's stock away, so processes never do.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from asgi_resilience.process_life import in_forked_children

__all__ = ("new_digits", "new_span_id", "random_bits")

_TRACE_ID, _SPAN_ID = 32, 16  # digits
_DIGITS: Final = _TRACE_ID + _SPAN_ID
_STOCKED: Final = 64
_BITS_A_DIGIT: Final = 4

_random: Final = Random()  # noqa: S311 - ids must differ, not be secret
_stock: Final[list[str]] = []
in_forked_children(_random.seed)
in_forked_children(_stock.clear)

random_bits: Final = _random.getrandbits
"""Called with a number of bits; differs between processes, forked ones too."""


def new_digits(bits: Callable[[int], int] | None = None) -> str:
    """32 hex digits for a trace id and 16 for a span id; that one of them is 0 happens once in 10¹⁹.

    Args:
        bits: Made of these, in place of `random_bits`.
    """
    if bits is not None:
        return _hex(bits(_DIGITS * _BITS_A_DIGIT), _DIGITS)
    try:
        return _stock.pop()
    except IndexError:
        size = _DIGITS * _STOCKED
        drawn = _hex(random_bits(size * _BITS_A_DIGIT), size)
        _stock.extend(drawn[at : at + _DIGITS] for at in range(_DIGITS, size, _DIGITS))
        return drawn[:_DIGITS]


def new_span_id() -> str:
    """16 hex digits, not all 0."""
    return _hex(random_bits(_SPAN_ID * _BITS_A_DIGIT) or 1, _SPAN_ID)


def _hex(number: int, digits: int) -> str:
    return f"{number:0{digits}x}"
