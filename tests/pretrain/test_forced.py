"""Generalised teacher forcing in closed form: a model that multiplies by a factor."""

import pytest
import torch
from linear_model import Linear, window_of

from pelagos.datasets.fields.normalization import Identity, Statistics
from pelagos.pretrain.objectives import objective_of
from pelagos.pretrain.objectives.forced import ForcedConfig, growth

FRAMES = (2.0 ** torch.arange(5, dtype=torch.float64))[None, :, None, None].expand(2, 5, 1, 6)


def chain(a, alpha, horizon):
    """Predictions z_k of the truth 2^k, and their derivatives to a."""
    state, slope, found = 1.0, 0.0, []
    for k in range(1, horizon + 1):
        z, dz = a * state, state + a * slope
        found.append((z, dz))
        state, slope = (1 - alpha) * z + alpha * 2.0**k, (1 - alpha) * dz
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_states_are_drawn_towards_the_data(alpha):
    objective = objective_of(ForcedConfig(horizon=4, alpha=alpha, loss="relative_mse"))
    model, window = Linear(1.5), window_of(FRAMES.clone())
    objective.begin(0, 0)
    assert objective.notes() is None
    loss = objective.loss(model, window, Identity(), 0)
    (gradient,) = torch.autograd.grad(loss, model.factor)
    total = sum(4.0**k for k in range(1, 5))
    pairs = [(z - 2.0**k, dz) for k, (z, dz) in enumerate(chain(1.5, alpha, 4), start=1)]
    assert loss.item() == pytest.approx(sum(e * e for e, _ in pairs) / total)
    assert gradient.item() == pytest.approx(sum(2 * e * dz for e, dz in pairs) / total)


def test_alpha_follows_the_growth_of_errors():
    objective = objective_of(ForcedConfig(horizon=2, every=2, gamma=0.5))
    window, alphas = window_of(FRAMES.clone()), []
    for step, factor in enumerate([1.25, 1.25, 1.25, 1.25, 4.0, 4.0, 0.5]):
        objective.begin(step, 0)
        objective.loss(Linear(factor), window, Identity(), 0)
        objective.learn(objective.notes())
        alphas.append(objective.memory()["forced"][0])
    # 1 − 1/σ is 0.2, then 0.75, then 0; a larger one is taken, to a smaller one it falls by half.
    expected = [0.6, 0.6, 0.4, 0.4, 0.75, 0.75, 0.375]
    assert alphas == pytest.approx(expected)


def test_the_largest_growth_of_all_micro_batches_counts():
    share = objective_of(ForcedConfig(gamma=0.0)).learners["forced"]
    share.learn(torch.tensor([[1.0], [float("nan")], [2.0], [1.6]], dtype=torch.float64))
    assert share.state.item() == pytest.approx(0.5)


class Stretch(torch.nn.Module):
    """Multiplies by a matrix along space, and adds a third of the frame before the latest."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = torch.nn.Parameter(matrix)

    def forward(self, window):
        before, last = window.history[:, -2], window.history[:, -1]
        return (last @ self.matrix.T + before / 3).unsqueeze(1)


def test_growth_is_the_largest_singular_value():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    window = window_of(torch.randn(3, 5, 1, 6, generator=generator, dtype=torch.float64), 2)
    whole = torch.cat((matrix, torch.eye(6, dtype=torch.float64) / 3), 1)
    expected = torch.linalg.matrix_norm(whole, ord=2).expand(3)
    found = growth(Stretch(matrix), window, Identity(), 1, 60)
    torch.testing.assert_close(found.detach(), expected, rtol=1e-3, atol=0)
    far = Statistics({"*": {"u": 7.0}}, {"*": {"u": 30.0}})
    torch.testing.assert_close(growth(Stretch(matrix), window, far, 1, 60), found)
