"""Statistics of fields: per split, as a table, as The Well's `stats.yaml`, and for training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..base.appearing import appearing_file
from ..base.manifest import write_manifest
from ..base.processes import ALONE, Processes
from ..fields.moments import Moments
from ..fields.vocabulary import SPLITS, tensors
from ..files.containers import HDF5, data_files
from ..layouts.well_reader import WellFile
from .kept_moments import kept_moments
from .store import Store
from .survey import Survey, Table, blocks, survey
from .whole import whole

BLOCK = 2**22  # values to hold at once
COLUMNS = ("mean", "std", "rms", "min", "max", "mean_delta", "std_delta", "rms_delta")


def split_statistics(
    store: Store, progress: bool = False
) -> dict[str, dict[str, dict[str, float]]]:
    """Split -> field -> `COLUMNS`, over trajectories, time and space, in double precision.

    Standard deviations are those of the population. `*_delta` are statistics of the change from
    frame to frame; constant fields, and trajectories of one frame, have none.

    Args:
        store: the dataset.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: a value is NaN or infinite, or a file is damaged.
    """
    store = whole(store)
    found = survey(store, progress)
    for table in (found.fields, found.constants):
        bad = np.argwhere(table.bad)
        if len(bad):
            i, channel = map(int, bad[0])
            path, local = store.origin(i)
            raise ValueError(
                f"{path}: {table.names[channel]!r} of trajectory {local} holds NaN or infinite "
                f"values; see pelagos data check"
            )
    return {split: _of_split(found, part) for split, part in store.splits.items()}


def field_moments(
    store: Store, trajectories: Sequence[int], processes: Processes = ALONE
) -> dict[str, Moments]:
    """Moments of each field that is predicted anywhere, from the frame `store.first` on.

    What is masked does not count. In one pass and constant memory, which `processes` share.

    Raises:
        ValueError: a value is NaN or infinite, or a file is damaged.
    """

    def of_trajectory(i: int) -> list[tuple[str, Moments]]:
        found = []
        for part in _whole(store, i):
            block, mask = store.read(i, part.start, part.stop), store.mask(i)
            for channel, name in enumerate(store.fields):
                values = block[:, channel]
                chosen = values if mask is None else values[:, mask[channel]]
                if chosen.numel():
                    found.append((name, Moments.merged(None, chosen.numpy())))
        return found

    return kept_moments(store, trajectories, ("fields",), of_trajectory, processes)


def _whole(store: Store, i: int) -> Iterator[range]:
    """Consecutive frames of trajectory i, without those whose holes are skipped."""
    whole = store.whole_frames(i)
    for part in blocks(store, i, BLOCK, store.first):
        if whole is None:
            yield part
            continue
        for there, frames in itertools.groupby(part, lambda k: bool(whole[k])):
            if there:
                run = [*frames]
                yield range(run[0], run[-1] + 1)


def constant_moments(
    store: Store,
    trajectories: Sequence[int],
    names: Sequence[str],
    processes: Processes = ALONE,
) -> dict[str, Moments]:
    """Moments of constant fields; what is missing under the mask does not count.

    Raises:
        ValueError: as `field_moments`.
    """
    if not names:
        return {}

    def of_trajectory(i: int) -> list[tuple[str, Moments]]:
        constants = store.constants(i)
        assert constants is not None
        raw = constants.numpy() if store.holds_all_constants(i) else store.constants_raw(i)
        found = []
        for name in names:
            values = raw[store.constant_fields.index(name)]
            found.append((name, Moments.merged(None, values[~np.isnan(values)])))
        return found

    return kept_moments(store, trajectories, ("constants", *names), of_trajectory, processes)


def well_form(
    statistics: dict[str, dict[str, float]], ndim: int
) -> dict[str, dict[str, float | list[Any]]]:
    """Statistics of one split as `stats.yaml` has them: vectors and tensors as nested lists."""
    form: dict[str, dict[str, Any]] = {}
    for column in COLUMNS:
        if column in ("min", "max"):
            continue
        form[column] = {}
        for name, (order, parts) in tensors([*statistics], ndim).items():
            if all(column in statistics[part] for part in parts):
                values = np.array([statistics[part][column] for part in parts])
                form[column][name] = values.reshape((ndim,) * order).tolist()
    return form


def write(path: Path, form: dict[str, Any], overwrite: bool = False) -> None:
    """Write `stats.yaml`; it appears when it is complete.

    Raises:
        ValueError: the path exists, or the disk is full.
    """
    with appearing_file(path, overwrite=overwrite) as draft:
        draft.write_text(yaml.safe_dump(form, sort_keys=False), encoding="utf-8")


def write_stats(root: str | Path) -> None:
    """Write `stats.yaml` of a dataset in The Well's layout, which makes it complete.

    The statistics are those of its first split, `data/train`.

    Raises:
        ValueError: `stats.yaml` exists, there are no training files, or a value is not finite.
    """
    root = Path(root)
    folders = [root / "data" / split for split in SPLITS if (root / "data" / split).is_dir()]
    files = data_files(folders[0], HDF5) if folders else []
    if not files:
        raise ValueError(f"no HDF5 files in {root / 'data/train'}; statistics need training data")
    if (root / "stats.yaml").exists():
        raise ValueError(f"{root / 'stats.yaml'} exists already; delete it to compute it again")
    split = folders[0].name
    store = Store([(split, WellFile(file)) for file in files])
    write(root / "stats.yaml", well_form(split_statistics(store)[split], store.grid.ndim))


def complete(root: Path, files: Sequence[Path]) -> None:
    """Write `stats.yaml` and then checksums, if all files are there; another process may do so at
    the same time.

    Raises:
        ValueError: as `write_stats`.
    """
    if not all(path.exists() for path in files):
        return
    try:
        write_stats(root)
    except ValueError:
        if not (root / "stats.yaml").exists():
            raise
    write_manifest(root)


def describe(statistics: dict[str, dict[str, dict[str, float]]]) -> str:
    """A table per split."""
    lines = []
    for split, fields in statistics.items():
        width = max(len(name) for name in fields)
        lines.append(f"{split:<{width}}" + "".join(f"{column:>13}" for column in COLUMNS))
        for name, row in fields.items():
            cells = (f"{row[k]:>13.5g}" if k in row else f"{'':>13}" for k in COLUMNS)
            lines.append((f"{name:<{width}}" + "".join(cells)).rstrip())
        lines.append("")
    return "\n".join(lines[:-1])


def _of_split(found: Survey, part: range) -> dict[str, dict[str, float]]:
    return {**_of_table(found.fields, part), **_of_table(found.constants, part)}


def _of_table(table: Table, part: range) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    chosen = np.asarray(part)
    changes = table.moments(part, "changes")
    for channel, (name, moments) in enumerate(zip(table.names, table.moments(part), strict=True)):
        assert moments is not None
        rows[name] = {
            "mean": float(moments.mean[0]),
            "std": float(moments.std[0]),
            "rms": float(moments.rms[0]),
            "min": float(table.low[chosen, channel].min()),
            "max": float(table.high[chosen, channel].max()),
        }
        change = changes[channel]
        if change is not None:
            for statistic in ("mean", "std", "rms"):
                rows[name][f"{statistic}_delta"] = float(getattr(change, statistic)[0])
    return rows
