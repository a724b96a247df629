"""What is said of parameters that an operator is not told."""

import numpy as np
import pytest
import yaml

from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain.command import main

RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 2, "modes": 3},
    "steps": 2,
    "batch": 2,
    "micro_batch": 1,
    "log_every": 1,
    "save_every": 2,
    "validation": {"every": 2, "trajectories": 1, "horizon": 2},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Burgers with viscosities of its own for every trajectory, and heat with one for all."""
    root = tmp_path_factory.mktemp("data")
    sizes = {"trajectories": {"train": 2, "valid": 1}, "resolution": 40, "frames": 6, "dt": 0.02}
    one, fast = {"diffusivity": 0.01}, {"diffusivity": 0.1}
    single = {"diffusivity": float(np.float32(0.01))}
    return {
        "burgers": simulate("burgers_1d", root, **sizes),
        "heat": simulate("heat_1d", root, parameters=one, **sizes),
        "single": simulate("heat_1d", root, name="single", parameters=single, **sizes),
        "fast": simulate("heat_1d", root, name="fast", parameters=fast, **sizes),
        "advection": simulate("advection_1d", root, parameters={"speed": 1.0}, **sizes),
    }


@pytest.fixture
def said(data, tmp_path, capsys):
    def start(*names, **changes):
        path = tmp_path / "recipe.yaml"
        entries = [{"path": str(data[name])} for name in names]
        path.write_text(yaml.safe_dump({"data": entries, **RECIPE, **changes}))
        main([str(path), str(tmp_path / "run"), "--dry-run"])
        return capsys.readouterr().out

    return start


def test_a_viscosity_that_differs_is_named_with_a_remedy_that_works(said):
    line = (
        "viscosity differs between trajectories, which the operator is not told; "
        "with conditions: [viscosity] it is"
    )
    assert line in said("burgers")
    assert "is not told" not in said("burgers", conditions=["viscosity"])


def test_datasets_are_compared_with_one_another(said):
    """Each has one value for all of its trajectories: 0.01, 0.01 in single precision, 0.1."""
    assert "is not told" not in said("heat", "single")
    assert "diffusivity differs between trajectories" in said("heat", "fast")


def test_nothing_is_said_of_what_is_the_same_or_cannot_be_told(said):
    assert "is not told" not in said("heat")
    assert "is not told" not in said("burgers", "advection")  # which has no viscosity


LATE = {"horizon": 3, "curriculum": {"every": 4, "growth": 2}}


@pytest.mark.parametrize(
    ("steps", "told"), [(4, "at most 1 frame(s) are predicted in training"), (5, "")]
)
def test_a_horizon_that_is_never_reached_is_told(steps, told, said):
    text = said("heat", "single", steps=steps, objective=LATE)
    assert ("before objective.curriculum comes to objective.horizon (3)" in text) == bool(told)
    assert told in text
