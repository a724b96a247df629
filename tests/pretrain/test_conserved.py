"""Means that every step keeps: in rollouts, in checkpoints, and only where data keep them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pelagos.datasets import Grid, WellData, open_store, simulate, write_file
from pelagos.datasets.base.config import build
from pelagos.finetune import evaluate
from pelagos.finetune.adapt.distance import distances
from pelagos.operators import create, from_pretrained
from pelagos.operators.core.description import Description
from pelagos.pretrain import TrainRecipe
from pelagos.pretrain.conserved import keeps_mean, moves
from pelagos.pretrain.draft import draft
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


TIME = np.arange(9.0)[:, None]
WAVE = np.sin(2 * np.pi * (np.arange(16) / 16 - TIME / 11))
FIELDS = {
    "travels": 3.0 + WAVE,  # keeps its mean
    "grows": WAVE + 0.1 * TIME,
    "returns": WAVE + np.sin(np.pi * TIME / 8),  # to its first mean, at the last frame
    "creeps": WAVE[:1] + 1e-6 * TIME,  # changes so little that its mean cannot tell
    "rests": np.broadcast_to(WAVE[:1], WAVE.shape),
    "is one": np.ones_like(WAVE),
}


def waves(folder, name, fields, mask=None):
    """Three trajectories of these fields, the later ones larger."""
    sizes = np.array([1.0, 2.0, 3.0])[:, None, None]
    values = {field: (sizes * FIELDS[field]).astype("f4") for field in fields}
    grid = Grid((16,), (1.0,), ("periodic",))
    path = folder / f"{name}.hdf5"
    write_file(path, WellData(name, grid, TIME[:, 0], values, mask=mask))
    return path


def test_what_data_show_to_be_conserved(tmp_path):
    store = open_store(waves(tmp_path, "waves", FIELDS))
    assert [name for name in FIELDS if keeps_mean(store, name)] == ["travels"]
    assert not keeps_mean(store, "no such field")
    mask = np.ones((3, 1, 16), dtype=bool)
    mask[..., :4] = False
    assert not keeps_mean(open_store(waves(tmp_path, "masked", ["travels"], mask)), "travels")


@pytest.mark.parametrize("period", [2.5, 10 / 3, 5.0, 10.0, 20.0])
def test_a_mean_that_swings_is_not_kept(period, tmp_path):
    """41 frames: at equal distances a swing of these periods is at rest."""
    time = np.arange(41.0)
    x = np.arange(16) / 16
    swing = 5 * np.sin(2 * np.pi * time / period)
    u = 20 + np.sin(2 * np.pi * (x - time[:, None] / 11)) + swing[:, None]
    data = WellData("swing", Grid((16,), (1.0,), ("periodic",)), time, {"u": u[None].astype("f4")})
    write_file(tmp_path / "swing.hdf5", data)
    store = open_store(tmp_path / "swing.hdf5")
    assert not keeps_mean(store, "u")
    assert moves(store, "u") is not None


def test_a_draft_keeps_what_all_data_keep(tmp_path):
    one = str(waves(tmp_path, "one", ["travels", "grows"]))
    two = str(waves(tmp_path, "two", ["grows", "travels"]))
    assert draft([one])["conserved"] == ["travels"]
    assert draft([one, two])["conserved"] == ["travels"]
    assert "conserved" not in draft([str(waves(tmp_path, "three", ["grows", "returns"]))])
    sizes = {"resolution": 16, "trajectories": {"train": 2, "valid": 1}}
    assert "conserved" not in draft([str(simulate("poisson_2d", tmp_path, **sizes))])


def test_a_checkpoints_means_that_move_in_new_data_are_let_go(tmp_path):
    store = open_store(waves(tmp_path, "new", ["travels", "grows"]))
    donor = Description(fields=("travels", "grows"), conserved=("travels", "grows"))
    made = describe(recipe("x"), [store], donor)
    assert made.conserved == ("travels",)
    [line] = distances(donor, made, [store])
    # After eight frames 0.8 of a wave whose deviation is the root of a half.
    assert "keeps the mean of grows, which is not conserved in dataset new" in line
    assert "moves by 1.1 deviations along trajectory 0): it is not kept from here on" in line
    gone = replace(donor, fields=("travels",), conserved=("travels",))
    assert not [*distances(donor, gone, [store])]
    with pytest.raises(ValueError, match="the mean of grows is not conserved in dataset new"):
        describe(recipe("x", conserved=["grows"]), [store], donor)


def test_an_evaluation_says_that_a_kept_mean_moves(tmp_path):
    store = open_store(waves(tmp_path, "new", ["travels", "grows"]))
    about = Description(fields=("travels", "grows"), conserved=("travels", "grows"))
    operator = create("dymixop", description=about, ndim=1, **SMALL["dymixop"])
    outside = evaluate(operator, store, steps=2)["verdict"]["outside"]
    assert "moves by 1.1 deviations" in outside["kept mean of grows"]
    assert "kept mean of travels" not in outside


def test_a_steady_problem_has_no_frame_before():
    with pytest.raises(ValueError, match="conserved has no meaning for a steady problem"):
        Description(fields=("u",), inputs=("a",), conserved=("u",))
