"""Means that every step keeps: in rollouts, in checkpoints, and only where data keep them."""

import pytest
import torch

from pelagos.datasets import open_store, simulate
from pelagos.datasets.base.config import build
from pelagos.operators import create, from_pretrained
from pelagos.operators.core.description import Description
from pelagos.pretrain import TrainRecipe
from pelagos.pretrain.start import describe

SMALL = {
    "dymixop": {"hidden": 4, "layers": 2, "modes": 2},
    "multiscale": {"width": 4, "depths": [1, 1], "heads": [1, 1], "skips": [0, 0], "patch": 2},
    "observer": {"hidden": 4, "layers": 1, "modes": 2},
}


@pytest.mark.parametrize("name", SMALL)
def test_every_step_keeps_the_mean(name, tmp_path):
    about = Description(fields=("u", "v"), conserved=("v",))
    operator = create(name, description=about, ndim=1, **SMALL[name]).eval()
    operator.save_pretrained(tmp_path / "kept")
    operator = from_pretrained(tmp_path / "kept").double()
    assert operator.description.conserved == ("v",)
    start = torch.randn(
        2, 1, 2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    for frame in operator.rollout(start, dt=1.0, steps=5):
        torch.testing.assert_close(frame[:, 1].mean(-1), start[:, 0, 1].mean(-1))
    assert not torch.allclose(frame[:, 0].mean(-1), start[:, 0, 0].mean(-1))
    free = create(name, description=Description(fields=("u", "v")), ndim=1, **SMALL[name])
    one, two = (next(op.double().rollout(start, dt=1.0, steps=1)) for op in (free, operator))
    # The projection moves a frame by a constant, and leaves other fields alone.
    torch.testing.assert_close(one[:, 0], two[:, 0])
    assert (one - two)[:, 1].std(-1).max() < 1e-12


def recipe(path, **keys):
    operator = {"name": "dymixop", "hidden": 4, "layers": 1, "modes": 2}
    return build(TrainRecipe, {"data": [{"path": str(path)}], "operator": operator, **keys})


def test_the_recipe_says_what_is_kept(tmp_path):
    sizes = {"resolution": 32, "frames": 4, "trajectories": {"train": 2, "valid": 1}}
    simulate("burgers_1d", tmp_path, **sizes)
    simulate("fisher_1d", tmp_path, **sizes)
    store = open_store(tmp_path / "burgers_1d", "train")
    assert describe(recipe("x", conserved=["u"]), [store]).conserved == ("u",)
    assert describe(recipe("x"), [store]).conserved == ()
    donor = Description(fields=("u",), conserved=("u",))
    assert describe(recipe("x"), [store], donor).conserved == ("u",)
    assert describe(recipe("x", conserved=[]), [store], donor).conserved == ()
    with pytest.raises(ValueError, match="predicts no 'w'"):
        describe(recipe("x", conserved=["w"]), [store])
    growing = open_store(tmp_path / "fisher_1d", "train")
    with pytest.raises(ValueError, match="the mean of u is not conserved in dataset fisher_1d"):
        describe(recipe("x", conserved=["u"]), [growing])


def test_a_steady_problem_has_no_frame_before():
    with pytest.raises(ValueError, match="conserved has no meaning for a steady problem"):
        Description(fields=("u",), inputs=("a",), conserved=("u",))
