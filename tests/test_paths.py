"""The one rule of matching for every option that names paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.paths import PathTable


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/reports", "reports"),
        ("/reports/", "reports"),
        ("/reports/2026", "reports"),
        ("/reports//2026", "reports"),
        ("/reports/2026/big", "big"),
        ("/reports/2026/big/", "big"),
        ("/reports/2026/big/one", "big"),
        ("/reports/2026/bigger", "reports"),
        ("/reports-old", "default"),
        ("/report", "default"),
        ("/Reports", "default"),
        ("/", "default"),
        ("", "default"),
        ("*", "default"),
        ("//reports", "default"),
        ("/x/reports", "default"),
    ],
)
def test_an_entry_covers_its_path_and_everything_below(path, value):
    """Whole segments match, the longest entry wins, and a slash at the end makes no difference."""
    table = PathTable({"/reports": "reports", "/reports/2026/big/": "big"}, "paths")
    assert table.get(path, "default") == value


@pytest.mark.parametrize("path", ["/", "", "*", "/a", "/a/b/c", "//"])
def test_a_slash_covers_everything(path):
    """`/` is the entry for all that no longer one covers."""
    assert PathTable({"/": 1}, "paths").get(path, 0) == 1


def test_an_entry_may_hold_none():
    """None is a value like any other, and not the default."""
    assert PathTable({"/a": None}, "paths").get("/a", 7) is None


def test_an_empty_table_is_false():
    """Without entries every path gets the default, and the table says so."""
    assert not PathTable({}, "paths")
    assert PathTable({"/": 0}, "paths")
    assert PathTable({}, "paths").get("/a", 7) == 7


@pytest.mark.parametrize("path", ["", "a", "*", "http://x/a"])
def test_an_entry_is_a_path(path):
    """An entry without a slash in front is refused; the error names the option and the entry."""
    with pytest.raises(ValueError, match=r"exempt_paths: .*expected one that starts with '/'") as raised:
        PathTable({path: 1}, "exempt_paths")
    assert repr(path) in str(raised.value)


segments = st.lists(st.sampled_from(("a", "b", "ab", "")), max_size=5).map(lambda each: "/" + "/".join(each))


@given(entries=st.dictionaries(segments, st.integers()), path=segments)
def test_the_longest_prefix_wins(entries, path):
    """The table agrees with trying every entry in turn."""
    table = PathTable(entries, "paths")
    stripped = {entry.rstrip("/"): value for entry, value in entries.items()}
    covering = [entry for entry in stripped if f"{path.rstrip('/')}/".startswith(f"{entry}/")]
    expected = stripped[max(covering, key=len)] if covering else None
    assert table.get(path, None) == expected


class Counting(str):
    """A path that counts how often it, or what is left of it, is cut."""

    __slots__ = ()
    cuts = 0

    def rpartition(self, separator):
        Counting.cuts += 1
        return tuple(map(Counting, super().rpartition(separator)))

    def rstrip(self, characters):
        return Counting(super().rstrip(characters))

    def __getitem__(self, index):
        return Counting(super().__getitem__(index))


def test_a_path_of_thousands_of_segments_costs_no_more_than_the_longest_entry():
    """The time is bounded by the table and not by what a client sends."""
    table = PathTable({"/a/a": 1, "/b": 2}, "paths")
    assert table.get(Counting("/a" * 30_000), 0) == 1
    assert table.get(Counting("/c" * 30_000), 0) == 0
    assert Counting.cuts <= 6
