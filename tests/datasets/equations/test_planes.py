"""Equations in two and three dimensions: what does not vary along an axis evolves as without it."""

import pytest
import torch

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.initial import FourierSeries
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.solvers.etdrk import Spectral

SHAPE = (16, 20)  # of planes, along axes of these lengths
LENGTHS = (1.0, 1.5)


def box(shape, lengths):
    return Grid(tuple(shape), tuple(lengths), ("periodic",) * len(shape))


def at(equation, initial, grid, time, **parameters):
    values = {k: torch.tensor([v], dtype=torch.float64) for k, v in parameters.items()}
    solved = frames(equation, Problem(initial, values, grid, time, solver_step=time / 10))
    next(solved)
    return next(solved)


def drawn(components, *shape, seed=0):
    sampler = FourierSeries(modes=3, rms=(0.5, 0.5), mean=0.3, components=components)
    state = sampler(torch.Generator().manual_seed(seed), box(shape, LENGTHS[: len(shape)]))
    return state[None]


@pytest.mark.parametrize(
    ("flat", "full", "time", "parameters"),
    [
        ("fisher_1d", "fisher_2d", 0.2, {"diffusivity": 3e-3, "rate": 5.0}),
        ("fisher_2d", "fisher_3d", 0.2, {"diffusivity": 3e-3, "rate": 5.0}),
        ("allen_cahn_1d", "allen_cahn_2d", 0.5, {"diffusivity": 2e-3}),
        ("allen_cahn_2d", "allen_cahn_3d", 0.5, {"diffusivity": 2e-3}),
        ("klein_gordon_1d", "klein_gordon_2d", 0.4, {"speed": 1.0, "mass_squared": -1.0}),
        ("klein_gordon_2d", "klein_gordon_3d", 0.4, {"speed": 1.0, "mass_squared": -1.0}),
    ],
)
def test_scalars_repeat_along_every_axis(flat, full, time, parameters):
    line, stack = equations.get(flat), equations.get(full)
    if "coupling" in stack.parameters:
        parameters = {**parameters, "coupling": 2.0}
    grid = box(SHAPE[: line.ndim], LENGTHS[: line.ndim])
    state = 0.5 + 0.2 * drawn(len(line.fields), *grid.shape)
    want = at(line, state, grid, time, **parameters)
    assert (want - state).abs().max() > 0.05
    for axis in range(stack.ndim):
        shape, lengths = [*grid.shape], [*grid.lengths]
        shape.insert(axis, 6)
        lengths.insert(axis, 0.7)
        repeated = state.unsqueeze(2 + axis).expand(*state.shape[:2], *shape)
        got = at(stack, repeated, box(shape, lengths), time, **parameters)
        torch.testing.assert_close(got.select(2 + axis, 2), want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("normal", [0, 1, 2])
def test_a_velocity_across_a_plane_is_carried_by_that_within_it(normal):
    """Where nothing varies along an axis, w_t + (u · ∇) w = ν Δw: α u + β v + γ solves it."""
    plane, volume = equations.get("burgers_2d"), equations.get("burgers_3d")
    state = drawn(2, *SHAPE)
    within = [axis for axis in range(3) if axis != normal]
    shape, lengths = [*SHAPE], [*LENGTHS]
    shape.insert(normal, 6)
    lengths.insert(normal, 0.7)

    def stacked(flow):
        components = torch.empty(1, 3, *SHAPE, dtype=torch.float64)
        components[:, within] = flow
        components[:, normal] = 0.8 * flow[:, 0] - 0.5 * flow[:, 1] + 0.2
        return components.unsqueeze(2 + normal).expand(1, 3, *shape)

    want = at(plane, state, box(SHAPE, LENGTHS), 0.1, viscosity=0.02)
    assert (want - state).abs().max() > 0.1
    got = at(volume, stacked(state), box(shape, lengths), 0.1, viscosity=0.02)
    torch.testing.assert_close(got, stacked(want), atol=1e-12, rtol=0)


def test_a_velocity_carries_itself_as_the_products_say():
    """N must be −(u · ∇) u, term by term, on the modes that the rule keeps."""
    spectral = Spectral((15, 18, 20), (1.0, 1.5, 0.7), dealias=True)
    sampler = FourierSeries(modes=4, rms=(1.0, 1.0), mean=0.5, components=3)
    state = sampler(torch.Generator().manual_seed(1), box(spectral.shape, spectral.lengths))
    v = spectral.forward(state[None].double()) * spectral.resolved
    velocity = spectral.inverse(v)
    carried = sum(velocity[:, a : a + 1] * spectral.inverse(spectral.ik[a] * v) for a in range(3))
    want = -spectral.forward(carried) * spectral.resolved
    term = equations.get("burgers_3d").nonlinear(spectral, {})
    got = term(v) * spectral.resolved
    assert (got - want).norm() < 1e-13 * want.norm()
