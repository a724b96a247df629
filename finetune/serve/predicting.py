"""Predictions that a request asks for."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from ...datasets.base.config import build
from ...datasets.base.texts import parse_json, read_text
from ...datasets.fields.labelled_axes import find_dims
from ...operators.core.operator import Operator
from ...operators.core.predicted import LEAD
from .along import IN_FILE, IN_JSON
from .answers import Answer, Shown, answer
from .asked import Forecast, Predict, Wanted
from .refusals import TooLarge, told
from .shelf import Shelf
from .starting import Start, start_of
from .uploads import opened

MOST_STEPS = 1_000_000  # that an operator takes for one answer


def predict(shelf: Shelf, body: Path) -> Answer:
    """A forecast that a JSON body asks for."""
    text = read_text(body, shelf.served.limits.upload)
    asked = build(Predict, parse_json(text))
    operator = shelf.operator(asked.checkpoint)
    start = start_of(shelf, operator, asked)
    with told(IN_JSON):
        return _predicted(shelf, operator, start, asked.forecast, asked.answer, body.parent)


def predict_file(shelf: Shelf, query: Mapping[str, Any], body: Path) -> Answer:
    """A forecast from the frames of an uploaded file; `query` has what else is asked."""
    operator = shelf.operator(str(query.get("checkpoint", "")))
    about = operator.description
    data = opened(body, about.channels, shelf.served.limits.values)
    first = next(name for name in about.channels if name in data)
    dims = find_dims(data, first, operator.ndim, about.axes)
    sample = query.get("sample")
    if sample is not None:
        data = _one_sample(data, dims.samples, sample)
    _require_bounded_driving(data, about.prescribed, dims.space, shelf.served.limits.values)
    asked = build(Forecast, query.get("forecast", {}))
    wanted = build(Wanted, query.get("answer", {}))
    start = Start(data, moment=_moment(query.get("start"), data, dims.time))
    with told(IN_FILE):
        return _predicted(shelf, operator, start, asked, wanted, body.parent)


def _require_bounded_driving(
    data: xarray.Dataset, names: Sequence[str], space: Sequence[str], most: int
) -> None:
    """Refuse what would be too much once it is held on the whole grid, as what is prescribed is."""
    points = math.prod(data.sizes[dim] for dim in space)
    for name in names:
        if name not in data:
            continue
        own = [size for dim, size in data[name].sizes.items() if dim not in space]
        if math.prod(own) * points > most:
            raise TooLarge(f"{name} has more than the {most:,} numbers that it may on the grid")


def _moment(text: str | None, data: xarray.Dataset, time: str | None) -> Any:
    """The initial time that is asked for, as the file counts: a number, a frame's, or a date."""
    times = data.coords.get(time or "time")
    if text is None or (times is not None and times.dtype.kind in "MO"):
        return text
    try:
        return int(text) if times is None else float(text)
    except ValueError:
        return text


def _one_sample(data: xarray.Dataset, dims: tuple[str, ...], sample: int) -> xarray.Dataset:
    """Sample `sample` of all that the dimensions count."""
    sizes = [data.sizes[dim] for dim in dims]
    if sample >= math.prod(sizes):
        raise ValueError(f"the file has {math.prod(sizes)} sample(s); got sample {sample}")
    place = np.unravel_index(sample, sizes) if sizes else ()
    return data.isel(dict(zip(dims, map(int, place), strict=True)))


def _predicted(
    shelf: Shelf,
    operator: Operator,
    start: Start,
    asked: Forecast,
    wanted: Wanted,
    folder: Path,
) -> Answer:
    wishes = _wishes(operator, start, asked)
    _require_bounded(shelf, operator, start, asked, wishes)
    given, moment = start.data()
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = operator.predict(given, start=moment, **wishes)
    seconds = time.perf_counter() - began
    known = {"verdict", "provenance"}
    more = {
        "verdict": json.loads(data.attrs["verdict"]),
        "warnings": [str(one.message) for one in said],
        "seconds": round(seconds, 4),
        "about": {k: v for k, v in data.attrs.items() if k not in known},
    }
    fields = operator.description.fields
    dims = find_dims(start.given, _any(operator, start.given), operator.ndim,
                     operator.description.axes)  # fmt: skip
    truth = {} if start.stored is None else _truth(start.stored, data, fields)
    shown = Shown(data, fields, dims.space, start.given, truth, more)
    return answer(shown, wanted, folder)


def _any(operator: Operator, data: xarray.Dataset) -> str:
    """A channel that the data have.

    Raises:
        ValueError: they have none.
    """
    for name in operator.description.channels:
        if name in data:
            return name
    raise ValueError(
        f"{operator.name} takes {', '.join(operator.description.channels)}, and the data have "
        f"{', '.join(map(str, data.data_vars)) or 'nothing'}"
    )


def _wishes(operator: Operator, start: Start, asked: Forecast) -> dict[str, Any]:
    wishes: dict[str, Any] = {
        "mode": asked.mode,
        "members": asked.members,
        "perturbation": asked.perturbation,
        "seed": asked.seed,
        "parameters": asked.parameters,
        "prescribed": start.driving,
        "strict": asked.strict,
    }
    if operator.description.inputs:
        return wishes
    if asked.times is not None and asked.steps is None:
        return wishes | {"times": asked.times}
    if asked.times is None and asked.steps is None and not start.steps:
        raise ValueError("say how far to predict: forecast.steps or forecast.times")
    steps = start.steps if asked.steps is None else asked.steps
    return wishes | {"times": asked.times, "steps": steps}


def _require_bounded(
    shelf: Shelf, operator: Operator, start: Start, asked: Forecast, wishes: Mapping[str, Any]
) -> None:
    """Refuse what would be too much, before anything is computed."""
    times = wishes.get("times") or ()
    frames = len(times) or wishes.get("steps") or 1
    given = start.given[_any(operator, start.given)]
    points = given.size // max(1, given.sizes.get("time", 1))
    values = frames * (asked.members or 1) * points * len(operator.description.fields)
    most = shelf.served.limits.values
    if values > most:
        raise TooLarge(
            f"the answer would have {values:,} numbers, and may have {most:,}: ask for fewer "
            "steps or members"
        )
    step = min(operator.description.time_steps, default=math.inf)
    if frames > MOST_STEPS or (times and max(times) / step > MOST_STEPS):
        raise TooLarge(f"that is more than {MOST_STEPS:,} steps")


def _truth(
    stored: xarray.Dataset, data: xarray.Dataset, fields: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Stored values at the predicted times, NaN where there are none; () where none are at all."""
    names = [name for name in fields if name in stored]
    if LEAD not in data.variables:
        return {name: np.asarray(stored[name].values) for name in names}
    leads = np.asarray(data[LEAD].values, np.float64)
    since = np.asarray(stored["time"].values, np.float64)
    since = since - since[0]
    if len(since) < 2:
        return {}
    nearest = np.abs(since[None] - leads[:, None]).argmin(1)
    found = np.abs(since[nearest] - leads) < 1e-3 * (since[1] - since[0])
    if not found.any():
        return {}
    truth = {}
    for name in names:
        values = np.full((len(leads), *stored[name].shape[1:]), np.nan, np.float32)
        chosen = nearest[found]
        block = stored[name].isel(time=slice(int(chosen.min()), int(chosen.max()) + 1)).values
        values[found] = block[chosen - chosen.min()]
        truth[name] = values
    return truth
