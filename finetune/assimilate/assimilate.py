"""A checkpoint and a file of observations to analyses and a forecast."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5netcdf

from ...datasets.base.appearing import appearing_file
from ...datasets.base.progress import Bar
from ...datasets.files.disk import written
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
    domain = Domain(start.context.fields, start.context.grid, start.time, reach)
    file = ObservationFile(observations, domain, skip_invalid=settings.skip_invalid)
    estimates = _estimates(operator, start, file, settings)
    picture = Picture(start.context, start.units)
    scores = {"analyses": Scores(start.context, truth), "forecast": Scores(start.context, truth)}
    counts, trust = {True: 0, False: 0}, Trust(operator, start, file.problems)
    with appearing_file(outputs.out, overwrite=outputs.overwrite) as draft:
        with written(draft) as disk, h5netcdf.File(disk, "w") as analysis:
            writer = Writer(analysis, operator, start)
            with Bar("assimilate", file.count, unit="readings", active=progress) as bar:
                for estimate, sensors in estimates:
                    measured = 0 if sensors is None else len(sensors.fields)
                    writer.append(estimate, measured)
                    picture.add(estimate, sensors)
                    trust.add(estimate)
                    scores["analyses" if measured else "forecast"].add(estimate)
                    counts[measured > 0] += 1
                    bar.advance(float(measured))
            found = {
                f"{k} of {n}": row for k, part in scores.items() for n, row in part.mean().items()
            }
            verdict = trust.verdict(found)
            verdict.act(settings.strict, remedy=REMEDY)
            writer.finish(verdict)
        if outputs.figure is not None:
            picture.write(outputs.figure, outputs.overwrite, verdict)
    return Outcome(
        path=outputs.out,
        figure=outputs.figure,
        analyses=counts[True],
        forecasts=counts[False],
        used=file.count,
        problems=file.problems,
        scores=found,
        verdict=verdict,
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
