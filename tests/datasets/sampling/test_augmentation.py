"""Augmented windows are solutions: moving the initial state moves the trajectory."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pelagos.datasets import equations, open_store
from pelagos.datasets.base.config import read
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Window, collate
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.sampling.augmentation import Augmentation
from pelagos.datasets.sampling.mixture import Mixture
from pelagos.datasets.sampling.motion import Motion
from pelagos.datasets.sampling.windows import Windows
from pelagos.datasets.simulation.simulate import simulate
from pelagos.datasets.stores.store import Store
from pelagos.pretrain.command import main as pretrain
from pelagos.pretrain.data import build_mixture, open_stores
from pelagos.pretrain.objectives import objective_of
from pelagos.pretrain.recipe import TrainRecipe
from pelagos.pretrain.start import create_operator

PERIODIC2, WALLS = ("periodic", "periodic"), ("periodic", "wall")


def trajectory(name: str, shape: tuple[int, ...], dt: float, count: int = 3, **parameters: float):
    """Frames (T, C, *S) of an equation, its grid, and how to go on from any state of it."""
    equation = equations.get(name)
    grid = equation.grid(shape)
    draw = equation.draw(torch.Generator().manual_seed(1), grid)
    values = {**draw.parameters, **parameters}

    def solve(initial: torch.Tensor, **other: float) -> torch.Tensor:
        both = {k: torch.tensor([v]).double() for k, v in {**values, **other}.items()}
        solution = frames(equation, Problem(initial[None], both, grid, dt))
        return torch.cat([next(solution) for _ in range(count)])

    return solve(draw.initial), values, solve


def store_of(
    folder: Path,
    frames: torch.Tensor,
    name: str,
    shape: tuple[int, ...],
    dt: float,
    parameters: dict[str, float],
) -> Store:
    equation = equations.get(name)
    data = WellData(
        dataset=name,
        grid=equation.grid(shape),
        times=dt * np.arange(len(frames)),
        fields={f: frames[None, :, c].numpy() for c, f in enumerate(equation.fields)},
        parameters={k: np.array(v) for k, v in parameters.items()},
    )
    write_file(folder / "a.hdf5", data)
    return open_store(folder)


@pytest.mark.parametrize(
    ("name", "shape", "dt", "names", "parity"),
    [
        ("burgers_1d", (64,), 0.1, ("flip", "roll"), {"u": "odd"}),
        ("kuramoto_sivashinsky_1d", (64,), 0.5, ("flip", "roll"), {"u": "odd"}),
        ("heat_1d", (64,), 0.1, ("flip", "roll"), {"u": "even"}),
        ("heat_2d", (32, 32), 0.1, ("flip", "rotate", "roll"), {}),
        ("advection_1d", (64,), 0.1, ("flip", "roll"), {"u": "even", "speed": "odd"}),
        ("burgers_2d", (48, 48), 0.05, ("flip", "rotate", "roll"), {}),
        ("burgers_2d", (48, 48), 0.05, ("galilean",), {}),
        ("burgers_3d", (16, 16, 16), 0.04, ("flip", "rotate", "roll"), {}),
        ("advection_diffusion_3d", (16, 16, 16), 0.04, ("flip", "rotate", "roll"), {}),
        ("navier_stokes_2d", (32, 32), 0.25, ("flip", "rotate", "roll"), {}),
        ("navier_stokes_tracer_2d", (32, 32), 0.1, ("flip", "rotate", "roll"), {}),
        ("euler_riemann_2d", (24, 24), 0.02, ("flip", "rotate"), {}),
    ],
)
def test_a_moved_trajectory_solves_the_equation(
    name: str,
    shape: tuple[int, ...],
    dt: float,
    names: tuple[str, ...],
    parity: dict[str, str],
    tmp_path: Path,
) -> None:
    """What follows from the moved first frame is the moved rest, to the data's rounding."""
    frames, values, solve = trajectory(name, shape, dt)
    store = store_of(tmp_path, frames, name, shape, dt, values)
    fields = equations.get(name).fields  # a file has scalars first
    window = store.window(0, history=1, horizon=2).select(fields)
    augmentation = Augmentation(names, store, fields, parity)
    moved_at_all = 0
    for seed in range(4):
        moved = augmentation(window, np.random.default_rng(seed))
        moved_at_all += not torch.equal(moved.history, window.history)
        other = {}
        if moved.parameters is not None:
            other = dict(zip(moved.parameter_names, moved.parameters.tolist(), strict=True))
        expected = solve(moved.history[0].double(), **other)[1:]
        error = (moved.target - expected).norm() / expected.norm()
        assert error < 2e-5
    assert moved_at_all >= 3


def test_components_follow_the_axes(tmp_path: Path) -> None:
    """A rotation by 90° in 3D, by hand; tensors, pseudo-scalars and constants with it."""
    rng = np.random.default_rng(0)
    shape = (3, 3, 3)
    names = ("density", "velocity_x", "velocity_y", "velocity_z")
    data = WellData(
        dataset="box",
        grid=Grid.unit(shape),
        times=np.arange(2.0),
        fields={name: rng.standard_normal((1, 2, *shape)) for name in names},
        constant_fields={
            "coordinate_x": rng.standard_normal((1, *shape)),
            "temperature": rng.standard_normal((1, *shape)),
        },
        parameters={"speed_x": np.array(1.0), "speed_y": np.array(2.0), "speed_z": np.array(3.0)},
    )
    write_file(tmp_path / "a.hdf5", data)
    store = open_store(tmp_path)
    augmentation = Augmentation(("rotate",), store, store.fields)
    window = store.window(0)
    # x' = −y, y' = x, z' = z
    moved = augmentation.move(window, Motion((1, 0, 2), (-1, 1, 1), (0, 0, 0)))
    old = dict(zip(window.fields, window.history[0], strict=True))
    new = dict(zip(moved.fields, moved.history[0], strict=True))

    def turn(values: torch.Tensor) -> torch.Tensor:
        return values.transpose(0, 1).flip(0)

    assert torch.equal(new["density"], turn(old["density"]))
    assert torch.equal(new["velocity_x"], -turn(old["velocity_y"]))
    assert torch.equal(new["velocity_y"], turn(old["velocity_x"]))
    assert torch.equal(new["velocity_z"], turn(old["velocity_z"]))
    assert window.constants is not None
    assert moved.constants is not None
    names = window.constant_fields
    before = dict(zip(names, window.constants, strict=True))
    after = dict(zip(names, moved.constants, strict=True))
    assert torch.equal(after["coordinate_x"], before["coordinate_x"])
    assert torch.equal(after["temperature"], turn(before["temperature"]))
    assert moved.parameters is not None
    assert dict(zip(moved.parameter_names, moved.parameters.tolist(), strict=True)) == {
        "speed_x": -2.0,
        "speed_y": 1.0,
        "speed_z": 3.0,
    }


def test_all_eight_symmetries_of_the_square_come_up(tmp_path: Path) -> None:
    values = np.arange(9.0).reshape(1, 1, 3, 3).repeat(2, 1)
    write_file(tmp_path / "a.hdf5", WellData("d", Grid.unit((3, 3)), np.arange(2.0), {"u": values}))
    store = open_store(tmp_path)
    window = store.window(0)
    seen = {}
    for names, count in ((("rotate",), 4), (("flip",), 4), (("flip", "rotate"), 8)):
        augmentation = Augmentation(names, store, ("u",))
        draws = [augmentation(window, np.random.default_rng(i)).target for i in range(200)]
        seen[names] = {tuple(draw.flatten().tolist()) for draw in draws}
        assert len(seen[names]) == count


def two(folder: Path, boundary: tuple[str, ...] = PERIODIC2, lengths=(1.0, 1.0), **fields) -> Store:
    shape = (4, 4)
    known = {"u": np.zeros((1, 2, *shape)), **fields.pop("fields", {})}
    grid = Grid(shape, lengths, boundary)
    write_file(folder / "a.hdf5", WellData("d", grid, np.arange(2.0), known, **fields))
    return open_store(folder)


PLANE = np.zeros((1, 2, 4, 4))


@pytest.mark.parametrize(
    ("names", "data", "message"),
    [
        (("spin",), {}, "unknown augmentation spin; there are flip, rotate, roll, galilean"),
        (("roll",), {"boundary": ("wall", "open")}, "by roll: no axis is periodic"),
        (("flip",), {"boundary": ("wall-open",) * 2}, "every axis has two different ends"),
        (("rotate",), {"boundary": WALLS}, "no two axes are alike"),
        (("rotate",), {"lengths": (1.0, 2.0)}, "no two axes are alike"),
        (("flip",), {"fields": {"w": PLANE}}, r"how w change.* parity: \{w: odd\}"),
        (("flip",), {"parameters": {"speed": np.array(1.0)}}, "how speed change"),
        (("rotate",), {"fields": {"force_x": PLANE}}, "force_x has no partner force_y"),
        (("roll",), {"parameters": {"forcing": np.array(1.0)}}, "a forcing that is fixed in space"),
        (("galilean",), {}, "needs velocity_x, velocity_y"),
        (
            ("galilean",),
            {"fields": {"velocity_x": PLANE, "velocity_y": PLANE, "energy": PLANE}},
            "a moving frame changes u, energy",
        ),
        (
            ("galilean",),
            {
                "fields": {"velocity_x": PLANE, "velocity_y": PLANE},
                "constant_fields": {"depth": PLANE[:, 0]},
            },
            "depth would have to move along",
        ),
    ],
)
def test_a_symmetry_that_does_not_hold_is_refused(names, data, message, tmp_path) -> None:
    store = two(tmp_path, **data)
    with pytest.raises(ValueError, match=message):
        Augmentation(names, store, store.fields)


def test_parity_is_declared_for_names_that_exist(tmp_path: Path) -> None:
    store = two(tmp_path, fields={"w": PLANE})
    Augmentation(("flip",), store, store.fields, {"w": "odd"})
    for parity in ({"v": "odd"}, {"w": "left"}):
        with pytest.raises(ValueError, match="whether they are even or odd"):
            Augmentation(("flip",), store, store.fields, parity)


def test_masks_move_with_their_fields(tmp_path: Path) -> None:
    store = two(tmp_path)
    window = store.window(0)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, 1] = True
    window = Window(
        mask.float()[None], mask.float()[None], window.lead_times,
        window.context.__class__(**{**vars(window.context), "mask": mask}),
    )  # fmt: skip
    augmentation = Augmentation(("flip", "rotate", "roll"), store, ("u",))
    for seed in range(8):
        moved = augmentation(window, np.random.default_rng(seed))
        assert torch.equal(moved.context.mask, moved.history[0] > 0)


def test_samples_depend_on_the_seed_and_their_number_alone(tmp_path: Path) -> None:
    """For any number of processes, in any order, and after any interruption."""
    rng = np.random.default_rng(0)
    data = WellData("d", Grid.unit((8,)), np.arange(6.0), {"u": rng.standard_normal((2, 6, 8))})
    write_file(tmp_path / "a.hdf5", data)

    def mixture(seed: int = 3, augmented: bool = True) -> Mixture:
        store = open_store(tmp_path)
        augmentation = Augmentation(("roll",), store, ("u",)) if augmented else None
        return Mixture([(Windows(store, 1, 1), 1.0)], 2, seed, [augmentation])

    whole = [mixture().batch(k) for k in range(12)]
    ranks = [mixture(), mixture()]
    shared = [ranks[rank].batch(2 * step + rank) for step in range(6) for rank in range(2)]
    late = mixture().batch(11)
    for one, two in zip([*whole, whole[11]], [*shared, late], strict=True):
        assert torch.equal(one.history, two.history)
        assert torch.equal(one.target, two.target)
    plain = [mixture(augmented=False).batch(k) for k in range(12)]
    assert any(not torch.equal(a.history, b.history) for a, b in zip(whole, plain, strict=True))
    for a, b in zip(whole, plain, strict=True):  # the order stays
        torch.testing.assert_close(a.history.sum(-1), b.history.sum(-1))
    again = mixture(seed=4).batch(0)
    assert not torch.equal(again.history, whole[0].history)
    epochs = [mixture().batch(k).history for k in (0, 5, 10)]  # 5 micro-batches are an epoch
    assert len({float(h[0, 0, 0, 0]) for h in epochs}) == 3


def recipe_for(folder: Path, roots: list[Path], data: dict[str, object], **changes: object) -> str:
    values = {
        "data": [{"path": str(root), **data} for root in roots],
        "operator": {"name": "dymixop", "hidden": 4, "layers": 1, "modes": 2},
        "normalizer": {"name": "statistics"},
        "steps": 2,
        "batch": 4,
        "micro_batch": 2,
        "log_every": 1,
        "save_every": 2,
        "validation": {"every": 2, "horizon": 2},
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def burgers(folder: Path, name: str, trajectories: int) -> Path:
    counts = {"train": trajectories, "valid": 1}
    return simulate(
        "burgers_1d", folder, trajectories=counts, resolution=32, frames=4, dt=0.1, name=name
    )


def test_recipes_name_augmentations(tmp_path: Path) -> None:
    root = burgers(tmp_path, "b", 2)
    augment = {"augment": ["flip", "roll"]}
    with pytest.raises(ValueError, match=r"'b' cannot be augmented by flip: .* parity: \{u: odd\}"):
        pretrain([recipe_for(tmp_path, [root], augment), str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
    declared = {**augment, "parity": {"u": "odd"}}
    pretrain([recipe_for(tmp_path, [root], declared), str(tmp_path / "run")])
    assert (tmp_path / "run" / "checkpoint").is_dir()


@pytest.mark.parametrize(("exponent", "shares"), [(0.0, (1, 1)), (0.5, (1, 2)), (1.0, (1, 4))])
def test_shares_between_uniform_and_by_size(
    exponent: float, shares: tuple[int, int], tmp_path: Path
) -> None:
    roots = [burgers(tmp_path, "small", 2), burgers(tmp_path, "large", 8)]
    path = recipe_for(tmp_path, roots, {}, size_exponent=exponent)
    recipe = read(TrainRecipe, Path(path))
    stores = open_stores(recipe)
    objective = objective_of(recipe.objective)
    mixture = build_mixture(recipe, stores, create_operator(recipe, stores), objective)
    drawn = [mixture.draw(k)[0] for k in range(300)]
    assert drawn.count(1) / 300 == pytest.approx(shares[1] / sum(shares), abs=0.01)


def test_a_moving_frame_adds_its_velocity(tmp_path: Path) -> None:
    """v = sin(x) at rest becomes U + sin(x − U t)."""
    n, length = 32, 2 * math.pi
    x = np.arange(n) * length / n
    frames = np.broadcast_to(np.sin(x), (1, 3, n))
    grid = Grid((n,), (length,), ("periodic",))
    write_file(tmp_path / "a.hdf5", WellData("d", grid, 0.5 * np.arange(3), {"velocity_x": frames}))
    store = open_store(tmp_path)
    window = store.window(0, history=2, horizon=1)
    moved = Augmentation(("galilean",), store, store.fields)(window, np.random.default_rng(0))
    drift = moved.history[1].mean().item()
    assert abs(drift) > 1e-3
    for frame, t in ((moved.history[0], -0.5), (moved.history[1], 0.0), (moved.target[0], 0.5)):
        expected = drift + np.sin(x - drift * t)
        np.testing.assert_allclose(frame[0], expected, atol=1e-5)
    assert collate([moved]).dt == 0.5
