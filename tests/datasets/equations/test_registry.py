"""Equations of other packages: found by entry points, treated like ours, refused with a reason."""

import importlib
import sys

import pytest

from pelagos.datasets import equations, open_store
from pelagos.datasets.equations import catalogue
from pelagos.datasets.simulation.endless import EndlessStore
from pelagos.datasets.simulation.simulate import simulate

MODULE = '''"""Decay: relaxation to nothing.

Every mode decays at its own rate.
"""

from pelagos.datasets import equations
from pelagos.datasets.equations.initial import FourierSeries
from pelagos.datasets.equations.semilinear import SemilinearEquation

DECAY = SemilinearEquation(
    name="decay_1d",
    title="Decay",
    formula="u_t = -r u",
    fields=("u",),
    lengths=(1.0,),
    resolution=(32,),
    dt=0.1,
    frames=5,
    initial=FourierSeries(modes=2, rms=(1.0, 1.0)),
    linear=lambda s, p: -p["rate"] * (1 + 0 * s.k2),
    parameters={"rate": equations.Parameter(1.0, 2.0, "rate r")},
)
EQUATIONS = (DECAY,)
TAKEN = (equations.get("heat_1d"),)
NUMBER = 3
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make a package `relaxing` known that declares a family, as an installed one is."""

    def place(value: str) -> None:
        (tmp_path / "relaxing.py").write_text(MODULE)
        info = tmp_path / "relaxing-0.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: relaxing\nVersion: 0.3\n")
        (info / "entry_points.txt").write_text(f"[pelagos.equations]\nrelaxation = {value}\n")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    yield place
    sys.modules.pop("relaxing", None)


@pytest.mark.parametrize("value", ["relaxing:EQUATIONS", "relaxing:DECAY"])
def test_an_equation_of_another_package_is_like_ours(install, tmp_path, value):
    install(value)
    assert equations.get("decay_1d").title == "Decay"
    assert equations.names()[-1] == "decay_1d"
    lines = catalogue.listing().splitlines()
    assert lines[-2] == "Decay: relaxation to nothing (from relaxing 0.3)"
    assert lines[-1].split() == ["decay_1d", "u_t", "=", "-r", "u", "[u]"]
    assert "decay_1d" not in catalogue.page()
    root = simulate("decay_1d", tmp_path / "data", trajectories={"train": 2}, frames=3)
    stored = open_store(root, "train")
    assert EndlessStore("decay_1d", "train", 2, frames=3).trajectory(1).equal(stored.trajectory(1))
    with pytest.raises(ValueError, match="'decay_2d'; did you mean 'decay_1d'"):
        equations.get("decay_2d")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("relaxing:TAKEN", "equation 'heat_1d' of relaxing 0.3 has a name that is taken already"),
        ("relaxing:NUMBER", "'relaxation' of relaxing 0.3 must be an Equation or a tuple"),
        ("relaxing:MISSING", "'relaxation' of the package relaxing cannot be imported"),
    ],
)
def test_what_is_wrong_with_another_package_is_said_and_ours_go_on(install, value, message):
    install(value)
    with pytest.raises(ValueError, match=message):
        equations.names()
    assert equations.get("heat_1d").name == "heat_1d"


def test_an_equation_of_this_process_is_known_until_it_is_forgotten(monkeypatch):
    own = equations.get("heat_1d")
    monkeypatch.setitem(equations.FAMILIES.added, "own", (own.restricted({"diffusivity": 0.01}),))
    with pytest.raises(ValueError, match="'heat_1d' of own has a name that is taken already"):
        equations.families()
