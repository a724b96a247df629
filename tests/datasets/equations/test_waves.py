"""The wave equation against standing waves, conserved energy, and waves that should leave."""

import math

import pytest
import torch

from pelagos.datasets import equations, open_store
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.waves import WAVE_LAYERS_2D as EQUATION
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.simulation.simulate import simulate


def box(shape, boundary, length=1.0):
    steps = tuple(length / n / 2 for n in shape)
    return Grid(shape, (length,) * len(shape), (boundary,) * len(shape), steps)


def solved(u, grid, dt, count, speed=1.0):
    """Frames (T, *S)."""
    c = torch.as_tensor(speed, dtype=torch.float64).expand(u.shape).contiguous()
    solved = frames(EQUATION, Problem(u[None, None], {}, grid, dt, constants=c[None, None]))
    return torch.stack([frame[0, 0] for _, frame in zip(range(count), solved, strict=False)])


@pytest.mark.parametrize("boundary", ["periodic", "wall"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_standing_waves_converge_at_fourth_order(ndim, boundary):
    errors = []
    for n in (12, 24):
        grid = box((n,) * ndim, boundary)
        k = 2 * math.pi  # a whole period fits both kinds of boundary
        wave = torch.ones((), dtype=torch.float64)
        for x in torch.meshgrid(*grid.coordinates(), indexing="ij"):
            wave = wave * torch.cos(k * x)
        end = solved(wave, grid, 0.37, 2, speed=1.5)[1]
        exact = wave * math.cos(1.5 * k * math.sqrt(ndim) * 0.37)
        errors.append((end - exact).abs().max().item())
    assert 3.5 < math.log2(errors[0] / errors[1]) < 5
    assert errors[1] < 2e-3


def test_frames_do_not_depend_on_how_far_they_are_apart():
    grid = box((24, 24), "wall")
    x, y = torch.meshgrid(*grid.coordinates(), indexing="ij")
    u = torch.exp(-100 * ((x - 0.4) ** 2 + (y - 0.6) ** 2))
    step = 1 / (2.5 * 24 * math.sqrt(2))  # exactly one internal step
    torch.testing.assert_close(
        solved(u, grid, 3 * step, 3)[1:], solved(u, grid, step, 7)[[3, 6]], atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("boundary", ["periodic", "wall"])
def test_energy_is_conserved_in_any_medium(boundary):
    grid = box((48, 48), boundary)
    generator = torch.Generator().manual_seed(0)
    c = equations.get("wave_lenses_2d").constants(generator, grid)[0]
    x, y = torch.meshgrid(*grid.coordinates(), indexing="ij")
    u = torch.exp(-80 * ((x - 0.4) ** 2 + (y - 0.6) ** 2))
    step = 0.002  # frames as close as internal steps: u_t and u at the middle from two of them
    frames = solved(u, grid, step, 401, c)

    def energy(a, b):
        middle, speed = (a + b) / 2, (b - a) / step
        kinetic = (speed / c).square().sum()
        h = 1 / 48
        slopes = sum(
            (middle.diff(dim=d) / h).square().sum()
            + (
                ((middle.roll(1, d) - middle).select(d, 0) / h).square().sum()
                if boundary == "periodic"
                else 0
            )
            for d in (0, 1)
        )
        return (kinetic + slopes) / 2

    energies = torch.stack([energy(*frames[i : i + 2]) for i in range(0, 400, 20)])
    assert (energies / energies[0] - 1).abs().max() < 0.01


def test_open_boundaries_let_waves_out():
    n = 64
    grid = box((n, n), "open")
    x, y = torch.meshgrid(*grid.coordinates(), indexing="ij")
    u = torch.exp(-0.5 * ((x - 0.4) ** 2 + (y - 0.55) ** 2) / 0.05**2)
    # The same on a box so large that nothing comes back in time.
    wide = box((3 * n, 3 * n), "wall", 3.0)
    place = slice(n, 2 * n)
    large = torch.zeros(3 * n, 3 * n, dtype=torch.float64)
    large[place, place] = u
    small, whole = (solved(v, g, 0.3, 5) for v, g in ((u, grid), (large, wide)))
    error = (small - whole[:, place, place]).abs().amax((1, 2))
    assert error.max() < 0.002 * u.max()
    assert whole[-1].abs().max() > 0.05


def test_layers_stay_stable():
    grid = box((24, 24), "open")
    c = equations.get("wave_layers_2d").constants(torch.Generator().manual_seed(3), grid)[0]
    u = equations.get("wave_layers_2d").initial(torch.Generator().manual_seed(4), grid)[0]
    frames = solved(u, grid, 10.0, 6, c)
    assert frames[1:].abs().max() < 0.02
    assert frames[5].abs().max() <= frames[1].abs().max()


def test_open_boundaries_in_three_dimensions_are_refused():
    u = torch.zeros(8, 8, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match="1 or 2 axes"):
        solved(u, box((8, 8, 8), "open"), 0.1, 1)


def test_a_plane_wave_is_reflected_by_a_layer_as_it_should_be():
    # From speed 1 into speed 2 at normal incidence: R = (c₂ − c₁)/(c₂ + c₁), T = 2c₂/(c₁ + c₂).
    n = 400
    grid = box((n,), "wall", 4.0)
    (x,) = grid.coordinates()
    c = torch.where(x < 2, 1.0, 2.0)
    u = 2 * torch.exp(-0.5 * ((x - 1.2) / 0.08) ** 2)  # half of it runs to the right
    end = solved(u, grid, 1.2, 2, c)[1]
    reflected = end[(x > 1) & (x < 2)].max().item()
    passed = end[x > 2].max().item()
    assert reflected == pytest.approx(1 / 3, abs=0.01)
    assert passed == pytest.approx(4 / 3, abs=0.01)


@pytest.mark.parametrize("name", ["wave_layers_2d", "wave_lenses_2d"])
def test_media_are_within_their_bounds_and_stored(name, tmp_path):
    root = simulate(name, tmp_path, trajectories={"train": 4}, resolution=24, frames=3)
    store = open_store(root)
    assert store.fields == ("u",)
    assert store.constant_fields == ("wave_speed",)
    assert store.grid.boundary == ("open", "open")
    speeds = torch.stack([store.window(i).constants for i in range(4)])
    assert speeds.min() >= 1.0
    assert speeds.max() <= 2.5
    assert (speeds.flatten(1).amax(1) > speeds.flatten(1).amin(1)).all()
    assert (speeds[0] != speeds[1]).any()


def test_media_that_are_too_fast_are_refused():
    grid = box((8, 8), "wall")
    u = torch.zeros(8, 8, dtype=torch.float64)
    for speed in (3.0, 0.0, math.nan):
        with pytest.raises(ValueError, match=r"speeds above 0 and at most 2\.5"):
            solved(u, grid, 0.1, 1, speed)
