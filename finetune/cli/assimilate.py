"""`pelagos assimilate`: what is typed, and what is said."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ...datasets.base.options import (
    Count,
    Device,
    File,
    Index,
    Number,
    Parameters,
    Positive,
    Source,
    Units,
    named_device,
)
from ..assimilate.settings import Outputs, Settings
from .reading import OneSplit

if TYPE_CHECKING:
    from ...datasets.stores.store import Store
    from ...operators.core.operator import Operator
    from ..assimilate.assimilate import Outcome
    from ..assimilate.start import Start


@Parameter(name="*")
@dataclass(frozen=True)
class Given:
    """Where an estimate starts.

    Attributes:
        history: start from stored frames of a dataset; without, from the mean of the training data.
        split: split of that dataset.
        trajectory: which of its trajectories.
        frame: last frame of the history (default: the first that leaves a whole history).
        truth: score against the frames of that trajectory.
        cold: with --history: take grid and parameters from the dataset, and start from the mean all
            the same.
        start_time: time of a start without history.
        parameter: a parameter of the equation; repeat for several.
        units: with --history: convert a field, time or length of it to a unit, as in u=m/s;
            repeatable.
        prescribed: a file that has what is prescribed, by name and physical time (default: the
            dataset of the history).
    """

    history: Source | None = None
    split: str = "test"
    trajectory: Index = 0
    frame: Index | None = None
    truth: bool = False
    cold: bool = False
    start_time: Number = 0.0
    parameter: Parameters = field(default_factory=dict)
    units: Units = field(default_factory=dict)
    prescribed: Annotated[Source | None, Parameter(name="--prescribed-from")] = None

    def open(self) -> Store:
        """The dataset of the history."""
        assert self.history is not None
        return OneSplit(self.split, units=self.units).open(self.history)


@Parameter(name="*")
@dataclass(frozen=True)
class Asked(Settings):
    """Settings as they are typed."""

    __doc__ = Settings.__doc__
    members: Count = 1
    radius: Positive | None = None
    relaxation: Number | None = None
    model_error: Number | None = None
    variance: Positive | None = None
    seed: Index = 0
    forecast: Index = 10
    every: Positive | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Written(Outputs):
    """Outputs as they are typed."""

    __doc__ = Outputs.__doc__
    out: File = Path("analysis.nc")
    figure: File | None = None


def assimilate(
    checkpoint: File,
    observations: File,
    /,
    *,
    given: Given = Given(),
    asked: Asked = Asked(),
    device: Device = "auto",
    written: Written = Written(),
    no_verify: bool = False,
) -> None:
    """Estimate the fields from a file of observations, and forecast from there.

    The file is CSV (time, x[, y, z], field, value, std) or NetCDF with variables of these names;
    sensors may lie between grid points.

    Args:
        checkpoint: a checkpoint or run that assimilates.
        observations: CSV or NetCDF file.
        device: where to compute: cpu, cuda, …; auto: a GPU if there is one.
        no_verify: open the checkpoint without checking its SHA-256.

    Examples:
        pelagos assimilate runs/observer_ks sensors.csv
        pelagos assimilate runs/observer_ks sensors.csv --members 20 --forecast 50 --figure out.svg
        pelagos assimilate runs/mine sensors.nc --history data/mine --trajectory 3 --frame 10
    """
    written.require_free()
    asked.gain()  # what is wrong with it is said before a checkpoint is opened
    from ...operators.core.checkpoint import from_pretrained, locate
    from ..assimilate.assimilate import assimilate as run
    from ..assimilate.start import require_assimilating

    operator = from_pretrained(locate(checkpoint), verify=not no_verify)
    operator = require_assimilating(operator).to(named_device(device))
    start = _start(given, operator)
    truth = (given.open(), given.trajectory) if given.truth else None
    _say(run(operator, start, observations, written, asked, truth=truth, progress=True))


def _start(given: Given, operator: Operator) -> Start:
    from ..assimilate.start import start_cold, start_from

    if given.history is None:
        if given.truth or given.cold:
            raise ValueError("--truth and --cold need a dataset: --history DATASET")
        parameters = {}
        for name, value in given.parameter.items():
            if not isinstance(value, float):
                raise ValueError(f"--parameter {name} needs one value here, not a range")
            parameters[name] = value
        return start_cold(operator, None, parameters, given.start_time, given.prescribed)
    if given.parameter:
        raise ValueError("--parameter has no meaning with --history; the dataset has its own")
    frame = operator.history - 1 if given.frame is None else given.frame
    start = start_from(operator, given.open(), given.trajectory, frame, given.prescribed)
    return replace(start, history=None) if given.cold else start


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
        f"{outcome.forecasts} forecast frames; {outcome.verdict.said})"
    )
    if outcome.figure is not None:
        print(f"figure: {outcome.figure}")
