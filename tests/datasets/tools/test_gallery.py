"""The gallery: a page that lists the equations as they are, and their animations."""

from __future__ import annotations

import re
from pathlib import Path

import gallery
import pytest
from PIL import Image

from pelagos.datasets import equations

DOCS = Path(__file__).parents[3] / "docs"


def test_page_shows_the_equations_as_they_are():
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == gallery.page()


def test_page_links_to_headings_that_exist():
    headings = re.findall(r"^### (.*)$", (DOCS / "equations.md").read_text("utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    links = re.findall(r"equations\.md#([^)]*)\)", gallery.page())
    assert len(links) == len(equations.names())
    assert {*links} <= anchors


@pytest.mark.parametrize("name", equations.names())
def test_every_equation_has_a_small_animation(name):
    path = DOCS / "gallery" / f"{name}.webp"
    assert path.stat().st_size < 150_000
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames", 1) > 1
        assert max(picture.size) <= 700


def test_pictures_follow_the_fields(tmp_path):
    """Two frames of a decaying heat profile differ; a pair of fields has two panels."""
    one, two = tmp_path / "one.webp", tmp_path / "two.webp"
    gallery.draw("heat_2d", one, resolution=32, frames=3)
    gallery.draw("brusselator_2d", two, resolution=32, frames=2)
    with Image.open(one) as first, Image.open(two) as second:
        assert getattr(first, "n_frames", 1) == 3
        assert second.width > first.width
        start = first.convert("RGB").tobytes()
        first.seek(2)
        assert first.convert("RGB").tobytes() != start
    assert {path.name for path in tmp_path.iterdir()} == {"one.webp", "two.webp"}
