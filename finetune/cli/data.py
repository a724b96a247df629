"""`pelagos data …`: make a dataset, look into it, check it, rewrite it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...datasets.base import cli
from ...datasets.base.cli import Parser


def simulate(argv: Sequence[str]) -> None:
    """Run `pelagos data simulate`.

    Raises:
        ValueError: an argument is wrong, or as in `simulate.simulate`.
    """
    given = _simulate_parser().parse(argv)
    from ...datasets import equations  # imported here, so that `--help` needs no torch
    from ...datasets.simulation.settings import COUNTS
    from ...datasets.simulation.simulate import simulate as run

    if given.list:
        from ...datasets.equations.catalogue import listing

        print(listing())
        return
    if given.equation is None:
        known = ", ".join(equations.names())
        raise ValueError(f"which equation? One of {known} (see pelagos data simulate --list)")
    asked = {split: getattr(given, split) for split in COUNTS}
    path = run(
        given.equation,
        given.out,
        trajectories=COUNTS | {split: n for split, n in asked.items() if n is not None},
        resolution=_common(given.resolution),
        frames=given.frames,
        dt=given.dt,
        warm_up=given.warm_up,
        lengths=_common(given.length),
        parameters=dict(given.parameter),
        solver_step=given.solver_step,
        subsample=given.subsample,
        on_blowup=given.on_blowup,
        seed=given.seed,
        shard=given.shard,
        dtype=given.dtype,
        device=given.device,
        name=given.name,
        overwrite=given.overwrite,
        progress=True,
    )
    print(f"dataset: {path} (look into it with: pelagos data inspect {path})")


def inspect(argv: Sequence[str]) -> None:
    """Run `pelagos data inspect`.

    Raises:
        ValueError: an argument is wrong, or the dataset cannot be read.
    """
    parser = Parser(
        "data inspect",
        "Say what a dataset holds: fields, units, grid, times, parameters, splits, provenance.",
        ("pelagos data inspect data/burgers_1d", "pelagos data inspect data/mine --split test"),
    )
    _add_store(parser)
    given = parser.parse(argv)
    from ...datasets.stores.opening import open_store
    from ...datasets.tools.summary import (
        summary,  # imported here, so that `--help` needs no torch
    )

    print(summary(open_store(given.path, given.split, given.layout)))


def check(argv: Sequence[str]) -> None:
    """Run `pelagos data check`; exits with 1 where it finds an error or a warning.

    Raises:
        ValueError: an argument is wrong, or the dataset cannot be read.
    """
    parser = Parser(
        "data check",
        "Read everything once and say what is wrong: NaN, constant fields, irregular times, "
        "duplicates within and across splits, drift between splits, costly chunks. Exits with 0 "
        "if all is fine, with 1 where there are errors or warnings, with 2 on a wrong command.",
        ("pelagos data check data/burgers_1d", "pelagos data check data/mine --json > report.json"),
    )
    _add_store(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--history", type=cli.count, default=1, metavar="T", help="frames given (default: 1)"
    )
    parser.add_argument(
        "--horizon",
        type=cli.count,
        default=1,
        metavar="T",
        help="frames to predict; what a window of both costs to read is measured (default: 1)",
    )
    given = parser.parse(argv)
    from ...datasets.stores.opening import open_store
    from ...datasets.tools.check import check as run
    from ...datasets.tools.check import describe

    report = run(
        open_store(given.path, given.split, given.layout),
        given.history,
        given.horizon,
        progress=True,
    )
    print(json.dumps(report.as_dict(), indent=2) if given.json else describe(report))
    if not report.fine:
        raise SystemExit(1)


def convert(argv: Sequence[str]) -> None:
    """Run `pelagos data convert`.

    Raises:
        ValueError: an argument is wrong, or as in `convert.convert`.
    """
    parser = Parser(
        "data convert",
        "Rewrite a dataset of any layout in The Well's: single precision, contiguous (mapped into "
        "memory when read), in shards, with stats.yaml. Every file is read back and compared. An "
        "interrupted conversion continues when the same command runs again.",
        (
            "pelagos data convert 1D_Burgers_Sols_Nu0.01.hdf5 data/burgers_nu0.01",
            "pelagos data convert NS-Sines.nc data/ns_sines --shard 500",
        ),
    )
    parser.add_argument("source", help="a dataset's folder, or one of its files, in any layout")
    parser.add_argument("out", type=Path, help="folder of the new dataset")
    parser.add_argument("--name", help="name of the new dataset (default: the source's)")
    parser.add_argument("--split", help="only this split: train, valid or test")
    cli.add_layout(parser)
    parser.add_argument(
        "--shard",
        type=cli.count,
        metavar="N",
        help="trajectories per file (default: as many as fit into 512 MiB)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a converted dataset")
    given = parser.parse(argv)
    from ...datasets.tools.convert import convert as run

    path = run(
        given.source,
        given.out,
        name=given.name,
        split=given.split,
        layout=given.layout,
        shard=given.shard,
        overwrite=given.overwrite,
        progress=True,
    )
    print(f"dataset: {path} (look into it with: pelagos data inspect {path})")


def rechunk(argv: Sequence[str]) -> None:
    """Run `pelagos data rechunk`.

    Raises:
        ValueError: an argument is wrong, or as in `rechunk.rechunk`.
    """
    parser = Parser(
        "data rechunk",
        "Rewrite HDF5 files for the access of training, in the same layout with all groups and "
        "attributes: contiguous (mapped into memory when read), or compressed in whole frames.",
        (
            "pelagos data rechunk 2D_diff-react_NA_NA.h5 fast/2D_diff-react_NA_NA.h5",
            "pelagos data rechunk data/mine data/mine_lzf --compression lzf",
        ),
    )
    parser.add_argument("source", help="a dataset's folder, or one of its files")
    parser.add_argument("out", type=Path, help="the new folder or file")
    parser.add_argument(
        "--compression",
        choices=("none", "lzf", "gzip"),
        default="none",
        help="of chunks of whole frames (default: none, contiguous)",
    )
    given = parser.parse(argv)
    from ...datasets.tools.rechunk import rechunk as run

    path = run(given.source, given.out, compression=given.compression, progress=True)
    print(f"dataset: {path} (look into it with: pelagos data inspect {path})")


def plot(argv: Sequence[str]) -> None:
    """Run `pelagos data plot`.

    Raises:
        ValueError: an argument is wrong, or as in `plot.plot`.
    """
    parser = Parser(
        "data plot",
        "Draw a trajectory: its fields side by side, mean and root mean square over time, and with "
        "--animate a GIF.",
        (
            "pelagos data plot data/burgers_1d",
            "pelagos data plot data/mine --trajectory 3 --field density --animate",
        ),
    )
    _add_store(parser)
    add = parser.add_argument
    add("--out", type=Path, default=Path("plots"), metavar="DIR", help="folder (default: plots)")
    add("--trajectory", type=cli.index, default=0, metavar="I", help="which (default: 0)")
    add(
        "--field",
        action="append",
        default=[],
        metavar="NAME",
        help="only this field; repeatable",
    )
    add("--animate", action="store_true", help="make an animation (GIF) too")
    add("--overwrite", action="store_true", help="replace pictures of the same names")
    given = parser.parse(argv)
    from ...datasets.stores.opening import open_store
    from ...datasets.tools.plot import plot as run

    paths = run(
        open_store(given.path, given.split, given.layout),
        given.out,
        trajectory=given.trajectory,
        fields=given.field,
        animate=given.animate,
        overwrite=given.overwrite,
        progress=True,
    )
    print("\n".join(map(str, paths)))


def stats(argv: Sequence[str]) -> None:
    """Run `pelagos data stats`.

    Raises:
        ValueError: an argument is wrong, or the dataset cannot be read or holds NaN.
    """
    parser = Parser(
        "data stats",
        "Mean, standard deviation, root mean square and range of every field per split, and of the "
        "changes from frame to frame (delta). --out writes those of the training split in the form "
        "of The Well's stats.yaml.",
        (
            "pelagos data stats data/burgers_1d",
            "pelagos data stats data/mine --out data/mine/stats.yaml",
        ),
    )
    _add_store(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a stats.yaml")
    parser.add_argument("--overwrite", action="store_true", help="replace that file")
    given = parser.parse(argv)
    from ...datasets.stores import statistics as split_statistics
    from ...datasets.stores.opening import open_store

    if given.out and given.out.exists() and not given.overwrite:
        raise ValueError(f"{given.out} exists already; choose another name, or --overwrite")
    store = open_store(given.path, given.split, given.layout)
    found = split_statistics.split_statistics(store, progress=True)
    print(json.dumps(found, indent=2) if given.json else split_statistics.describe(found))
    if given.out:
        first = next(iter(found.values()))  # train, if there is one
        form = split_statistics.well_form(first, store.grid.ndim)
        split_statistics.write(given.out, form, given.overwrite)


def _add_store(parser: Parser) -> None:
    """What to read: a path, and a split of it."""
    parser.add_argument("path", help="a dataset's folder, or one of its files")
    parser.add_argument("--split", help="only this split: train, valid or test")
    cli.add_layout(parser)


def _simulate_parser() -> Parser:
    parser = Parser(
        "data simulate",
        "Simulate a PDE from random initial states into HDF5 (The Well's layout), in train, valid "
        "and test splits. What is not given is the equation's default. An interrupted simulation "
        "continues when the same command runs again.",
        (
            "pelagos data simulate --list",
            "pelagos data simulate burgers_1d --out data",
            "pelagos data simulate kuramoto_sivashinsky_1d --out data --train 64 --resolution 128",
            "pelagos data simulate burgers_2d --out data --parameter viscosity=0.01:0.02 --seed 1",
        ),
    )
    add = parser.add_argument
    add("equation", nargs="?", help="name of the equation; --list shows all")
    add("--list", action="store_true", help="list the equations with formula and fields, and stop")
    add(
        "--out",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="the dataset is written to DIR/NAME (default: data)",
    )
    add("--name", help="name of the dataset (default: the equation's)")
    for split, count in (("train", 128), ("valid", 16), ("test", 16)):
        add(
            f"--{split}",
            type=cli.index,
            metavar="N",
            help=f"trajectories in the {split} split (default: {count})",
        )
    add("--resolution", type=cli.counts, metavar="N[,N…]", help="points per axis")
    add(
        "--length",
        type=cli.lengths,
        metavar="L[,L…]",
        help="length of the domain per axis",
    )
    add("--frames", type=cli.count, metavar="T", help="saved frames per trajectory")
    add("--dt", type=cli.positive, help="time between saved frames")
    add(
        "--warm-up",
        type=cli.positive,
        metavar="TIME",
        help="time before the first saved frame, to leave a transient behind",
    )
    add(
        "--parameter",
        type=cli.parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fix a parameter, or draw it from a range with NAME=LOW:HIGH; repeatable",
    )
    add("--solver-step", type=cli.positive, metavar="STEP", help="largest internal time step")
    add(
        "--subsample",
        type=cli.count,
        metavar="N",
        help="solve on a grid finer by this factor per axis, store every N-th point",
    )
    add(
        "--on-blowup",
        choices=("refuse", "redraw"),
        default="refuse",
        help="what becomes of a trajectory that blows up: stop there, or draw it again "
        "(default: refuse)",
    )
    add("--seed", type=cli.index, default=0, help="of all random numbers (default: 0)")
    add(
        "--shard",
        type=cli.count,
        default=64,
        metavar="N",
        help="trajectories per file (default: 64)",
    )
    add(
        "--dtype",
        choices=("float64", "float32"),
        default="float64",
        help="precision of the computation (default: float64); files are in float32",
    )
    add(
        "--device",
        type=cli.device,
        default="cpu",
        help="where to compute: cpu, cuda, … (default: cpu; devices differ by rounding)",
    )
    add("--overwrite", action="store_true", help="replace a dataset of that name")
    return parser  # fmt: skip


def _common(values: tuple[Any, ...] | None) -> Any:
    """One number stands for all axes."""
    return values[0] if values is not None and len(values) == 1 else values
