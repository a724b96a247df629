"""Steady elliptic problems: manufactured solutions, second order, layers, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pelagos.datasets import equations, open_store
from pelagos.datasets.equations.elliptic import Gaussians
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.initial import trajectory_generator
from pelagos.datasets.simulation.simulate import simulate
from pelagos.datasets.solvers.elliptic import solve_diffusion


def test_helmholtz_takes_its_boundary_value():
    """Without a medium u is the boundary's value; ω small, it curves by ω² a b / λ."""
    equation = equations.get("helmholtz_2d")
    grid = equation.grid((16, 16))
    chosen = {
        "frequency": torch.tensor([1e-6, 0.1]).double(),
        "boundary_value": torch.tensor([0.3, 0.4]).double(),
    }
    blank = torch.zeros(2, 1, 16, 16, dtype=torch.float64)
    got = next(
        frames(equation, Problem(blank, chosen, grid, 1.0, constants=torch.ones_like(blank)))
    )
    torch.testing.assert_close(got[0], torch.full_like(got[0], 0.3), atol=1e-6, rtol=0)
    poisson = solve_diffusion(*[torch.ones_like(blank[:1])] * 2, grid.spacing)
    torch.testing.assert_close(got[1:], 0.4 + 0.01 * 0.4 * poisson, atol=1e-6, rtol=0)


def test_coefficients_have_two_values_in_about_equal_parts_on_any_grid():
    equation = equations.get("darcy_2d")
    fine, coarse = equation.grid((45, 45)), equation.grid((15, 15))
    shares = []
    for i in range(40):
        draws = [
            equation.draw(trajectory_generator(0, "darcy_2d", "train", i), grid).constants
            for grid in (fine, coarse)
        ]
        assert set(draws[0].unique().tolist()) <= {3.0, 12.0}
        assert torch.equal(equation.coarsened(draws[0], 3), draws[1])
        shares.append((draws[0] == 12).double().mean().item())
    assert 0.4 < np.mean(shares) < 0.6
    assert np.std(shares) > 0.04  # the field is smooth: samples differ


def test_number_of_gaussians_is_geometric():
    sampler = Gaussians(2.5, width=(0.1, 0.1), amplitude=(1.0, 1.0))
    generator = torch.Generator().manual_seed(0)
    counts = [sampler._number(generator) for _ in range(4000)]
    assert min(counts) == 1
    assert np.mean(counts) == pytest.approx(2.5, abs=0.15)
    assert np.mean(np.array(counts) == 1) == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("name", ["darcy_2d", "darcy_forcing_2d", "poisson_2d", "helmholtz_2d"])
def test_steady_datasets_hold_their_inputs_and_one_frame(tmp_path, name):
    equation = equations.get(name)
    counts = {"train": 3, "valid": 1, "test": 0}
    store = open_store(simulate(name, tmp_path, trajectories=counts, resolution=16, subsample=1))
    assert store.trajectory(2).shape == (1, 1, 16, 16)
    assert store.constant_fields == equation.constant_fields
    constants = store.constants(2)
    assert constants.shape == (1, 16, 16)
    assert not torch.equal(constants, store.constants(1))
    assert store.grid.origin == (1 / 32, 1 / 32)
    assert store.grid.boundary == ("wall", "wall")
    grid = equation.grid((16, 16))
    values = store.parameters(2)
    chosen = {} if values is None else dict(zip(store.parameter_names, values, strict=True))
    again = next(
        frames(
            equation,
            Problem(
                torch.zeros(1, 1, 16, 16, dtype=torch.float64),
                {name: value.double()[None] for name, value in chosen.items()},
                grid,
                1.0,
                constants=constants.double()[None],
            ),
        )
    )
    stored = store.trajectory(2)[None, 0]
    torch.testing.assert_close(stored, again.float(), rtol=1e-4, atol=1e-6)


def test_an_even_subsample_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="darcy_2d needs an odd subsample; got 2"):
        simulate("darcy_2d", tmp_path, resolution=16, subsample=2)
    assert list(tmp_path.iterdir()) == []


def test_darcy_scales_with_its_forcing():
    equation = replace(equations.get("darcy_2d"), subsample=1)
    grid = equation.grid((12, 12))
    draw = equation.draw(torch.Generator().manual_seed(0), grid)
    constants = draw.constants[None].repeat(2, 1, 1, 1)
    forcing = {"forcing": torch.tensor([1.0, -2.5]).double()}
    blank = torch.zeros(2, 1, 12, 12, dtype=torch.float64)
    one, other = next(frames(equation, Problem(blank, forcing, grid, 1.0, constants=constants)))
    torch.testing.assert_close(other, -2.5 * one)
    assert one.min() > 0
