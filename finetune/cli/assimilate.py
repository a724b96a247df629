"""`pelagos assimilate`: arguments, files and what is said."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ...datasets.base import cli
from ...datasets.base.cli import Parser
from ..assimilate.settings import Outputs, Settings

if TYPE_CHECKING:
    from ...datasets.stores.store import Store
    from ...operators.core.operator import Operator
    from ..assimilate.assimilate import Outcome
    from ..assimilate.start import Start

EXAMPLES = (
    "pelagos assimilate runs/observer_ks sensors.csv",
    "pelagos assimilate runs/observer_ks sensors.csv --members 20 --forecast 50 --figure out.svg",
    "pelagos assimilate runs/mine sensors.nc --history data/mine --trajectory 3 --frame 10",
)


def main(argv: Sequence[str]) -> None:
    """Run `pelagos assimilate`.

    Raises:
        ValueError: an argument or a row of the file is wrong, or as in `assimilate.assimilate`.
    """
    given = _parser().parse(argv)
    outputs = Outputs(given.out, given.figure, given.overwrite)
    outputs.require_free()
    settings = Settings(**{field.name: getattr(given, field.name) for field in fields(Settings)})
    settings.gain()  # what is wrong with it is said before a checkpoint is opened
    from ...operators.core.checkpoint import from_pretrained, locate
    from ..assimilate.assimilate import assimilate
    from ..assimilate.start import require_assimilating

    operator = from_pretrained(locate(given.checkpoint))
    operator = require_assimilating(operator).to(given.device)
    start = _start(given, operator)
    outcome = assimilate(
        operator, start, given.observations, outputs, settings, truth=_truth(given), progress=True
    )
    _say(outcome)


def _parser() -> Parser:
    parser = Parser(
        "assimilate",
        "Estimate the fields from a file of observations, and forecast from there. The file is CSV "
        "(time, x[, y, z], field, value, std) or NetCDF with variables of these names; sensors may "
        "lie between grid points.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint or run that assimilates")
    add("observations", type=Path, metavar="OBSERVATIONS", help="CSV or NetCDF file")
    add("--history", type=Path, metavar="DATASET", help="start from stored frames of a dataset; "
        "without, from the mean of the training data")  # fmt: skip
    add("--split", default="test", help="split of that dataset (default: test)")
    add("--trajectory", type=cli.index, default=0, metavar="I", help="(default: 0)")
    add("--frame", type=cli.index, metavar="K", help="last frame of the history "
        "(default: the first that leaves a whole history)")  # fmt: skip
    add("--truth", action="store_true", help="score against the frames of that trajectory")
    add("--cold", action="store_true", help="with --history: take grid and parameters from the "
        "dataset, and start from the mean all the same")  # fmt: skip
    add("--variance", type=cli.positive, metavar="V", help="of the error of the start, in "
        "units of the fields' variance (default: exact history, 1 without)")  # fmt: skip
    add("--start-time", type=float, default=0.0, metavar="T", help="time of a start without "
        "history (default: 0)")  # fmt: skip
    add("--parameter", type=cli.parameter, action="append", default=[], metavar="NAME=VALUE",
        help="a parameter of the equation; repeat for several")  # fmt: skip
    add("--members", type=cli.count, default=1, help="of an ensemble, whose covariance is "
        "then the gain; 20 is usual (default: 1, none: the trained gain)")  # fmt: skip
    add("--radius", type=cli.positive, metavar="R", help="with --members: half of the "
        "distance at which a measurement counts no more (default: from the spectrum of the "
        "training data)")  # fmt: skip
    add("--relaxation", type=float, metavar="SHARE", help="with --members: of the spread lost to a "
        "measurement that is given back (default: 0.3)")  # fmt: skip
    add("--model-error", type=float, metavar="V", help="with --members: added to their variance "
        "at a measurement, in units of the fields' variance (default: what the innovations call "
        "for)")  # fmt: skip
    add("--seed", type=cli.index, default=0, help="of the ensemble (default: 0)")
    add("--forecast", type=cli.index, default=10, metavar="N", help="frames after the last "
        "measurement (default: 10)")  # fmt: skip
    add("--every", type=cli.positive, metavar="DT", help="time between them (default: the "
        "operator's time step)")  # fmt: skip
    add("--skip-invalid", action="store_true", help="leave wrong rows out and say so")
    add("--device", type=cli.device, default="auto", help="(default: a GPU if there is one)")
    add("--out", type=Path, default=Path("analysis.nc"), help="(default: analysis.nc)")
    add("--figure", type=Path, metavar="FILE", help="an .svg or .png to draw")
    add("--overwrite", action="store_true", help="replace existing files")
    return parser


def _start(given: argparse.Namespace, operator: Operator) -> Start:
    from dataclasses import replace

    from ...datasets.stores.opening import open_store
    from ..assimilate.start import start_cold, start_from

    if given.history is None:
        if given.truth or given.cold:
            raise ValueError("--truth and --cold need a dataset: --history DATASET")
        parameters = {}
        for name, value in given.parameter:
            if not isinstance(value, float):
                raise ValueError(f"--parameter {name} needs one value here, not a range")
            parameters[name] = value
        return start_cold(operator, None, parameters, given.start_time)
    if given.parameter:
        raise ValueError("--parameter has no meaning with --history; the dataset has its own")
    store = open_store(given.history, None if given.split == "all" else given.split)
    frame = operator.history - 1 if given.frame is None else given.frame
    start = start_from(operator, store, given.trajectory, frame)
    return replace(start, history=None) if given.cold else start


def _truth(given: argparse.Namespace) -> tuple[Store, int] | None:
    from ...datasets.stores.opening import open_store

    if not given.truth:
        return None
    store = open_store(given.history, None if given.split == "all" else given.split)
    return store, given.trajectory


def _say(outcome: Outcome) -> None:
    if outcome.problems:
        print(
            f"pelagos: warning: {len(outcome.problems)} row(s) left out, the first: "
            f"{outcome.problems[0]}",
            file=sys.stderr,
        )
    for name, scores in outcome.scores.items():
        values = ", ".join(f"{key} {value:.4g}" for key, value in scores.items())
        print(f"{name}: {values}")
    print(
        f"analysis: {outcome.path} ({outcome.analyses} analyses of {outcome.used} readings, "
        f"{outcome.forecasts} forecast frames)"
    )
    if outcome.figure is not None:
        print(f"figure: {outcome.figure}")
