"""Here every layer is at work, the access log too."""

import pytest


@pytest.fixture(autouse=True)
def quiet(kept_lines):
    """The lines of requests stay off the terminal."""
