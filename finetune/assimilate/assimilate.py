"""`pelagos assimilate`: a checkpoint and a file of observations to analyses and a forecast.

NetCDF with dims (time, x[, y, z]); per field NAME (estimate) and NAME_spread (its standard
deviation); `measured` counts the sensors at each time, 0 in the forecast. Frames are written one by
one, so that memory does not grow with their number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import torch

from ...datasets.base.appearing import appearing_file
from ...datasets.base.config import plain
from ...datasets.base.progress import Bar
from ...datasets.fields import metrics
from ...datasets.fields.grid import Grid
from ...datasets.fields.window import Context
from ...datasets.stores.store import Store
from ...operators.assimilation.ensemble import EnsembleGain
from ...operators.assimilation.operator import AssimilatingOperator
from ...operators.core.operator import Operator
from .assimilator import Assimilator, Estimate
from .figure import Picture, require_drawable
from .observations import Domain, ObservationFile

SPREAD = "_spread"


@dataclass(frozen=True)
class Start:
    """Where an estimate starts.

    Attributes:
        context: fields, grid, parameters; tensors with a batch axis of 1.
        time: physical time.
        history: (1, T, C, *S), or None where nothing is known.
        units: as the dataset of the history says.
    """

    context: Context
    time: float
    history: torch.Tensor | None
    units: Mapping[str, str]


def require_assimilating(operator: Operator) -> AssimilatingOperator:
    """The same operator, known to assimilate.

    Raises:
        ValueError: it only predicts.
    """
    if not isinstance(operator, AssimilatingOperator):
        raise ValueError(
            f"this {operator.name} predicts but cannot assimilate; wrap it "
            "(pelagos.operators.assimilate) and train the correction, or train an observer"
        )
    return operator


def start_cold(
    operator: Operator, grid: Grid | None, parameters: Mapping[str, float], time: float
) -> Start:
    """A start that knows nothing but the grid and the parameters.

    Args:
        operator: its description has the training grid, used where `grid` is None.
        grid: the domain.
        parameters: by name.
        time: physical time of the start.

    Raises:
        ValueError: no grid is known.
    """
    description = operator.description
    grid = grid or description.grid
    if grid is None:
        raise ValueError(
            "the checkpoint was trained on several grids; say which with --history DATASET"
        )
    names = tuple(parameters)
    values = torch.tensor([[parameters[name] for name in names]]) if names else None
    context = Context(description.fields, grid, parameters=values, parameter_names=names)
    return Start(context, time, None, description.units)


def start_from(operator: Operator, store: Store, trajectory: int, frame: int) -> Start:
    """A start from stored frames, the last of which is `frame`.

    Raises:
        ValueError: no such trajectory or frames, or a field is missing.
    """
    if not 0 <= trajectory < len(store):
        raise ValueError(f"{store.name!r} has {len(store)} trajectories; got {trajectory}")
    history = operator.history
    first = frame - history + 1
    if first < 0 or frame >= store.n_frames(trajectory):
        raise ValueError(
            f"a history of {history} frame(s) up to frame {frame} does not fit trajectory "
            f"{trajectory} of {store.name!r}, which has {store.n_frames(trajectory)}"
        )
    window = store.window(trajectory, first, history, 0).select(operator.description.fields)
    context = window.context.map(lambda tensor: tensor[None])
    time = float(store.trajectory_times(trajectory)[frame])
    return Start(context, time, window.history[None], store.units)


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
    """

    path: Path
    figure: Path | None
    analyses: int
    forecasts: int
    used: int
    problems: list[str]
    scores: dict[str, dict[str, float]]


def assimilate(
    operator: AssimilatingOperator,
    start: Start,
    observations: Path,
    out: Path,
    *,
    figure: Path | None = None,
    forecast: int = 10,
    every: float | None = None,
    members: int = 1,
    gain: EnsembleGain | None = None,
    variance: float | None = None,
    seed: int = 0,
    skip_invalid: bool = False,
    truth: tuple[Store, int] | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Outcome:
    """Analyses at every time of the file, then a forecast; see the module's docstring.

    Args:
        operator: with its weights, on the device to compute on.
        start: where the estimate starts.
        observations: the file.
        out: NetCDF file to write.
        figure: SVG or PNG file to write.
        forecast: frames after the last measurement.
        every: time between them; by default the operator's time step.
        members: of the ensemble; 1: none, and the operator's own gain.
        gain: how the ensemble's covariance is used.
        variance: of the error of the start; see `Assimilator`.
        seed: of the ensemble's perturbations.
        skip_invalid: leave rows out that are wrong.
        truth: store and trajectory whose frames score the estimates at equal times.
        overwrite: replace existing files.
        progress: show a bar on the error stream.

    Raises:
        ValueError: a file exists or cannot be read, a row is wrong, or times do not fit.
    """
    if figure is not None:
        require_drawable(figure)
    context = start.context
    domain = Domain(context.fields, context.grid, start.time)
    file = ObservationFile(observations, domain, skip_invalid=skip_invalid)
    every = every or max(operator.description.time_steps, default=0.0)
    if forecast and not every > 0:
        raise ValueError(
            "the operator knows no time step; say how far apart forecasts are: --every"
        )
    device = next(operator.parameters()).device
    assimilator = Assimilator(
        operator,
        context.map(lambda tensor: tensor.to(device)),
        time=start.time,
        history=None if start.history is None else start.history.to(device),
        variance=variance,
        members=members,
        gain=gain,
        seed=seed,
    )
    picture = Picture(context, start.units)
    scores = {"analyses": _Scores(context, truth), "forecast": _Scores(context, truth)}
    counts = {True: 0, False: 0}
    with appearing_file(out, overwrite=overwrite) as draft:
        with h5netcdf.File(draft, "w") as written:
            writer = _Writer(written, operator, start)
            with Bar("assimilate", file.count, unit="readings", active=progress) as bar:
                for estimate, measured in _run(assimilator, file, forecast, every):
                    writer.append(estimate, measured)
                    picture.add(estimate, measured)
                    scores["analyses" if measured else "forecast"].add(estimate)
                    counts[measured > 0] += 1
                    bar.advance(float(measured))
        if figure is not None:
            picture.write(figure, overwrite)
    found = {
        f"{k} of {name}": row for k, part in scores.items() for name, row in part.mean().items()
    }
    return Outcome(out, figure, counts[True], counts[False], file.count, file.problems, found)


def _run(
    assimilator: Assimilator, file: ObservationFile, forecast: int, every: float
) -> Iterator[tuple[Estimate, int]]:
    """Estimates in order of time, and how many sensors each has seen."""
    for time, sensors in file:
        yield assimilator.step(time, sensors), len(sensors.fields)
    last = assimilator.time
    for k in range(1, forecast + 1):
        yield assimilator.step(last + k * every), 0


class _Writer:
    """Appends estimates to a NetCDF file along its time."""

    def __init__(self, file: h5netcdf.File, operator: Operator, start: Start) -> None:
        self.file, self.fields, self.count = file, start.context.fields, 0
        grid = start.context.grid
        axes = "xyz"[: grid.ndim]
        file.dimensions = {"time": None, **dict(zip(axes, grid.shape, strict=True))}
        for axis, points in zip(axes, grid.coordinates(), strict=True):
            self._create(axis, (axis,), "f8", start.units.get("length"))[:] = points.numpy()
        self._create("time", ("time",), "f8", start.units.get("time"))
        about = self._create("measured", ("time",), "i4", None)
        about.attrs["long_name"] = "sensors at this time; 0: a forecast"
        for name in self.fields:
            for label, words in ((name, "estimate of"), (name + SPREAD, "standard deviation of")):
                made = self._create(label, ("time", *axes), "f4", start.units.get(name))
                made.attrs["long_name"] = f"{words} {name}"
        file.attrs["operator"] = operator.name
        file.attrs["provenance"] = json.dumps(
            plain(operator.description.provenance), sort_keys=True
        )

    def append(self, estimate: Estimate, measured: int) -> None:
        t, self.count = self.count, self.count + 1
        self.file.resize_dimension("time", self.count)
        self.file.variables["time"][t] = estimate.time
        self.file.variables["measured"][t] = measured
        for values, suffix in ((estimate.mean, ""), (estimate.spread, SPREAD)):
            for name, channel in zip(self.fields, values.cpu().float().numpy(), strict=True):
                self.file.variables[name + suffix][t] = channel

    def _create(self, name: str, dims: tuple[str, ...], kind: str, unit: str | None) -> Any:
        made = self.file.create_variable(name, dims, kind)
        if unit:
            made.attrs["units"] = unit
        return made


class _Scores:
    """Scores of estimates against stored frames of the same time."""

    def __init__(self, context: Context, truth: tuple[Store, int] | None) -> None:
        self.context, self.truth = context, truth
        self.sums: dict[str, list[np.ndarray]] = {"mse": [], "variance": [], "crps": []}
        if truth is not None:
            missing = [name for name in context.fields if name not in truth[0].fields]
            if missing or truth[0].grid.shape != context.grid.shape:
                raise ValueError(
                    f"the truth needs the fields {', '.join(context.fields)} on "
                    f"{'×'.join(map(str, context.grid.shape))} points; {truth[0].name!r} differs"
                )

    def add(self, estimate: Estimate) -> None:
        if self.truth is None:
            return
        store, trajectory = self.truth
        times = store.trajectory_times(trajectory)
        frame = int(np.abs(times - estimate.time).argmin())
        step = store.dt or 1.0
        if abs(times[frame] - estimate.time) > 1e-3 * step:
            return
        channels = [store.fields.index(name) for name in self.context.fields]
        target = store.read(trajectory, frame, frame + 1)[0, channels].double()
        ndim, members = self.context.grid.ndim, estimate.members.double().cpu()
        error = (estimate.mean.double().cpu() - target).square().flatten(1).mean(1)
        spread = estimate.spread.double().cpu().square().flatten(1).mean(1)
        self.sums["mse"].append(error.numpy())
        self.sums["variance"].append(spread.numpy())
        self.sums["crps"].append(metrics.crps(members, target, ndim).numpy())

    def mean(self) -> dict[str, dict[str, float]]:
        if not self.sums["mse"]:
            return {}
        found = {key: np.mean(values, 0) for key, values in self.sums.items()}
        return {
            name: {
                "rmse": math.sqrt(found["mse"][c]),
                "spread / rmse": math.sqrt(found["variance"][c] / max(found["mse"][c], 1e-300)),
                "crps": float(found["crps"][c]),
            }
            for c, name in enumerate(self.context.fields)
        }
