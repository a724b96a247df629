"""`pelagos data …`: make a dataset, look into it, check it, rewrite it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ...datasets.base.options import (
    Count,
    Counts,
    Device,
    File,
    Index,
    Lengths,
    Parameters,
    Positive,
    Source,
    named_device,
)
from ...datasets.simulation.settings import COUNTS, Settings
from .reading import Reading, Spreading

PARAMETER = "fix a parameter, or draw it from a range with NAME=LOW:HIGH; repeatable"


@Parameter(name="*")
@dataclass(frozen=True)
class Splits:
    """How much is simulated.

    Attributes:
        train: trajectories in the train split.
        valid: trajectories in the valid split.
        test: trajectories in the test split.
    """

    train: Index = COUNTS["train"]
    valid: Index = COUNTS["valid"]
    test: Index = COUNTS["test"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Asked(Settings):
    """Settings as they are typed."""

    __doc__ = Settings.__doc__
    trajectories: Annotated[dict[str, int] | None, Parameter(parse=False)] = None  # see `Splits`
    resolution: Counts | None = None
    lengths: Annotated[Lengths | None, Parameter(name="--length")] = None
    frames: Count | None = None
    dt: Positive | None = None
    warm_up: Positive | None = None
    parameters: Annotated[Parameters, Parameter(name="--parameter", help=PARAMETER)] = field(
        default_factory=dict
    )
    solver_step: Positive | None = None
    subsample: Count | None = None
    seed: Index = 0
    shard: Count = 64
    device: Device = "cpu"


def simulate(
    equation: str | None = None,
    /,
    *,
    list: bool = False,
    out: File = Path("data"),
    name: str | None = None,
    splits: Splits = Splits(),
    asked: Asked = Asked(),
    overwrite: bool = False,
    spreading: Spreading = Spreading(),  # noqa: B008
) -> None:
    """Simulate a PDE from random initial states into HDF5 (The Well's layout), in train, valid
    and test splits.

    What is not given is the equation's default. An interrupted simulation continues when the same
    command runs again.

    Args:
        equation: name of the equation; --list shows all.
        list: list the equations with formula and fields, and stop.
        out: the dataset is written to a folder of its name in this one.
        name: name of the dataset (default: the equation's).
        overwrite: replace a dataset of that name.

    Examples:
        pelagos data simulate --list
        pelagos data simulate burgers_1d --out data
        pelagos data simulate kuramoto_sivashinsky_1d --out data --train 64 --resolution 128
        pelagos data simulate burgers_2d --out data --parameter viscosity=0.01:0.02 --seed 1
        pelagos data simulate burgers_2d --out data --train 10000 --workers 16
    """
    from ...datasets import equations  # imported here, so that help needs no torch
    from ...datasets.simulation.simulate import simulate as run

    if list:
        from ...datasets.equations.catalogue import listing

        print(listing())
        return
    if equation is None:
        known = ", ".join(equations.names())
        raise ValueError(f"which equation? One of {known} (see pelagos data simulate --list)")
    settings = replace(asked, trajectories=asdict(splits), device=named_device(asked.device))
    _say(run(equation, out, settings, name=name, overwrite=overwrite, spread=spreading.spread()))


def inspect(path: Source, /, *, reading: Reading = Reading()) -> None:  # noqa: B008
    """Say what a dataset holds: fields, units, grid, times, parameters, splits, provenance.

    Args:
        path: a dataset's folder, or one of its files.

    Examples:
        pelagos data inspect data/burgers_1d
        pelagos data inspect data/mine --split test
    """
    from ...datasets.tools.summary import summary

    print(summary(reading.open(path)))


def describe(path: Source, /, *, out: File | None = None, overwrite: bool = False) -> None:
    """Draft a description.yaml for files of your own, from what they say.

    Comments tell what is a guess and what the file does not say. Put it beside the data.

    Args:
        path: a file (HDF5, NetCDF, MATLAB, Zarr, npy, npz), or a folder of them.
        out: write it there, in place of printing it.
        overwrite: replace that file.

    Examples:
        pelagos data describe mine/run.h5
        pelagos data describe mine --out mine/description.yaml
    """
    from ...datasets.base.appearing import appearing_file
    from ...datasets.tools.draft import draft

    if out is None:
        print(draft(path), end="")
        return
    with appearing_file(out, overwrite=overwrite) as file:
        file.write_text(draft(path), encoding="utf-8")
    print(f"description: {out} (look through it, then: pelagos data inspect {path})")


def check(
    path: Source,
    /,
    *,
    reading: Reading = Reading(),  # noqa: B008
    json: bool = False,
    history: Count = 1,
    horizon: Count = 1,
    verify: bool = False,
) -> None:
    """Read everything once and say what is wrong: NaN, constant fields, irregular times, duplicates
    within and across splits, drift between splits, costly chunks.

    Exits with 0 if all is fine, with 1 where there are errors or warnings, with 2 on a wrong
    command.

    Args:
        path: a dataset's folder, or one of its files.
        json: print one JSON object.
        history: frames given.
        horizon: frames to predict; what a window of both costs to read is measured.
        verify: compare every byte with the checksums that were written with the dataset.

    Examples:
        pelagos data check data/burgers_1d
        pelagos data check data/mine --json > report.json
    """
    from ...datasets.tools.check import check as run
    from ...datasets.tools.check import describe

    report = run(reading.open(path), history, horizon, verify=verify, progress=True)
    print(_json(report.as_dict()) if json else describe(report))
    if not report.fine:
        raise SystemExit(1)


def convert(
    source: Source,
    out: File,
    /,
    *,
    name: str | None = None,
    reading: Reading = Reading(),  # noqa: B008
    shard: Count | None = None,
    overwrite: bool = False,
    spreading: Spreading = Spreading(),  # noqa: B008
) -> None:
    """Rewrite a dataset of any layout in The Well's: single precision, contiguous (mapped into
    memory when read), in shards, with stats.yaml.

    Every file is read back and compared. An interrupted conversion continues when the same command
    runs again.

    Args:
        source: a dataset's folder, or one of its files, in any layout.
        out: folder of the new dataset.
        name: name of the new dataset (default: the source's).
        shard: trajectories per file (default: as many as fit into 512 MiB).
        overwrite: replace a converted dataset.

    Examples:
        pelagos data convert 1D_Burgers_Sols_Nu0.01.hdf5 data/burgers_nu0.01
        pelagos data convert NS-Sines.nc data/ns_sines --shard 500
    """
    from ...datasets.stores.opening import Reading as StoredReading
    from ...datasets.tools.convert import convert as run

    given = StoredReading(reading.layout, reading.units, reading.prescribed)
    path = run(
        source,
        out,
        name=name,
        split=reading.split,
        reading=given,
        shard=shard,
        overwrite=overwrite,
        spread=spreading.spread(),
    )
    _say(path)


def rechunk(
    source: Source,
    out: File,
    /,
    *,
    compression: Literal["none", "lzf", "gzip"] = "none",
) -> None:
    """Rewrite HDF5 files for the access of training, in the same layout with all groups and
    attributes: contiguous (mapped into memory when read), or compressed in whole frames.

    Args:
        source: a dataset's folder, or one of its files.
        out: the new folder or file.
        compression: of chunks of whole frames (default: none, contiguous).

    Examples:
        pelagos data rechunk 2D_diff-react_NA_NA.h5 fast/2D_diff-react_NA_NA.h5
        pelagos data rechunk data/mine data/mine_lzf --compression lzf
    """
    from ...datasets.tools.rechunk import rechunk as run

    _say(run(source, out, compression=compression, progress=True))


def plot(
    path: Source,
    /,
    *,
    reading: Reading = Reading(),  # noqa: B008
    out: File = Path("plots"),
    trajectory: Index = 0,
    field: tuple[str, ...] = (),
    animate: bool = False,
    overwrite: bool = False,
) -> None:
    """Draw a trajectory: its fields side by side, mean and root mean square over time, and with
    --animate a GIF.

    Args:
        path: a dataset's folder, or one of its files.
        out: folder of the pictures.
        trajectory: which, from 0 on.
        field: only this field; repeatable.
        animate: make an animation (GIF) too.
        overwrite: replace pictures of the same names.

    Examples:
        pelagos data plot data/burgers_1d
        pelagos data plot data/mine --trajectory 3 --field density --animate
    """
    from ...datasets.tools.plot import plot as run

    paths = run(
        reading.open(path),
        out,
        trajectory=trajectory,
        fields=field,
        animate=animate,
        overwrite=overwrite,
        progress=True,
    )
    print("\n".join(map(str, paths)))


def stats(
    path: Source,
    /,
    *,
    reading: Reading = Reading(),  # noqa: B008
    json: bool = False,
    out: File | None = None,
    overwrite: bool = False,
) -> None:
    """Mean, standard deviation, root mean square and range of every field per split, and of the
    changes from frame to frame (delta).

    --out writes those of the training split in the form of The Well's stats.yaml.

    Args:
        path: a dataset's folder, or one of its files.
        json: print one JSON object.
        out: write a stats.yaml.
        overwrite: replace that file.

    Examples:
        pelagos data stats data/burgers_1d
        pelagos data stats data/mine --out data/mine/stats.yaml
    """
    from ...datasets.stores import statistics

    if out and out.exists() and not overwrite:
        raise ValueError(f"{out} exists already; choose another name, or --overwrite")
    store = reading.open(path)
    found = statistics.split_statistics(store, progress=True)
    print(_json(found) if json else statistics.describe(found))
    if out:
        first = next(iter(found.values()))  # train, if there is one
        statistics.write(out, statistics.well_form(first, store.grid.ndim), overwrite)


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


def _say(path: Path) -> None:
    if path.is_dir() and (path / "data").is_dir() and not (path / "stats.yaml").exists():
        print(f"dataset: {path} (this share of it; it is complete when all others are there)")
        return
    print(f"dataset: {path} (look into it with: pelagos data inspect {path})")
