"""Estimates into a NetCDF file, one by one, so that memory does not grow with their number.

Dims (time, x[, y, z]); per field NAME (estimate) and NAME_spread (its standard deviation);
`measured` counts the sensors at each time, 0 in the forecast. Where a field is masked, it is NaN.
The attribute `verdict` says what is to be believed, as that of a prediction.
"""

from __future__ import annotations

import json
from typing import Any

import h5netcdf
import torch
from jaxtyping import Bool
from torch import Tensor

from ...datasets.base.config import plain
from ...datasets.fields.window import Context
from ...operators.core.operator import Operator
from ...operators.core.verdict import Verdict
from .assimilator import Estimate
from .start import Start

SPREAD = "_spread"


def shown_mask(context: Context) -> Bool[Tensor, "C *S"] | None:
    """Where fields have values to show; those that are masked entirely have, everywhere."""
    if context.mask is None:
        return None
    mask = context.mask[0].cpu()
    nowhere = ~mask.flatten(1).any(1)
    return mask | nowhere.reshape(-1, *(1,) * context.grid.ndim)


class Writer:
    """Appends estimates to a NetCDF file along its time."""

    def __init__(self, file: h5netcdf.File, operator: Operator, start: Start) -> None:
        self.file, self.fields, self.count = file, start.context.fields, 0
        self.mask, grid = shown_mask(start.context), start.context.grid
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
        """Write one estimate, which `measured` sensors have seen."""
        t, self.count = self.count, self.count + 1
        self.file.resize_dimension("time", self.count)
        self.file.variables["time"][t] = estimate.time
        self.file.variables["measured"][t] = measured
        for values, suffix in ((estimate.mean, ""), (estimate.spread, SPREAD)):
            values = values.cpu().float()
            if self.mask is not None:
                values = torch.where(self.mask, values, torch.nan)
            for name, channel in zip(self.fields, values.numpy(), strict=True):
                self.file.variables[name + suffix][t] = channel

    def finish(self, verdict: Verdict) -> None:
        """Say what is to be believed; `verdict_of(dataset)` reads it."""
        self.file.attrs["verdict"] = verdict.to_json()

    def _create(self, name: str, dims: tuple[str, ...], kind: str, unit: str | None) -> Any:
        made = self.file.create_variable(name, dims, kind)
        if unit:
            made.attrs["units"] = unit
        return made
