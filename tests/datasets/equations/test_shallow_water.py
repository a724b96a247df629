"""The shallow water families: balance, conservation, vorticity, refusals."""

import math

import pytest
import torch

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.initial import trajectory_generator
from pelagos.datasets.equations.shallow_water import vorticity
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.solvers.blow_up import BlowUp


def solved(name, shape, count, dt=None, seed=0):
    """Frames (T, C, *S) of one trajectory, and their grid."""
    equation = equations.get(name)
    grid = equation.grid(shape)
    draw = equation.draw(trajectory_generator(seed, name, "train", 0), grid)
    values = {k: torch.tensor([v], dtype=torch.float64) for k, v in draw.parameters.items()}
    out = frames(
        equation, Problem(draw.initial[None], values, grid, equation.dt if dt is None else dt)
    )
    return torch.stack([frame[0] for _, frame in zip(range(count), out, strict=False)]), grid


def test_a_dam_break_spreads_evenly_and_keeps_its_water():
    frames, _ = solved("shallow_water_2d", (40, 40), 3, dt=0.4)
    torch.testing.assert_close(frames[:, 0].mean((1, 2)), frames[:1, 0].mean().expand(3))
    height = frames[-1, 0]
    for other in (height.flip(0), height.flip(1), height.T):
        torch.testing.assert_close(height, other, atol=1e-12, rtol=0)
    assert height.max() < 1.5 < frames[0, 0].max()


def test_a_rotating_channel_keeps_its_water_and_starts_in_balance():
    frames, grid = solved("rotating_shallow_water_2d", (48, 24), 2, dt=1.0)
    torch.testing.assert_close(frames[1, 0].mean(), frames[0, 0].mean())
    # Without its disturbance the jet changes little: pressure and Coriolis force balance.
    change = (frames[1, 1] - frames[0, 1]).abs().mean() / frames[0, 1].abs().mean()
    assert change < 0.2
    assert grid.boundary == ("periodic", "wall")
    torch.testing.assert_close(frames[:, 3:], vorticity(frames[:, 1:3], grid))


def test_jets_are_unstable():
    frames, _ = solved("rotating_shallow_water_2d", (64, 32), 2, dt=30.0)
    waves = frames[:, 3] - frames[:, 3].mean(1, keepdim=True)  # departures from the zonal mean
    assert waves[1].square().mean() > 0.05 * frames[0, 3].square().mean()


@pytest.mark.parametrize("n", [32, 64])
def test_vorticity_of_solid_rotation_and_of_waves(n):
    wall = Grid((n, n), (1.0, 1.0), ("wall", "open"))
    x, y = torch.meshgrid(*wall.coordinates(), indexing="ij")
    turning = torch.stack((-y, x))[None]
    torch.testing.assert_close(
        vorticity(turning, wall), torch.full((1, 1, n, n), 2.0, dtype=torch.float64)
    )
    box = Grid.unit((n, n))
    wave = torch.stack((torch.sin(2 * math.pi * y), 0 * x))[None]
    error = vorticity(wave, box) + 2 * math.pi * torch.cos(2 * math.pi * y)
    assert error.abs().max() < 2 * math.pi * (2 * math.pi / n) ** 2 / 5


def test_lost_water_is_named():
    equation = equations.get("shallow_water_2d")
    grid = equation.grid((8, 8))
    state = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    gravity = {"gravity": torch.ones(1, dtype=torch.float64)}
    with pytest.raises(BlowUp, match="finite, positive height by time 0"):
        next(frames(equation, Problem(state, gravity, grid, 0.1)))
