"""The pictures of the documentation, drawn from the code: `python -m docs.pictures` writes them to `docs/pictures`."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from docs.pictures import breaker_states, life_of_a_request, onion

__all__ = ("DIRECTORY", "PICTURES")

DIRECTORY: Final = Path(__file__).parent

PICTURES: Final[dict[str, Callable[[], str]]] = {
    "onion.svg": onion.draw,
    "breaker-states.svg": breaker_states.draw,
    "life-of-a-request.svg": life_of_a_request.draw,
}
"""What draws each file."""
