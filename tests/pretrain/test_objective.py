"""Losses against hand-computed numbers, and training on all2all pairs."""

import pytest
import torch
import yaml

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Identity, Statistics
from pelagos.datasets.fields.window import Context, Window
from pelagos.datasets.simulation.simulate import simulate
from pelagos.operators import from_pretrained
from pelagos.pretrain.command import main
from pelagos.pretrain.objectives.losses import loss_of

FIELDS = ("density", "velocity_x", "velocity_y", "pressure")


def window(target):
    history = torch.zeros(len(target), 1, len(FIELDS), 2)
    return Window(history, target, torch.ones(len(target), 1), Context(FIELDS, Grid.unit((2,))))


def test_grouped_relative_l1_by_hand():
    """Groups weigh the same; sums run over the whole batch, not per sample."""
    truth = torch.tensor([[2.0, 3.0, -1.0, 4.0], [0.0, 1.0, 1.0, 4.0]])[:, None, :, None]
    guess = truth + torch.tensor([1.0, 0.5, -0.5, 2.0])[None, None, :, None]
    truth, guess = truth.expand(-1, -1, -1, 2), guess.expand(-1, -1, -1, 2)
    # density 2/2, velocity (1 + 1)/(4 + 2), pressure 4/8
    expected = (1.0 + 2 / 6 + 0.5) / 3
    found = loss_of("grouped_relative_l1", guess, window(truth), Identity())
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_grouped_relative_l1_is_in_normalised_units():
    truth = torch.rand(2, 1, 4, 2) + 1
    guess = truth + 0.1
    spread = dict(zip(FIELDS, (1.0, 2.0, 3.0, 4.0), strict=True))
    statistics = Statistics({"*": dict.fromkeys(FIELDS, 1.0)}, {"*": spread})
    shift, scale = torch.ones(4)[:, None], torch.tensor([1.0, 2, 3, 4])[:, None]
    plain = loss_of(
        "grouped_relative_l1",
        (guess - shift) / scale,
        window((truth - shift) / scale),
        Identity(),
    )
    torch.testing.assert_close(
        loss_of("grouped_relative_l1", guess, window(truth), statistics), plain
    )


def test_relative_mse_by_hand():
    truth, guess = torch.full((2, 1, 4, 2), 2.0), torch.full((2, 1, 4, 2), 3.0)
    assert loss_of("relative_mse", guess, window(truth), Identity()).item() == 0.25


RECIPE = {
    "operator": {
        "name": "multiscale",
        "width": 8,
        "depths": [1, 1],
        "heads": [2, 2],
        "skips": [1, 0],
        "window": 4,
        "patch": 2,
    },
    "normalizer": {"name": "statistics"},
    "objective": {"kind": "all2all", "horizon": 4, "loss": "grouped_relative_l1"},
    "time_scale": 0.08,
    "steps": 4,
    "batch": 4,
    "micro_batch": 2,
    "log_every": 2,
    "save_every": 4,
    "validation": {"every": 4, "horizon": 4},
}


@pytest.fixture
def recipe(tmp_path):
    data = simulate(
        "advection_1d",
        tmp_path,
        trajectories={"train": 2, "valid": 2},
        resolution=40,
        frames=7,
        dt=0.02,
    )

    def write(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"data": [{"path": str(data)}], **RECIPE, **changes}))
        return str(path)

    return write


def test_all2all_trains_an_operator_that_predicts_any_lead_time(recipe, tmp_path):
    main([recipe(), str(tmp_path / "run")])
    operator = from_pretrained(tmp_path / "run" / "checkpoint")
    assert operator.description.time_scale == 0.08
    assert operator.description.time_steps == pytest.approx((0.02, 0.04, 0.06, 0.08), rel=1e-4)
    history = torch.rand(1, 1, 1, 40)
    frames = list(operator.rollout(history, dt=0.05, steps=2))
    assert all(frame.isfinite().all() for frame in frames)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"operator": {"name": "dymixop", "modes": 4, "hidden": 4}},
            "all2all needs an operator that predicts any lead time .* dymixop does not",
        ),
        ({"objective": {"kind": "all2all", "horizon": 9}}, "has 7; shorten the window"),
        ({"objective": {"kind": "all2al"}}, "all2al"),
        ({"time_scale": 0}, "time_scale must be positive"),
    ],
)
def test_refusals(changes, match, recipe, tmp_path):
    with pytest.raises(ValueError, match=match):
        main([recipe(**changes), str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
