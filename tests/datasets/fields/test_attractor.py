"""Measures of attractors, against closed forms."""

import math

import numpy as np
import pytest
import torch

from pelagos.datasets import metrics


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_modes_are_those_of_the_covariance():
    frames = random(200, 2, 3) * torch.tensor([[3.0, 2.0, 1.0], [0.5, 0.2, 0.1]]) + 4
    modes = metrics.orthogonal_modes(frames, 4)
    flat = frames.flatten(1).numpy()
    values, vectors = np.linalg.eigh(np.cov(flat.T, bias=True))
    torch.testing.assert_close(
        modes.shares, torch.from_numpy(values[::-1][:4] / values.sum()), rtol=1e-9, atol=0
    )
    for mode, vector in zip(modes.modes, vectors.T[::-1], strict=False):
        assert abs(mode.numpy() @ vector) == pytest.approx(1, abs=1e-9)
    found = modes.coefficients(frames.reshape(10, 20, 2, 3))
    assert found.shape == (10, 20, 4)
    expected = (flat - flat.mean(0)) @ modes.modes.numpy().T
    torch.testing.assert_close(found.flatten(0, 1), torch.from_numpy(expected))


def test_no_more_modes_than_there_is_variance():
    line = random(1, 5).T @ random(1, 8)
    assert len(metrics.orthogonal_modes(line, 4).modes) == 1


def test_smape():
    truth, guess = torch.tensor([[1.0, 2.0, 0.0, -1.0]]), torch.tensor([[3.0, 2.0, 0.0, 1.0]])
    found = metrics.smape(guess, truth, 1)
    assert found.tolist() == [pytest.approx(100 * (0.5 + 0 + 0 + 1) / 4)]


def test_divergence_of_two_normal_distributions():
    """D(N(0, 1) ‖ N(m, 1)) = m² / 2."""
    truth, guess = random(200_000, 1), random(200_000, 1, seed=1) + 0.5
    assert metrics.occupation_divergence(truth, guess).item() == pytest.approx(0.125, rel=0.03)
    assert metrics.occupation_divergence(truth, truth.flip(0)).item() == pytest.approx(0, abs=1e-12)


def test_states_outside_count_and_lost_ones_do_not():
    truth = random(4000, 2)
    away = torch.full((4000, 2), 1e6, dtype=torch.float64)
    assert metrics.occupation_divergence(truth, away) > 5
    lost = torch.cat((truth, torch.full((9, 2), math.nan, dtype=torch.float64)))
    assert metrics.occupation_divergence(truth, lost).item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="no state is finite"):
        metrics.occupation_divergence(truth, lost[-9:])


def test_distance_of_two_lines_in_the_spectrum_is_one():
    t = torch.arange(64, dtype=torch.float64)
    one, two = (torch.cos(2 * math.pi * k * t / 64)[None, :, None] for k in (3, 7))
    assert metrics.spectral_distance(one, two).item() == pytest.approx(1, abs=1e-9)
    assert metrics.spectral_distance(one, one.roll(5, 1)).item() == pytest.approx(0, abs=1e-6)
    # Half of the power elsewhere: p = (1, 0), q = (1/2, 1/2), H² = 1 − 1/√2.
    expected = math.sqrt(1 - 1 / math.sqrt(2))
    assert metrics.spectral_distance(one, one + two).item() == pytest.approx(expected, abs=1e-9)


def test_dimension_of_a_circle_and_a_torus():
    angle = 2 * math.pi * torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)).double()
    circle = torch.stack((angle[:, 0].cos(), angle[:, 0].sin()), 1)
    torus = torch.cat((angle.cos(), angle.sin()), 1)
    assert metrics.correlation_dimension(circle).item() == pytest.approx(1, rel=0.03)
    assert metrics.correlation_dimension(torus).item() == pytest.approx(2, rel=0.03)
