"""The figures of validation: one per family, linked, small; the slopes that they show."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import validation_figures
from validation import in_time

from pelagos.datasets import equations
from pelagos.datasets.equations.registry import ours

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("family", ours(), ids=lambda family: family.name)
def test_every_family_has_a_small_figure_above_its_equations(family):
    figure = DOCS / "validation" / f"{family.name}.png"
    assert 5_000 < figure.stat().st_size < 25_000
    page = (DOCS / "equations.md").read_text(encoding="utf-8")
    section = page.split(f"## {family.title}\n")[1].split("\n## ")[0]
    assert f"(validation/{family.name}.png)" in section.split("### ")[0]
    assert [f"`{equation.name}`" in section for equation in family.equations] == [True] * len(
        family.equations
    )


def test_there_are_figures_of_families_alone():
    assert [*validation_figures.PANELS] == [*equations.FAMILIES.ours]
    drawn = {path.stem for path in (DOCS / "validation").iterdir()}
    assert drawn == {*equations.FAMILIES.ours}


def test_a_figure_is_the_same_every_time(tmp_path):
    for name in ("one.png", "two.png"):
        validation_figures.draw("elliptic", tmp_path / name)
    one, two = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert one == two


def slopes(curve):
    points = itertools.pairwise(zip(curve.x, curve.y, strict=True))
    return [math.log(a[1] / b[1]) / math.log(a[0] / b[0]) for a, b in points]


@pytest.mark.parametrize("family", ["elliptic", "waves", "shallow_water"])
def test_curves_have_the_order_of_the_slope_below_them(family):
    for panel in validation_figures.PANELS[family]():
        for curve in panel.curves:
            if curve.order:
                assert slopes(curve) == pytest.approx([curve.order] * (len(curve.x) - 1), abs=0.5)


def test_errors_in_time_fall_with_the_order_of_the_method():
    assert slopes(in_time("fisher_1d", 0.5, 16, 64)) == pytest.approx([4, 4], abs=0.2)
