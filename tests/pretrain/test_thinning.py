"""Training on several resolutions: which points are seen, and what is refused."""

import pytest
import torch

from pelagos.datasets.fields import Context, Grid, Window
from pelagos.datasets.fields.normalization import Identity
from pelagos.operators import create
from pelagos.pretrain.objectives import objective_of
from pelagos.pretrain.objectives.diverted import DivertedConfig
from pelagos.pretrain.objectives.rollout import RolloutConfig


def window(n=12, m=8):
    grid = Grid((n, m), (3.0, 2.0), ("periodic", "wall"), (0.5, 0.25))
    points = torch.arange(n * m, dtype=torch.float32).reshape(1, 1, 1, n, m)
    constants, mask = points[:, 0] * 2, points[0] % 2 == 0
    context = Context(("u",), grid, None, "d", constants, ("c",), mask=mask)
    return Window(points, points + 0.5, torch.ones(1, 1), context)


class Watching(torch.nn.Module):
    """Keeps the windows that it was asked for."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, window):
        self.seen.append(window)
        return window.history + 1


def test_micro_batches_are_seen_on_every_kth_point():
    objective, model = objective_of(RolloutConfig(thin=(1, 2))), Watching()
    objective.begin(0, 0)
    for seed in range(12):
        objective.loss(model, window(), Identity(), seed)
    shapes = {seen.grid.shape for seen in model.seen}
    assert shapes == {(12, 8), (6, 4)}
    thin = next(seen for seen in model.seen if seen.grid.shape == (6, 4))
    full = window()
    assert torch.equal(thin.history, full.history[..., ::2, ::2])
    assert torch.equal(thin.target, full.target[..., ::2, ::2])
    assert torch.equal(thin.constants, full.constants[..., ::2, ::2])
    assert torch.equal(thin.context.mask, full.context.mask[..., ::2, ::2])
    assert thin.grid.lengths == (3.0, 2.0)
    for kept, all_points in zip(thin.grid.coordinates(), full.grid.coordinates(), strict=True):
        torch.testing.assert_close(kept, all_points[::2])
    again = Watching()
    for seed in range(12):  # the same micro-batch is always seen alike
        objective.loss(again, window(), Identity(), seed)
    assert [w.grid for w in again.seen] == [w.grid for w in model.seen]


@pytest.mark.parametrize(
    ("every", "message"),
    [
        (3, r"thin: 3 does not go with dataset d: every 3th point of 12×8 is no grid"),
        (4, r"thin: 4 does not go with dataset d: 2 modes need a grid of at least 4×2 points"),
    ],
)
def test_grids_that_do_not_serve_are_named(every, message):
    operator = create("dymixop", fields=("u",), ndim=2, hidden=2, layers=1, modes=2)
    objective = objective_of(RolloutConfig(thin=(1, every)))
    with pytest.raises(ValueError, match=message):
        objective.try_out(operator, window(), Identity())


def test_a_solver_knows_one_grid():
    with pytest.raises(ValueError, match=r"objective\.thin does not go with .* diverted"):
        DivertedConfig(thin=(1, 2))
