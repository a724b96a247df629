"""Any dataset, rewritten in The Well's layout, shard by shard, and read back.

The recipe, `conversion.yaml`, is written first; `stats.yaml`, written last, marks the dataset
complete. A shard depends on the source alone, so an interrupted conversion continues to the same
files.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..base.appearing import is_draft
from ..base.config import plain as plain_config
from ..base.made import require_same, write_record
from ..base.manifest import MANIFEST
from ..base.progress import Bar
from ..base.spreading import ALONE, Spread, in_processes, refuse_replacing
from ..fields.vocabulary import UNSPLIT
from ..layouts import well
from ..layouts.index import state_of
from ..layouts.well_reader import WellFile
from ..stores.opening import AS_IT_IS, Reading, open_store
from ..stores.statistics import complete
from ..stores.store import Store
from ..stores.survey import blocks
from ..stores.whole import whole

BLOCK = 2**22  # values to hold at once
SHARD = 2**29  # bytes of a file, at most, unless one trajectory is larger
RECIPE = "conversion.yaml"


@dataclass(frozen=True)
class Recipe:
    """All that determines the contents of a converted dataset.

    Attributes:
        name: of the new dataset.
        source: what is converted.
        state: a hash of the source's files by name, size and modification time.
        fields: its fields.
        splits: trajectories per split.
        shard: trajectories per file, at most.
        prescribed: which of the fields and scalars are prescribed.
    """

    name: str
    source: str
    state: str
    fields: tuple[str, ...]
    splits: dict[str, int]
    shard: int
    prescribed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Shard:
    """Consecutive trajectories of a split with equally many frames, kept in one file."""

    path: Path
    split: str
    trajectories: range


def convert(
    source: str | Path,
    out: Path,
    *,
    name: str | None = None,
    split: str | None = None,
    reading: Reading = AS_IT_IS,
    shard: int | None = None,
    overwrite: bool = False,
    spread: Spread = ALONE,
) -> Path:
    """Write the dataset `source` to the folder `out`, or what is missing of it.

    Values are stored in single precision, contiguous and uncompressed; a steady problem becomes
    constant fields and one frame; a mask of where fields are predicted is kept (The Well's own
    reader ignores it). Every file is read back and compared before it counts. Files outside of
    train, valid and test become train.

    Args:
        source: a dataset in any layout.
        out: the new dataset's folder.
        name: its name; the source's by default.
        split: convert only this split.
        reading: its layout, where contents should not decide, and units to convert to.
        shard: trajectories per file; by default, as many as fit into 512 MiB.
        overwrite: delete a converted dataset there first.
        spread: processes that write the files, which are the same for any number of them; the one
            that finds all there writes the statistics.

    Returns:
        The folder `out`.

    Raises:
        ValueError: the source cannot be read or holds NaN, or the folder holds something else.
    """
    asked = reading.prescribed
    given = open_store(source, split, reading.layout, units=reading.units, prescribed=asked)
    prescribed, store = given.sources[0].header.prescribed, whole(given)
    recipe = Recipe(
        name=_plain_name(store.name if name is None else name),
        source=str(source) if "://" in str(source) else str(Path(source).absolute()),
        state=_state(store),
        fields=store.fields,
        prescribed=prescribed,
        splits=_counts(store),
        shard=_per_file(store) if shard is None else shard,
    )
    if recipe.shard < 1:
        raise ValueError(f"shard must be at least 1 trajectory per file; got {shard}")
    refuse_replacing(out, overwrite, spread)
    _prepare(out, recipe, overwrite)
    shards = list(_shards(store, out, recipe))
    _complete(store, spread.share.of(shards), recipe, spread)
    if not all((out / each).exists() for each in ("stats.yaml", MANIFEST)):
        complete(out, [part.path for part in shards])
    return out


def _complete(store: Store, shards: Sequence[_Shard], recipe: Recipe, spread: Spread) -> None:
    """Write what is missing of some shards."""
    missing = [part for part in shards if not part.path.exists()]
    if missing:
        for name in ("stats.yaml", MANIFEST):
            (missing[0].path.parents[2] / name).unlink(missing_ok=True)
    total = sum(len(part.trajectories) for part in shards)
    done = total - sum(len(part.trajectories) for part in missing)
    with Bar(f"writing {recipe.name}", total, done, "trajectories", spread.progress) as bar:
        if spread.workers == 1:
            for part in missing:
                _write(store, recipe, part, bar.advance)
        for part in in_processes(partial(_write, store, recipe), missing, spread.workers):
            bar.advance(float(len(part.trajectories)))


def _plain_name(name: str) -> str:
    """The name where it can name files; else with what cannot replaced."""
    plain = "".join(c if c.isalnum() or c in "_-." else "_" for c in name).strip(".")
    return plain or "dataset"


def _state(store: Store) -> str:
    """A hash of the source's files, and of what else decides their values."""
    files = state_of(source.path for source in store.sources)
    asked = [store.provenance[key] for key in ("regridded", "units") if key in store.provenance]
    return hashlib.sha256(repr([files, asked]).encode()).hexdigest()[:16] if asked else files


def _counts(store: Store) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for split, part in store.splits.items():
        counts[_folder(split)] += len(part)
    return dict(counts)


def _folder(split: str) -> str:
    return "train" if split == UNSPLIT else split


def _per_file(store: Store) -> int:
    frames = max(source.header.n_frames for source in store.sources)
    channels = len(store.fields) * frames + len(store.constant_fields)
    size = 4 * channels * math.prod(store.grid.shape)
    return max(1, SHARD // size)


def _prepare(out: Path, recipe: Recipe, overwrite: bool) -> None:
    """Leave a folder with this recipe in it.

    Raises:
        ValueError: the folder holds something else, or was converted from something else.
    """
    path = out / RECIPE
    remedy = "choose another folder, or replace it (--overwrite, in Python overwrite=True)"
    if out.exists() and not path.is_file():
        if not out.is_dir() or not all(is_draft(found, path) for found in out.iterdir()):
            raise ValueError(f"{out} exists and is no converted dataset; choose another folder")
    elif out.exists() and not overwrite:
        require_same(path, plain_config(recipe), "converted", remedy, {"prescribed": []})
        return
    if (out / "data").exists():
        for name in ("stats.yaml", MANIFEST):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / "data")
    write_record(path, plain_config(recipe))


def _shards(store: Store, out: Path, recipe: Recipe) -> Iterator[_Shard]:
    files: Counter[str] = Counter()  # so far, in each folder
    for split, part in store.splits.items():
        folder = _folder(split)
        for trajectories in _runs(store, part, recipe.shard):
            path = out / "data" / folder / f"{recipe.name}_{files[folder]:04d}.hdf5"
            files[folder] += 1
            yield _Shard(path, split, trajectories)


def _runs(store: Store, part: range, longest: int) -> Iterator[range]:
    """Consecutive trajectories with equally many frames, at most `longest`."""
    start = part.start
    for i in part:
        if (
            i + 1 == part.stop
            or i + 1 - start == longest
            or (store.n_frames(i + 1) != store.n_frames(start))
        ):
            yield range(start, i + 1)
            start = i + 1


def _write(
    store: Store,
    recipe: Recipe,
    part: _Shard,
    advance: Callable[[float], None] = lambda _: None,
) -> None:
    """Write one file and read it back.

    Raises:
        ValueError: what was read differs from what was written.
    """
    digests = []
    with well.create_file(part.path, _contents(store, part, recipe)) as write:
        for i in part.trajectories:
            digest = hashlib.blake2b(digest_size=16)
            for start, values in _blocks(store, i):
                write(i - part.trajectories.start, start, values)
                digest.update(values.data)
                advance(len(values) / store.n_frames(i))
            digests.append(digest.digest())
    written = whole(Store([(part.split, WellFile(part.path))]))
    order = [written.fields.index(name) for name in store.fields]
    for i, expected in enumerate(digests):
        digest = hashlib.blake2b(digest_size=16)
        for _, values in _blocks(written, i):
            digest.update(np.ascontiguousarray(values[:, order]).data)
        if digest.digest() != expected:
            part.path.unlink()
            raise ValueError(
                f"{part.path}: what was written cannot be read back; check the disk and run the "
                f"same conversion again"
            )


def _blocks(store: Store, i: int) -> Iterator[tuple[int, np.ndarray]]:
    """First frame and values of pieces of a trajectory."""
    for part in blocks(store, i, BLOCK):
        values = store.read(i, part.start, part.stop)
        yield part.start, np.ascontiguousarray(values.numpy())


def _contents(store: Store, part: _Shard, recipe: Recipe) -> well.WellData:
    """Everything about a file but the values of its fields."""
    chosen = part.trajectories
    n, frames = len(chosen), store.n_frames(chosen.start)
    nothing = np.broadcast_to(np.float32(0), (n, frames, *store.grid.shape))
    times = np.stack([store.trajectory_times(i) for i in chosen])
    constants = np.stack([_constants(store, i) for i in chosen])
    filled = list(store.sources[0].header.filled)
    return well.WellData(
        dataset=recipe.name,
        grid=store.grid,
        times=times[0] if (times == times[0]).all() else times,
        fields=dict.fromkeys(store.fields, nothing),
        constant_fields={
            name: constants[:, channel] for channel, name in enumerate(store.constant_fields)
        },
        parameters=_parameters(store, chosen),
        series=_series(store, chosen),
        prescribed=recipe.prescribed,
        mask=_mask(store, chosen),
        units=_units(store, recipe.prescribed),
        provenance={
            "converted_from": Path(recipe.source).name,
            "first_trajectory": chosen.start - store.splits[part.split].start,
            "source": store.provenance,
            **({"filled": filled} if filled else {}),
            "version": version("pelagos"),
        },
    )


def _constants(store: Store, i: int) -> np.ndarray:
    values = store.constants(i)
    return store.constants_raw(i) if values is None else values.numpy()


def _parameters(store: Store, chosen: range) -> dict[str, np.ndarray]:
    """A parameter that all trajectories of the store share becomes one number."""
    table = store.parameter_table()
    return {
        name: np.array(column[0]) if (column == column[0]).all() else column[np.asarray(chosen)]
        for name, column in zip(store.parameter_names, table.T, strict=True)
    }


def _series(store: Store, chosen: range) -> dict[str, np.ndarray]:
    rows: dict[str, list[np.ndarray]] = {}
    for i in chosen:
        source, local = store.source_of(i)
        for name, values in source.header.series.items():
            rows.setdefault(name, []).append(values if values.ndim == 1 else values[local])
    return {name: np.stack(values) for name, values in rows.items() if len(values) == len(chosen)}


def _mask(store: Store, chosen: range) -> np.ndarray | None:
    masks = [store.mask(i) for i in chosen]
    if all(mask is None for mask in masks):
        return None
    shape = (len(store.fields), *store.grid.shape)
    return np.stack([np.ones(shape, bool) if mask is None else mask.numpy() for mask in masks])


def _units(store: Store, prescribed: Sequence[str]) -> dict[str, str]:
    """Units of what is written: of names that the source knows."""
    names = {
        *prescribed,
        *store.fields,
        *store.constant_fields,
        *store.parameter_names,
        "time",
        "length",
    }
    return {name: unit for name, unit in store.units.items() if name in names}
