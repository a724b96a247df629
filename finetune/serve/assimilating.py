"""Estimates that a request asks for, from readings or from sensors placed on a stored sample."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray

from ...datasets.base.config import build
from ...datasets.base.texts import parse_json, read_text
from ...datasets.fields.vocabulary import AXES
from ...datasets.fields.window import Context
from ...datasets.files.netcdf_written import write_netcdf
from ...operators.assimilation.measurement import sample as measured_at
from ...operators.core.observation import Sensors
from ...operators.core.operator import Operator
from ..assimilate.assimilate import assimilate as run
from ..assimilate.observations import InvalidRows
from ..assimilate.settings import Outputs, Settings
from ..assimilate.start import Start, require_assimilating, start_cold
from ..assimilate.start import start_from as start_stored
from ..assimilate.writer import SPREAD
from .along import IN_JSON, along
from .answers import Answer, Shown, answer
from .asked import Assimilate, Network
from .refusals import Refused, TooLarge, told
from .shelf import Shelf
from .starting import start_from

MOST_SENSORS = 2_000
FILE, DRIVING = "observations.csv", "prescribed.nc"


def assimilate(shelf: Shelf, body: Path) -> Answer:
    """Analyses and a forecast that a JSON body asks for."""
    asked = build(Assimilate, parse_json(read_text(body, shelf.served.limits.upload)))
    operator = require_assimilating(shelf.operator(asked.checkpoint))
    with told(IN_JSON):
        start, stored = _start(shelf, operator, asked, body.parent)
    if bool(asked.observations) == (asked.network is not None):
        raise ValueError("give either observations or a network of sensors")
    rows = [dict(row) for row in asked.observations]
    if asked.network is not None:
        rows = _readings(start, stored, asked.network, asked.seed)
    frames = len({row.get("time") for row in rows}) + asked.forecast
    points = int(np.prod(start.context.grid.shape)) * len(start.context.fields)
    most = shelf.served.limits.values
    if 2 * frames * asked.members * points > most:
        raise TooLarge(f"the estimates would have more than the {most:,} numbers that they may")
    _write(body.parent / FILE, rows)
    outputs = Outputs(body.parent / "analysis.nc")
    settings = Settings(members=asked.members, seed=asked.seed, forecast=asked.forecast)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            with told(IN_JSON):
                outcome = run(operator, start, body.parent / FILE, outputs, settings)
        except InvalidRows as error:
            raise Refused(f"{error.reason}; line 2 is the first of the observations") from None
    with xarray.open_dataset(outcome.path, engine="h5netcdf", decode_times=False) as data:
        shown = _shown(data.load(), operator, start, stored, rows)
    texts = [str(one.message) for one in said]
    more = {**shown.more, "warnings": texts, "verdict": json.loads(outcome.verdict.to_json())}
    return answer(replace(shown, more=more), asked.answer, body.parent)


def _start(
    shelf: Shelf, operator: Operator, asked: Assimilate, folder: Path
) -> tuple[Start, xarray.Dataset | None]:
    """Where the estimate starts, and the stored trajectory from there on."""
    if asked.sample is None:
        grid, about = operator.description.grid, operator.description
        axes = about.axes or AXES[: operator.ndim]
        given = None
        if grid is not None:
            points = dict(zip(axes, grid.shape, strict=True))
            given = _prescribed(shelf, operator, asked, (0.0, points), folder)
        return start_cold(operator, grid, asked.parameters, 0.0, given), None
    if asked.parameters:
        raise ValueError("parameters have no meaning with a sample; the dataset has its own")
    store = shelf.store(asked.sample.dataset)
    found = start_from(store, operator, asked.sample).stored
    assert found is not None, "it is a sample"
    moment, times = float(found["time"][0]), store.trajectory_times(asked.sample.trajectory)
    frame = int(np.abs(np.asarray(times) - moment).argmin())
    points = dict(zip(store.axes, store.grid.shape, strict=True))
    given = _prescribed(shelf, operator, asked, (moment, points), folder)
    start = start_stored(operator, store, asked.sample.trajectory, frame, given)
    return (replace(start, history=None) if asked.cold else start), found


def _prescribed(
    shelf: Shelf,
    operator: Operator,
    asked: Assimilate,
    where: tuple[float, dict[str, int]],
    folder: Path,
) -> str | None:
    """A file of what a request prescribes from a moment on, on so many points of each axis."""
    if asked.prescribed is None:
        return None
    (moment, points), names = where, operator.description.prescribed
    times, most = moment + np.asarray(asked.prescribed.times), shelf.served.limits.values
    write_netcdf(along(asked.prescribed, names, points, times, most), folder / DRIVING)
    return str(folder / DRIVING)


def _readings(
    start: Start, stored: xarray.Dataset | None, network: Network, seed: int
) -> list[dict[str, Any]]:
    """What the sensors of a network measure of the stored frames."""
    if stored is None:
        raise ValueError("a network of sensors reads a stored trajectory: give a sample")
    names = network.fields or start.context.fields
    unknown = [name for name in names if name not in stored]
    if unknown:
        raise ValueError(f"network.fields: the dataset has no {unknown[0][:60]!r}")
    grid = start.context.grid
    if any(len(place) != grid.ndim for place in network.positions) or not network.positions:
        raise ValueError(f"network.positions must be lists of {grid.ndim} coordinate(s)")
    if len(network.positions) * len(names) > MOST_SENSORS:
        raise TooLarge(f"a network may have {MOST_SENSORS:,} sensors")
    last = stored.sizes["time"] - 1
    chosen = range(network.every, min(last, network.times * network.every) + 1, network.every)
    if not chosen:
        raise ValueError("no stored frame follows the start; choose an earlier frame")
    rng = np.random.default_rng(seed)
    places = torch.tensor(network.positions, dtype=torch.float64)
    rows: list[dict[str, Any]] = []
    for frame in chosen:
        at = stored.isel(time=frame)
        for name in names:
            values = np.asarray(at[name].values)
            std = max(network.noise * float(np.nanstd(values)), 1e-12)
            sensors = Sensors(torch.zeros(1, len(places)), places, (name,) * len(places))
            context = Context((name,), grid)
            field = torch.from_numpy(values)[None, None].double()
            exact = measured_at(field, sensors, context)[0].numpy()
            if np.isnan(exact).any():
                raise ValueError("a sensor stands where the field is masked; move it")
            for place, value in zip(network.positions, exact, strict=True):
                axes = dict(zip("xyz", place, strict=False))
                error = std * rng.standard_normal() if network.noise else 0.0
                reading = {"field": name, "value": float(value + error), "std": std}
                rows.append({"time": float(at["time"]), **axes, **reading})
    return rows


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _shown(
    data: xarray.Dataset,
    operator: Operator,
    start: Start,
    stored: xarray.Dataset | None,
    rows: list[dict[str, Any]],
) -> Shown:
    fields = operator.description.fields
    space = tuple("xyz"[: start.context.grid.ndim])
    leads = data["time"].values - start.time
    data = data.assign_coords(lead_time=("time", leads))
    truth: Mapping[str, np.ndarray] = {}
    if stored is not None:
        truth = _truth_at(data["time"].values, stored, fields)
    spread = {name: data[name + SPREAD].values for name in fields}
    more = {
        "measured": data["measured"].values.tolist(),
        "spread_mean": {n: [float(np.nanmean(x)) for x in values] for n, values in spread.items()},
        "readings": len(rows),
    }
    given = None if stored is None else stored.isel(time=slice(0, 1)).rename(
        dict(zip(_space(stored, fields[0]), space, strict=True)))  # fmt: skip
    return Shown(data, fields, space, given, truth, more)


def _space(stored: xarray.Dataset, name: str) -> list[str]:
    return [str(dim) for dim in stored[name].dims if dim != "time"]


def _truth_at(
    times: np.ndarray, stored: xarray.Dataset, fields: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Stored values at estimates' times, NaN where there are none."""
    known = np.asarray(stored["time"].values, np.float64)
    if len(known) < 2:
        return {}
    nearest = np.abs(known[None] - times[:, None]).argmin(1)
    there = np.abs(known[nearest] - times) < 1e-3 * (known[1] - known[0])
    found = {}
    for name in fields:
        values = np.full((len(times), *stored[name].shape[1:]), np.nan, np.float32)
        values[there] = stored[name].isel(time=nearest[there]).values
        found[name] = values
    return found
