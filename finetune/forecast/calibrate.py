"""Error bands from held-out trajectories, and how often they hold on others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from ...datasets.stores.store import Store
from ...operators.core.calibration import Calibration, conformal, score
from ...operators.core.operator import Operator
from .frames import forecast, truth
from .labels import masked_points
from .plan import Plan, make_plan
from .request import Request


def calibrate(
    operator: Operator,
    store: Store,
    coverage: float = 0.9,
    request: Request | None = None,
    *,
    progress: bool = False,
    **wishes: Any,
) -> Calibration:
    """Error bands of a forecast by lead time, from trajectories that training never saw.

    Args:
        operator: moved to the device and set to evaluation mode.
        store: of trajectories of the kind that will be predicted, none of them trained on.
        coverage: c; see `operators.core.calibration` for what it states.
        request: what to predict, at times where frames are stored.
        progress: show a bar on the error stream.
        wishes: attributes of `Request` in place of the request's, as in `steps=20`.

    Raises:
        ValueError: too few trajectories for this coverage, or as in `evaluate`.
    """
    request = replace(request or Request(), **wishes)
    plan = make_plan(operator, store, request)
    conformal(np.zeros(len(plan.trajectories)), coverage)  # refuses before any work
    scores = _scores(operator, store, plan, request, coverage, progress)
    bands = conformal(scores, coverage)
    return Calibration(
        coverage,
        len(scores),
        store.name,
        plan.leads,
        {name: tuple(map(_rounded, bands[:, c])) for c, name in enumerate(plan.fields)},
    )


def held(
    calibration: Calibration,
    operator: Operator,
    store: Store,
    request: Request | None = None,
    *,
    progress: bool = False,
) -> dict[str, Float[np.ndarray, " T"]]:
    """The share of trajectories within the bands, by field and calibrated lead time.

    Raises:
        ValueError: as in `calibrate`, or the data end before the bands do.
    """
    steps = len(calibration.leads)
    request = replace(request or Request(), steps=steps)
    plan = make_plan(operator, store, request)
    scores = _scores(operator, store, plan, request, calibration.coverage, progress)
    return {
        name: (scores[:, :, c] <= calibration.band(name, plan.leads)).mean(axis=0)
        for c, name in enumerate(plan.fields)
    }


def _scores(
    operator: Operator,
    store: Store,
    plan: Plan,
    request: Request,
    coverage: float,
    progress: bool,
) -> Float[np.ndarray, "N T C"]:
    found = np.empty((len(plan.trajectories), plan.steps, len(plan.fields)))
    for step in forecast(operator, store, plan, request, title="calibrate", progress=progress):
        error = (step.fields.cpu() - truth(store, plan, step.trajectories, step.index)).numpy()
        for row, i in enumerate(step.trajectories):
            elsewhere = masked_points(store, plan.fields, i)
            if elsewhere is not None:
                error[row][elsewhere] = np.nan
        for c in range(len(plan.fields)):
            found[step.rows, step.index, c] = score(error[:, c], coverage)
    return found


def _rounded(value: float) -> float:
    """Six digits, upwards, as bands must not become narrower."""
    if not np.isfinite(value) or value <= 0:
        return float(max(value, 0.0))
    digits = 5 - int(np.floor(np.log10(value)))
    return float(np.nextafter(np.ceil(value * 10.0**digits) / 10.0**digits, np.inf))
