"""Simulated datasets: an equation and a seed become trajectories in The Well's layout.

A dataset is made shard by shard (one file each) under a recipe that is written first; `stats.yaml`,
written last, marks it complete. Trajectory i of a split depends on (seed, equation, split, i) and
the equation's settings alone, so an interrupted simulation continues to the same files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path

import torch
import yaml

from ..base.appearing import appearing_file, is_draft
from ..base.config import plain
from ..base.progress import Bar
from ..equations.equation import Equation
from ..fields.vocabulary import SPLITS
from ..layouts.well import write_file
from ..stores.statistics import write_stats
from .settings import Recipe, Run, prepare
from .trajectories import Block, solve

_REMEDY = "choose another name, or replace it (--overwrite, in Python overwrite=True)"


def simulate(
    equation: str | Equation,
    out: Path,
    *,
    trajectories: Mapping[str, int] | None = None,
    resolution: int | Sequence[int] | None = None,
    frames: int | None = None,
    dt: float | None = None,
    warm_up: float | None = None,
    lengths: float | Sequence[float] | None = None,
    parameters: Mapping[str, float | Sequence[float]] | None = None,
    solver_step: float | None = None,
    subsample: int | None = None,
    on_blowup: str = "refuse",
    seed: int = 0,
    shard: int = 64,
    dtype: str = "float64",
    device: torch.device | str = "cpu",
    name: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Write the dataset `out/name`, or what is missing of it; returns that folder.

    What is not given is the equation's default. A dataset that is complete under the same recipe
    is left as it is.

    Args:
        equation: registry name, or an equation of your own.
        trajectories: number per split, of "train", "valid" and "test".
        resolution: points per axis; one number for all axes.
        frames: saved frames per trajectory, the first one included; not for a steady equation,
            which has one.
        dt: time between frames; not for a steady equation.
        warm_up: time integrated before the first frame; not for a steady equation.
        lengths: box length per axis; one number for all axes.
        parameters: a value for all trajectories, or a range (low, high) to draw from, by name.
        solver_step: largest internal time step, of equations that have one.
        subsample: solve on a grid finer by this factor per axis than what is stored.
        on_blowup: what becomes of a trajectory that cannot be integrated: "refuse" stops there,
            "redraw" draws its parameters and initial state again and records that.
        seed: of all random numbers.
        shard: trajectories per file; memory grows with it.
        dtype: precision of the computation; files are in single precision.
        device: where to compute. Results of different devices differ by rounding.
        name: of the dataset; the equation's by default.
        overwrite: delete a simulated dataset of that name first.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: a setting is unknown or impossible; the folder holds something else or was made
            by another recipe; a trajectory blew up.
    """
    run = prepare(
        equation,
        trajectories=trajectories,
        resolution=resolution,
        frames=frames,
        dt=dt,
        warm_up=warm_up,
        lengths=lengths,
        parameters=parameters,
        solver_step=solver_step,
        subsample=subsample,
        on_blowup=on_blowup,
        seed=seed,
        shard=shard,
        dtype=dtype,
        device=device,
        name=name,
    )
    root = out / run.recipe.name
    if _prepare(root, run.recipe, overwrite):
        _complete(root, run, progress)
    return root


def _prepare(root: Path, recipe: Recipe, overwrite: bool) -> bool:
    """Whether shards are missing; leaves a folder with this recipe in it.

    Raises:
        ValueError: the folder holds something else, or was made by another recipe.
    """
    path = root / "simulation.yaml"
    if root.parent.exists() and not root.parent.is_dir():
        raise ValueError(f"{root.parent} is a file; choose a folder to write datasets into")
    if root.exists() and not path.is_file():
        if not root.is_dir() or not all(is_draft(found, path) for found in root.iterdir()):
            raise ValueError(f"{root} exists and is no simulated dataset; choose another name")
    elif not overwrite and any(root.glob("data/*/*.hdf5")):
        _check_same(path, recipe)
        missing = any(not file.exists() for file, _ in _shards(root, recipe))
        return missing or not (root / "stats.yaml").exists()
    (root / "stats.yaml").unlink(missing_ok=True)
    if (root / "data").exists():
        shutil.rmtree(root / "data")
    text = yaml.safe_dump(recipe.record, sort_keys=False, allow_unicode=True)
    with appearing_file(path, overwrite=True) as draft:
        draft.write_text(text, encoding="utf-8")
    return True


def _check_same(path: Path, recipe: Recipe) -> None:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged; {_REMEDY}")
    optional = {f.name: f.default for f in fields(recipe) if f.default is not MISSING}
    for key, value in plain(recipe).items():
        known = found.get(key, optional.get(key))
        if known != value:
            raise ValueError(
                f"{path.parent} was simulated with {key} {known}, not {value}; {_REMEDY}"
            )


def _shards(root: Path, recipe: Recipe) -> Iterator[tuple[Path, Block]]:
    """Every file, and the trajectories that it holds."""
    for split in SPLITS:
        total = recipe.trajectories.get(split, 0)
        for number, start in enumerate(range(0, total, recipe.shard)):
            path = root / "data" / split / f"{recipe.name}_{number:04d}.hdf5"
            yield path, Block(split, start, min(recipe.shard, total - start))


def _complete(root: Path, run: Run, progress: bool) -> None:
    """Compute the missing shards, then the statistics."""
    (root / "stats.yaml").unlink(missing_ok=True)  # stale if a shard is missing
    shards = list(_shards(root, run.recipe))
    missing = [(path, block) for path, block in shards if not path.exists()]
    total = sum(block.count for _, block in shards)
    done = total - sum(block.count for _, block in missing)
    with Bar(run.recipe.name, total, done, "trajectories", active=progress) as bar:
        for path, block in missing:
            write_file(path, solve(run, block, bar.advance))
    write_stats(root)
