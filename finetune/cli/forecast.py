"""`pelagos predict`, `pelagos evaluate` and `pelagos report`.

Everything slow to import is imported after the arguments have been understood.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...datasets.base import cli
from ...datasets.base.appearing import refuse_existing
from ...datasets.base.cli import Parser
from ..forecast.request import Request

if TYPE_CHECKING:
    from ...datasets.stores.store import Store
    from ...operators.core.operator import Operator


def predict(argv: Sequence[str]) -> None:
    """Run `pelagos predict`.

    Raises:
        ValueError: an argument is wrong, or as in `predict.predict`.
    """
    parser = _forecast_parser(
        "predict",
        "Roll a checkpoint out from stored initial frames, and write the predicted fields, with "
        "the stored ones beside them, as NetCDF.",
        "prediction.nc",
        (
            "pelagos predict runs/mine data/burgers_1d --trajectories 4",
            "pelagos predict runs/mine/checkpoint data/burgers_1d --steps 200 --out long.nc",
            "pelagos predict runs/all2all data/burgers_2d --lead_times 0.35,0.7 --mode direct",
        ),
    )
    given, out = _parse(parser, argv, "prediction.nc")
    from ..forecast.predict import nonfinite, write_prediction
    from ..forecast.predict import predict as run
    from ..report.comparison import number

    operator, store = _open(given)
    data = run(operator, store, _request(given), progress=True)
    write_prediction(data, out, overwrite=given.overwrite)
    count, lead = nonfinite(data, operator.description.fields)
    if count:
        since = number(lead, data["lead_time"].attrs.get("units", ""))
        print(
            f"pelagos: warning: {count} of {data.sizes['trajectory']} trajectories are not finite "
            f"from lead time {since} on (the earliest)",
            file=sys.stderr,
        )
    unit = data["lead_time"].attrs.get("units", "")
    leads = [number(float(t), unit) for t in data["lead_time"].values[[0, -1]]]
    print(
        f"prediction: {out} ({data.sizes['time']} frame(s), {leads[0]} to {leads[1]} after the "
        "last given one; open it with: xarray.open_dataset)"
    )


def evaluate(argv: Sequence[str]) -> None:
    """Run `pelagos evaluate`.

    Raises:
        ValueError: an argument is wrong, or as in `evaluate.evaluate`.
    """
    parser = _forecast_parser(
        "evaluate",
        "Roll a checkpoint out from stored initial frames and score every step against the stored "
        "frames, with persistence (repeating the last given frame) beside it; writes JSON.",
        "evaluation.json",
        (
            "pelagos evaluate runs/mine data/burgers_1d",
            "pelagos evaluate runs/mine data/burgers_1d --split valid --steps 20 --out valid.json",
        ),
    )
    given, out = _parse(parser, argv, "evaluation.json")
    from ..forecast.evaluate import evaluate as run
    from ..forecast.evaluate import write_evaluation

    operator, store = _open(given)
    result = run(operator, store, _request(given), progress=True)
    result |= {"checkpoint": str(given.checkpoint), "data": str(given.data)}
    write_evaluation(result, out, overwrite=given.overwrite)
    _print_scores(result)
    print(f"evaluation: {out}")


def report(argv: Sequence[str]) -> None:
    """Run `pelagos report`.

    Raises:
        ValueError: an argument is wrong, or as in `report.write_report`.
    """
    parser = Parser(
        "report",
        "Write one self-contained HTML page about runs: whether pretraining helped, scores, "
        "learning curves, errors over lead time, fields, spectra, and how it was all made.",
        (
            "pelagos report runs/finetuned runs/scratch runs/pretrain --out report.html",
            "pelagos report runs/mine --title 'Burgers, 64 trajectories' --overwrite",
        ),
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="(default: report.html)"
    )
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    given = parser.parse(argv)
    refuse_existing(given.out, given.overwrite)
    from ..report.report import write_report

    path = write_report(given.runs, given.out, title=given.title, overwrite=given.overwrite)
    print(f"report: {path} (open it in a browser)")


def _forecast_parser(command: str, description: str, out: str, examples: Sequence[str]) -> Parser:
    parser = Parser(command, description, examples)
    add = parser.add_argument
    add(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="a checkpoint directory, or a run directory (then its checkpoint)",
    )
    add("data", type=Path, metavar="DATA", help="a dataset that has the operator's fields")
    add("--split", default="test", help="which split: train, valid, test or all (default: test)")
    cli.add_layout(parser)
    add(
        "--trajectories",
        type=cli.count,
        metavar="N",
        help="only the first N trajectories (default: all)",
    )
    add(
        "--start",
        type=cli.index,
        default=0,
        metavar="FRAME",
        help="first frame of the history (default: 0)",
    )
    add(
        "--steps",
        type=cli.count,
        metavar="N",
        help="frames to predict (default: as many as are stored)",
    )
    add(
        "--lead_times",
        type=cli.increasing,
        metavar="T,…",
        help="predict at these physical times after the last given frame instead of --steps, for "
        "operators that are continuous in time",
    )
    add(
        "--mode",
        choices=("autoregressive", "direct"),
        default="autoregressive",
        help="predict each frame from the prediction before (default), or directly from the given "
        "frames, for operators that are continuous in time",
    )
    add(
        "--batch",
        type=cli.count,
        default=16,
        metavar="N",
        help="trajectories computed at a time (default: 16)",
    )
    add(
        "--device",
        type=cli.device,
        default="auto",
        help="where to compute: cpu, cuda, … (default: a GPU if there is one)",
    )
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"(default: {out} in the run directory, else in the current one)",
    )
    add("--overwrite", action="store_true", help="replace an existing file")
    return parser  # fmt: skip


def _parse(parser: Parser, argv: Sequence[str], name: str) -> tuple[argparse.Namespace, Path]:
    """The arguments with the checkpoint's own directory, and the output, checked to be free."""
    given = parser.parse(argv)
    from ...operators.core.checkpoint import locate

    run, given.checkpoint = given.checkpoint, locate(given.checkpoint)
    out = given.out or (run / name if given.checkpoint != run else Path(name))
    refuse_existing(out, given.overwrite)
    return given, out


def _open(given: argparse.Namespace) -> tuple[Operator, Store]:
    from ...datasets.stores.opening import open_store
    from ...operators.core.checkpoint import from_pretrained

    store = open_store(given.data, None if given.split == "all" else given.split, given.layout)
    return from_pretrained(given.checkpoint), store


def _request(given: argparse.Namespace) -> Request:
    keys = ("trajectories", "start", "steps", "lead_times", "mode", "batch")
    return Request(**{key: getattr(given, key) for key in keys}, device=str(given.device))


def _print_scores(result: dict[str, Any]) -> None:
    """Mean VRMSE of model and persistence at the first, middle and last lead time."""
    from rich.console import Console
    from rich.table import Table

    from ..report.comparison import number

    lead, unit = result["lead_times"], result["store"]["units"].get("time", "")
    chosen = sorted({0, (len(lead) - 1) // 2, len(lead) - 1})
    table = Table(title=f"mean VRMSE on {result['store']['name']} ({result['store']['split']})")
    table.add_column("field")
    table.add_column("forecast by")
    for k in chosen:
        table.add_column(f"after {number(lead[k], unit)}", justify="right")
    for name in result["store"]["fields"]:
        for label, scores in ((result["operator"], "scores"), ("persistence", "persistence")):
            means = result[scores]["vrmse"][name]["mean"]
            table.add_row(name, label, *(number(means[k]) for k in chosen))
    Console().print(table)
    _print_valid_time(result)
    if result["nonfinite_trajectories"]:
        print(f"{result['nonfinite_trajectories']} rollout(s) became infinite or NaN")


def _print_valid_time(result: dict[str, Any]) -> None:
    """How long forecasts stay correlated with the truth, beside persistence."""
    from ..report.comparison import number

    unit, lyapunov = result["store"]["units"].get("time", ""), result["lyapunov_time"]
    times = [part["valid_time"] for part in (result["summary"], result["summary"]["persistence"])]
    for label, time in zip((result["operator"], "persistence"), times, strict=True):
        if time is not None:
            chaos = "" if lyapunov is None else f" = {number(time / lyapunov)} Lyapunov times"
            print(f"{label} stays valid for {number(time, unit)}{chaos}")
