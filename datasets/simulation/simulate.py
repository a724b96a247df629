"""Simulated datasets: an equation and a seed become trajectories in The Well's layout.

A dataset is made shard by shard (one file each) under a record that is written first; `stats.yaml`,
written last, marks it complete. Trajectory i of a split depends on (seed, equation, split, i) and
the equation's settings alone, so an interrupted simulation continues to the same files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..base.appearing import is_draft
from ..base.config import plain
from ..base.made import require_same, write_record
from ..base.manifest import MANIFEST
from ..base.progress import Bar
from ..base.spreading import ALONE, Spread, in_processes, refuse_replacing
from ..equations.equation import Equation
from ..fields.vocabulary import SPLITS
from ..layouts.well import write_file
from ..stores.statistics import complete
from .resolved import Record, Simulation, resolve
from .settings import Settings
from .trajectories import Block, solve

Asked = tuple[str | Equation, Settings, str | None]  # what `resolve` takes
_REMEDY = "choose another name, or replace it (--overwrite, in Python overwrite=True)"


def simulate(
    equation: str | Equation,
    out: str | Path,
    settings: Settings | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
    spread: Spread = ALONE,
    **changes: Any,
) -> Path:
    """Write the dataset `out/name`, or what is missing of it; returns that folder.

    A dataset that is complete under the same settings is left as it is.

    Args:
        equation: registry name, or an equation of your own.
        settings: what the dataset follows from; the equation's defaults where None.
        name: of the dataset; the equation's by default.
        overwrite: delete a simulated dataset of that name first.
        spread: processes that make the files, which are the same for any number of them; the one
            that finds all there writes the statistics.
        changes: fields of `Settings` by name, in place of those in `settings`.

    Raises:
        ValueError: a setting is unknown or impossible; the folder holds something else or was made
            by other settings; a trajectory blew up.
    """
    asked = equation, replace(settings or Settings(), **changes), name
    simulation = resolve(*asked)
    root = Path(out) / simulation.record.name
    refuse_replacing(root, overwrite, spread)
    if _prepare(root, simulation.record, overwrite, alone=spread.share.count == 1):
        _complete(root, simulation, asked, spread)
    return root


def _prepare(root: Path, record: Record, overwrite: bool, alone: bool) -> bool:
    """Whether shards are missing; leaves a folder with this record in it.

    Unless `alone`, others write there as well: nothing is deleted.

    Raises:
        ValueError: the folder holds something else, or was made by other settings.
    """
    path = root / "simulation.yaml"
    if root.parent.exists() and not root.parent.is_dir():
        raise ValueError(f"{root.parent} is a file; choose a folder to write datasets into")
    if root.exists() and not path.is_file():
        if not root.is_dir() or not all(is_draft(found, path) for found in root.iterdir()):
            raise ValueError(f"{root} exists and is no simulated dataset; choose another name")
    elif path.is_file() and not overwrite and (not alone or any(root.glob("data/*/*.hdf5"))):
        require_same(path, plain(record), "simulated", _REMEDY, record.defaults)
        missing = any(not file.exists() for file, _ in _shards(root, record))
        return missing or not all((root / each).exists() for each in ("stats.yaml", MANIFEST))
    _forget(root)
    if alone and (root / "data").exists():
        shutil.rmtree(root / "data")
    write_record(path, record.written)
    return True


def _shards(root: Path, record: Record) -> Iterator[tuple[Path, Block]]:
    """Every file, and the trajectories that it holds."""
    for split in SPLITS:
        total = record.trajectories.get(split, 0)
        for number, start in enumerate(range(0, total, record.shard)):
            path = root / "data" / split / f"{record.name}_{number:04d}.hdf5"
            yield path, Block(split, start, min(record.shard, total - start))


def _complete(root: Path, simulation: Simulation, asked: Asked, spread: Spread) -> None:
    """Compute the missing shards of a share, then the statistics, if all shards are there."""
    _forget(root)
    shards = list(_shards(root, simulation.record))
    mine = spread.share.of(shards)
    missing = [(path, block) for path, block in mine if not path.exists()]
    total = sum(block.count for _, block in mine)
    done = total - sum(block.count for _, block in missing)
    with Bar(simulation.record.name, total, done, "trajectories", active=spread.progress) as bar:
        if spread.workers == 1:
            for shard in missing:
                _write(simulation, shard, bar.advance)
        for _, block in in_processes(partial(_write_anew, asked), missing, spread.workers):
            bar.advance(float(block.count))
    complete(root, [path for path, _ in shards])


def _forget(root: Path) -> None:
    """Remove what is stale if a shard is missing."""
    for name in ("stats.yaml", MANIFEST):
        (root / name).unlink(missing_ok=True)


def _write_anew(asked: Asked, shard: tuple[Path, Block]) -> None:
    """In another process, which does not share what follows from the settings."""
    _write(resolve(*asked), shard)


def _write(
    simulation: Simulation,
    shard: tuple[Path, Block],
    advance: Callable[[float], None] = lambda _: None,
) -> None:
    path, block = shard
    write_file(path, solve(simulation, block, advance))
