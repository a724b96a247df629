"""Predictions that stay as large as the training data: rollouts, checkpoints, recipes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pelagos.datasets import WellData, open_store, simulate, write_file
from pelagos.datasets.base.config import build
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context
from pelagos.operators import create, from_pretrained
from pelagos.operators.core.description import Description
from pelagos.operators.core.trained import Ranges
from pelagos.pretrain import TrainRecipe
from pelagos.pretrain.start import describe

SMALL = {
    "dymixop": {"hidden": 4, "layers": 2, "modes": 2},
    "multiscale": {"width": 4, "depths": [1, 1], "heads": [1, 1], "skips": [0, 0], "patch": 2},
    "observer": {"hidden": 4, "layers": 1, "modes": 2},
}
TRAINED = {"waves": Ranges({"u": {"mean": (-0.5, 0.5), "deviation": (-1.0, 0.0)}})}  # up to 1
CONTEXT = Context(("u",), Grid((16,), (1.0,), ("periodic",)), dataset="others")


def start(amplitude: float) -> torch.Tensor:
    x = torch.arange(16, dtype=torch.float64) / 16 * 2 * torch.pi
    return (amplitude * x.sin()).expand(2, 1, 1, 16).clone()


@pytest.mark.parametrize("name", SMALL)
def test_rollouts_of_untrained_weights_stay_bounded(name, tmp_path):
    about = Description(fields=("u",), trained=TRAINED, bounded=1.5)
    operator = create(name, description=about, ndim=1, **SMALL[name]).eval()
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.mul_(3.0)
    operator.save_pretrained(tmp_path / "bounded")
    operator = from_pretrained(tmp_path / "bounded").double()
    assert operator.description.bounded == 1.5
    frames = torch.stack([*operator.rollout(start(0.5), dt=1.0, steps=60)], 1)
    assert frames.std(-1, correction=0).max() <= 1.5 * (1 + 1e-9)
    assert frames.mean(-1).abs().max() <= 0.5 + 0.5 + 1e-9


def test_a_larger_start_widens_the_bound_for_all_of_its_forecast():
    about = Description(fields=("u",), trained=TRAINED, bounded=2.0)
    first = about.scaling(start(3.0), CONTEXT)
    deviation = start(3.0).std(correction=0).item()
    assert first.limits.deviation.flatten().tolist() == pytest.approx(2 * [2 * deviation])
    assert about.scaling(start(0.1), CONTEXT, first).limits is first.limits


def test_what_no_training_data_had_is_not_bounded():
    about = Description(fields=("v",), trained=TRAINED, bounded=1.0)
    limits = about.scaling(start(3.0), replace(CONTEXT, fields=("v",))).limits
    assert limits.deviation.isinf().all()
    huge = 1e6 * start(1.0)[:, 0]
    assert limits.hold(huge).equal(huge)


def recipe(path, **keys):
    operator = {"name": "dymixop", "hidden": 4, "layers": 1, "modes": 2}
    return build(TrainRecipe, {"data": [{"path": str(path)}], "operator": operator, **keys})


def test_the_recipe_says_it_and_fine_tuning_keeps_it(tmp_path):
    sizes = {"resolution": 32, "frames": 4, "trajectories": {"train": 2, "valid": 1}}
    simulate("burgers_1d", tmp_path, **sizes)
    store = open_store(tmp_path / "burgers_1d", "train")
    made = describe(recipe("x", bounded=1.5), [store])
    assert made.bounded == 1.5
    largest = 10 ** made.trained["burgers_1d"].features["u"]["deviation"][1]
    frames = torch.cat([store.trajectory(i) for i in range(2)])
    assert largest == pytest.approx(frames.std(-1, correction=0).max().item(), rel=1e-4)
    assert describe(recipe("x"), [store]).bounded is None
    assert describe(recipe("x"), [store], made).bounded == 1.5
    assert describe(recipe("x", bounded="none"), [store], made).bounded is None
    simulate("poisson_2d", tmp_path, trajectories={"train": 2, "valid": 1}, resolution=8)
    steady = open_store(tmp_path / "poisson_2d", "train")
    kept = replace(made, conserved=("u",))
    assert describe(recipe("x"), [steady], kept).bounded is None
    with pytest.raises(ValueError, match="bounded must be at least 1, or be none"):
        recipe("x", bounded=0.5)


def test_where_it_has_no_meaning_it_is_refused():
    with pytest.raises(ValueError, match="bounded is for rollouts, which a steady problem has not"):
        Description(fields=("u",), inputs=("a",), bounded=2.0)
    with pytest.raises(ValueError, match="bounded must be at least 1"):
        Description(fields=("u",), bounded=0.5)


def test_checkpoints_without_it_say_nothing(tmp_path):
    path = create("dymixop", fields=("u",), ndim=1, **SMALL["dymixop"]).save_pretrained(
        tmp_path / "free"
    )
    assert "bounded" not in json.loads((path / "config.json").read_text())


LAND = torch.arange(16) >= 12


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("far", [0.0, 10.0])
def test_on_the_sea_nothing_on_land_counts(name, far):
    """Wherever the land's constant lies, means are kept and deviations bounded over the sea."""
    about = Description(fields=("u",), trained=TRAINED, bounded=1.5, conserved=("u",))
    operator = create(name, description=about, ndim=1, **SMALL[name]).eval().double()
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.mul_(3.0)
    history = torch.where(LAND, far, start(0.5))
    context = replace(CONTEXT, mask=~LAND[None])
    frames = torch.stack([*operator.rollout(history, context, dt=1.0, steps=20)], 1)
    assert frames[..., LAND].eq(far).all()
    sea = frames[..., ~LAND]
    largest = max(1.0, history[..., ~LAND].std(correction=0).item())
    assert sea.std(-1, correction=0).max() <= 1.5 * largest * (1 + 1e-9)
    kept = history[..., ~LAND].mean().expand(sea.shape[:-1])
    torch.testing.assert_close(sea.mean(-1), kept)


def sea(folder, name, drift):
    """Masked data whose mean over the sea moves by `drift` a frame, and that of the land by 1."""
    noise = np.random.default_rng(0).standard_normal((3, 1, 16)).astype("f4")
    time = np.arange(4.0, dtype="f4")[:, None]
    land = LAND.numpy()
    values = np.where(land, time, noise + drift * time)
    grid = Grid((16,), (1.0,), ("periodic",))
    mask = np.broadcast_to(~land, (3, 1, 16))
    write_file(folder / f"{name}.hdf5", WellData(name, grid, time[:, 0], {"u": values}, mask=mask))
    return open_store(folder / f"{name}.hdf5")


def test_masked_data_have_bounds_and_means_over_the_sea(tmp_path):
    store = sea(tmp_path, "still", 0.0)
    donor = Description(fields=("u",), trained=TRAINED, bounded=2.0)
    assert describe(recipe("x"), [store], donor).bounded == 2.0
    made = describe(recipe("x", bounded=1.5, conserved=["u"]), [store], donor)
    assert (made.bounded, made.conserved) == (1.5, ("u",))
    ocean = torch.stack([store.trajectory(i)[:, 0][:, ~LAND] for i in range(3)])
    largest = 10 ** made.trained["still"].features["u"]["deviation"][1]
    assert largest == pytest.approx(ocean.std(-1, correction=0).max().item(), rel=1e-4)
    with pytest.raises(ValueError, match="the mean of u is not conserved in dataset moving"):
        describe(recipe("x", conserved=["u"]), [sea(tmp_path, "moving", 0.5)])
