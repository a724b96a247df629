"""The compressible families: initial states, stored fields, conservation, instability, refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pelagos.datasets import equations, open_store
from pelagos.datasets.equations import compressible
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.initial import trajectory_generator
from pelagos.datasets.simulation.simulate import simulate
from pelagos.datasets.solvers.blow_up import BlowUp

NAMES = [equation.name for equation in compressible.EQUATIONS]
PERIODIC = [e.name for e in compressible.EQUATIONS if e.grid().periodic]


def drawn(name, n, index=0):
    equation = equations.get(name)
    grid = equation.grid((n,) * equation.ndim)
    return equation, grid, equation.draw(trajectory_generator(0, name, "train", index), grid)


def first_frames(equation, grid, draws, count, dt=None):
    """The first frames (T, B, C, *S) of some draws."""
    parameters = {
        name: torch.tensor([d.parameters[name] for d in draws], dtype=torch.float64)
        for name in equation.parameters
    }
    solved = frames(
        equation,
        Problem(
            torch.stack([d.initial for d in draws]),
            parameters,
            grid,
            equation.dt if dt is None else dt,
            constants=torch.stack([d.constants for d in draws]),
        ),
    )
    return torch.stack([frame for _, frame in zip(range(count), solved, strict=False)])


@pytest.mark.parametrize("name", NAMES)
def test_states_are_physical_and_the_same_on_every_grid(name):
    equation, _, coarse = drawn(name, 16)
    _, _, fine = drawn(name, 64)
    assert coarse.initial[[0, -1]].min() > 0
    for axis in range(1, 1 + equation.ndim):
        blocks = fine.initial.unflatten(axis, (16, 4)).mean(axis + 1)
        fine = fine._replace(initial=blocks)
    # Except in the cells that an interface cuts.
    close = (fine.initial - coarse.initial).abs().amax(0) < 0.05
    assert close.double().mean() > 0.55


@pytest.mark.parametrize("name", PERIODIC)
def test_totals_are_conserved(name):
    equation, grid, draw = drawn(name, 24)
    start, end = first_frames(equation, grid, [draw], 2)[:, :, :4]
    system = equation.system(
        equation.broadcast({"gamma": torch.tensor([1.4], dtype=torch.float64)})
    )
    before, after = (system.conserved(w).flatten(2).mean(2) for w in (start, end))
    torch.testing.assert_close(after, before, atol=1e-13, rtol=1e-13)
    assert (start - end).abs().max() > 1e-2


def test_stored_energy_is_that_of_the_state():
    equation, grid, draw = drawn("euler_curved_riemann_2d", 16)
    density, u, v, pressure, energy = first_frames(equation, grid, [draw], 2)[1, 0]
    kinetic = density * (u**2 + v**2) / 2
    torch.testing.assert_close(energy, pressure / 0.4 + kinetic)


def test_coarse_cells_hold_the_mass_and_momentum_of_their_cells():
    equation, grid, draw = drawn("euler_curved_riemann_2d", 16)
    fine = first_frames(equation, grid, [draw], 2)[1]
    coarse = equation.coarsened(fine, 4)
    assert coarse.shape == (1, 5, 4, 4)
    for channel in (1, 2):
        momentum = (fine[:, 0] * fine[:, channel]).unflatten(1, (4, 4)).unflatten(3, (4, 4))
        torch.testing.assert_close(
            coarse[:, 0] * coarse[:, channel], momentum.mean((2, 4)), atol=1e-14, rtol=1e-12
        )
    torch.testing.assert_close(
        coarse[:, [0, 3, 4]].mean((2, 3)), fine[:, [0, 3, 4]].mean((2, 3)), atol=1e-14, rtol=1e-12
    )


def test_a_trajectory_is_the_same_alone_and_in_a_batch():
    equation, grid, first = drawn("euler_riemann_2d", 16)
    _, _, second = drawn("euler_riemann_2d", 16, 1)
    together = first_frames(equation, grid, [first, second], 3)
    assert torch.equal(first_frames(equation, grid, [second], 3)[:, 0], together[:, 1])


def test_vortices_are_free_of_divergence():
    equation, _, draw = drawn("euler_gaussians_2d", 64)
    k = torch.fft.fftfreq(64, 1 / 64, dtype=torch.float64)
    u, v = torch.fft.fft2(draw.initial[1:3])
    inner = k.abs() < 32  # the Nyquist mode has no sign
    divergence = (k[:, None] * u + k * v)[inner][:, inner]
    assert divergence.abs().max() < 1e-9 * u.abs().max()
    vorticity = torch.fft.ifft2(2j * math.pi * (k[:, None] * v - k * u)).real
    assert 5 < vorticity.abs().max() < 1000
    assert equation.fields[1:3] == ("velocity_x", "velocity_y")


def test_a_star_stays_at_rest():
    # p = Kρ² in φ = −2Kρ is balanced by the scheme exactly, on any grid.
    star = compressible.Star(contrast=(0.0, 0.0))
    equation = equations.get("rayleigh_taylor_2d")
    equation = replace(equation, initial=star, constants=star.potential)
    grid = equation.grid((17, 24))
    draw = equation.draw(torch.Generator().manual_seed(0), grid)
    start, end = first_frames(equation, grid, [draw], 2, dt=1.0)
    torch.testing.assert_close(end, start, atol=1e-11, rtol=0)


def test_a_heavy_shell_falls_in():
    equation, grid, draw = drawn("rayleigh_taylor_2d", 32)
    start, end = first_frames(equation, grid, [draw], 2, dt=4.0)[:, 0]
    x, y = torch.meshgrid(*grid.coordinates(), indexing="ij")
    inside = torch.hypot(x - 0.5, y - 0.5) < 0.2
    assert end[0][inside].max() > 1.05 * start[0][inside].max()


def test_impossible_states_are_named():
    equation, grid, draw = drawn("euler_1d", 32)
    bad = draw._replace(initial=draw.initial.clone())
    bad.initial[2, 5] = -1
    with pytest.raises(BlowUp, match="trajectory 1 lost a finite, positive density and pressure"):
        first_frames(equation, grid, [draw, bad], 2)


def test_impossible_gamma_is_refused():
    with pytest.raises(ValueError, match=r"at least 1\.01"):
        equations.get("euler_1d").restricted({"gamma": 1.0})


def test_a_dataset_with_gravity_is_stored(tmp_path):
    root = simulate(
        "rayleigh_taylor_2d",
        tmp_path,
        trajectories={"train": 1},
        resolution=12,
        frames=2,
        dt=0.1,
    )
    store = open_store(root)
    assert set(store.fields) == {"density", "velocity_x", "velocity_y", "pressure"}
    assert store.constant_fields == ("potential",)
    assert store.grid.boundary == ("open", "open")
    window = store.window(0)
    assert window.constants.shape == (1, 12, 12)
    assert window.constants.min() == pytest.approx(-2.0, abs=0.01)
    assert np.isfinite(window.target.numpy()).all()
