"""What the text of an environment variable means."""

import pytest

from asgi_resilience.settings import readers
from asgi_resilience.settings.readers import Reader

READERS = {name: getattr(readers, name) for name in readers.__all__ if name != "Reader"}


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        *(("switch", text, True) for text in ("1", "true", "TRUE", "yes", "On")),
        *(("switch", text, False) for text in ("0", "false", "no", "OFF")),
        ("number", "2.5", 2.5),
        ("number", "30", 30.0),
        ("number", "None", None),
        ("text", "none", "none"),
        ("upper", "info", "INFO"),
        ("upper", "warning", "WARN"),
        ("optional", "https://x", "https://x"),
        ("optional", "NONE", None),
        ("listed", "a, b,,c ", ("a", "b", "c")),
        ("listed", "none", ()),
        ("words", r"\d{3,4}  x", (r"\d{3,4}", "x")),
        ("words", "none", ()),
        ("switch_or_none", "none", None),
        ("switch_or_none", "on", True),
        ("switch_or_listed", "off", False),
        ("switch_or_listed", "10.0.0.0/8,unix", ("10.0.0.0/8", "unix")),
        ("numbers_by_path", "/reports=120, /stream = none", {"/reports": 120.0, "/stream": None}),
        ("texts_by_path", "/login=5/minute,/a=none", {"/login": "5/minute", "/a": None}),
    ],
)
def test_the_text_means(reader, text, value):
    """Each kind of value has one written form, in which case does not matter where words are fixed."""
    assert READERS[reader](text) == value


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        *(("switch", text) for text in ("", "2", "maybe", "truely")),
        *(("number", text) for text in ("", "30s", "soon", "1,5")),
        *(("numbers_by_path", text) for text in ("/a", "/a=", "/a=soon")),
        ("texts_by_path", "/login"),
    ],
)
def test_the_text_makes_no_sense(reader, text):
    """Anything else is a ValueError."""
    with pytest.raises(ValueError):
        READERS[reader](text)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_the_docstring_says_the_form(reader: Reader):
    """What an error message quotes is there."""
    assert reader.__doc__.endswith(".") or ":" in reader.__doc__
