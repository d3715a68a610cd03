"""The pictures of the documentation show what the code does today, and can be read by everybody."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The pictures as they are drawn now, in a process of its own: drawing sets up a whole stack."""
    directory = tmp_path_factory.mktemp("pictures")
    subprocess.run(
        [sys.executable, "-m", "docs.pictures", str(directory)], cwd=ROOT, check=True, capture_output=True
    )
    return {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir()}


def test_the_pictures_are_current(drawn):
    """What stands in the documentation is what `python -m docs.pictures` draws from the code, file by file."""
    assert {path.name: path.read_text(encoding="utf-8") for path in PICTURES.glob("*.svg")} == drawn


def test_every_picture_has_a_name_and_a_description(drawn):
    """Those who can't see a picture are told what it shows, and its colours follow those of the reader."""
    for text in drawn.values():
        root = ET.fromstring(text)
        assert root.get("aria-labelledby") == "title description"
        assert len(root.findtext(f"{SVG}title", "")) > 10
        assert len(root.findtext(f"{SVG}desc", "")) > 50
        assert "prefers-color-scheme: dark" in text


def test_every_picture_is_shown_with_its_name(drawn):
    """Each picture stands in a page, with a text in its place."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    for name in drawn:
        assert f"](../pictures/{name})" in pages
        assert f"![]({name}" not in pages
