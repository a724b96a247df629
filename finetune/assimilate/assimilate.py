"""A checkpoint and a file of observations to analyses and a forecast."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5netcdf

from ...datasets.base.appearing import appearing_file
from ...datasets.base.progress import Bar
from ...datasets.stores.store import Store
from ...operators.assimilation.operator import AssimilatingOperator
from ...operators.core.observation import Sensors
from ...operators.core.verdict import Verdict
from .assimilator import MOST_STEPS, Assimilator, Estimate
from .figure import Picture
from .observations import Domain, ObservationFile
from .scores import Scores
from .settings import Outputs, Settings
from .start import Start
from .trust import Trust
from .writer import Writer

REMEDY = "correct the readings or their noise, fine-tune on such data, or assimilate"


@dataclass(frozen=True)
class Outcome:
    """What was written.

    Attributes:
        path, figure: the files; no figure if none was asked for.
        analyses, forecasts: frames of each.
        used: readings.
        problems: rows that were left out.
        scores: with a truth: RMSE, CRPS, and spread over error, per field, of analyses and of the
            forecast apart.
        verdict: whether readings and spread agree, and all is inside of what was trained.
    """

    path: Path
    figure: Path | None
    analyses: int
    forecasts: int
    used: int
    problems: list[str]
    scores: dict[str, dict[str, float]]
    verdict: Verdict


def assimilate(
    operator: AssimilatingOperator,
    start: Start,
    observations: Path,
    outputs: Outputs | None = None,
    settings: Settings | None = None,
    *,
    truth: tuple[Store, int] | None = None,
    progress: bool = False,
) -> Outcome:
    """Analyses at every time of the file, then a forecast, written one by one; see `writer`.

    Args:
        operator: with its weights, on the device to compute on.
        start: where the estimate starts.
        observations: the file.
        outputs: files to write.
        settings: how, and how far.
        truth: store and trajectory whose frames score the estimates at equal times.
        progress: show a bar on the error stream.

    Raises:
        ValueError: a file exists or cannot be read, a row is wrong, or times do not fit; or
            `settings.strict` is set and the verdict is "outside".
    """
    outputs, settings = outputs or Outputs(), settings or Settings()
    outputs.require_free()
    reach = MOST_STEPS * max(operator.description.time_steps, default=math.inf)
    domain = _domain(start, reach)
    file = ObservationFile(observations, domain, skip_invalid=settings.skip_invalid)
    estimates = _estimates(operator, start, file, settings)
    collected = _Collected(operator, start, file, truth)
    with appearing_file(outputs.out, overwrite=outputs.overwrite) as draft:
        with h5netcdf.File(draft, "w") as written:
            writer = Writer(written, operator, start)
            with Bar("assimilate", file.count, unit="readings", active=progress) as bar:
                for estimate, sensors in estimates:
                    measured = 0 if sensors is None else len(sensors.fields)
                    writer.append(estimate, measured)
                    collected.add(estimate, sensors)
                    bar.advance(float(measured))
            outcome = collected.outcome(outputs)
            outcome.verdict.act(settings.strict, remedy=REMEDY)
            writer.finish(outcome.verdict)
        if outputs.figure is not None:
            collected.picture.write(outputs.figure, outputs.overwrite, outcome.verdict)
    return outcome


def _domain(start: Start, reach: float) -> Domain:
    """What the readings of a file can be of."""
    context = start.context
    mask = None if context.mask is None else context.mask[0].cpu()
    return Domain(
        context.fields,
        context.grid,
        start.time,
        reach,
        axes=start.axes,
        units=start.units,
        dates=start.dates,
        mask=mask,
    )


class _Collected:
    """What is kept of the estimates beside the file."""

    def __init__(
        self,
        operator: AssimilatingOperator,
        start: Start,
        file: ObservationFile,
        truth: tuple[Store, int] | None,
    ) -> None:
        self.file, self.picture = file, Picture(start.context, start.units)
        self.trust = Trust(operator, start, file.problems)
        self.scores = {name: Scores(start.context, truth) for name in ("analyses", "forecast")}
        self.analyses = self.forecasts = 0

    def add(self, estimate: Estimate, sensors: Sensors | None) -> None:
        """Take an estimate into account, and what it has seen."""
        self.picture.add(estimate, sensors)
        self.trust.add(estimate)
        self.scores["forecast" if sensors is None else "analyses"].add(estimate)
        self.forecasts += sensors is None
        self.analyses += sensors is not None

    def outcome(self, outputs: Outputs) -> Outcome:
        """All of it."""
        parts = ((label, part.mean()) for label, part in self.scores.items())
        found = {f"{label} of {name}": row for label, part in parts for name, row in part.items()}
        return Outcome(
            path=outputs.out,
            figure=outputs.figure,
            analyses=self.analyses,
            forecasts=self.forecasts,
            used=self.file.count,
            problems=self.file.problems,
            scores=found,
            verdict=self.trust.verdict(found),
        )


def _estimates(
    operator: AssimilatingOperator, start: Start, file: ObservationFile, settings: Settings
) -> Iterator[tuple[Estimate, Sensors | None]]:
    """Estimates in order of time, and what each has seen.

    What cannot be is refused here, before the first is asked for.
    """
    every = settings.every or max(operator.description.time_steps, default=0.0)
    if settings.forecast and not every > 0:
        raise ValueError(
            "the operator knows no time step; say how far apart forecasts are: --every"
        )
    device = next(operator.parameters()).device
    assimilator = Assimilator(
        operator,
        start.context.to(device),
        time=start.time,
        history=None if start.history is None else start.history.to(device),
        variance=settings.variance,
        members=settings.members,
        gain=settings.gain(),
        seed=settings.seed,
    )
    if settings.forecast and every > assimilator.reach():
        raise ValueError(
            f"--every {every:g} is more than the operator reaches from one time to the next, "
            f"{assimilator.reach():g}"
        )
    return _run(assimilator, file, settings.forecast, every)


def _run(
    assimilator: Assimilator, file: ObservationFile, forecast: int, every: float
) -> Iterator[tuple[Estimate, Sensors | None]]:
    """Estimates in order of time, and what each has seen."""
    for time, sensors in file:
        yield assimilator.step(time, sensors), sensors
    last = assimilator.time
    for k in range(1, forecast + 1):
        yield assimilator.step(last + k * every), None
