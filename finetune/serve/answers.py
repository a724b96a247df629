"""Predictions as answers: JSON, NetCDF or zipped Zarr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray

from ...datasets.fields import metrics
from ...datasets.fields.masking import masked_metric
from ...datasets.files.netcdf_written import write_netcdf
from ...operators.core.predicted import BAND, LEAD, ensemble_dim
from .asked import Encoding, Wanted
from .numbers import encoded
from .unpacking import packed

JSON, NETCDF, ZIP = "application/json", "application/x-netcdf", "application/zip"


@dataclass(frozen=True)
class Answer:
    """What goes back.

    Attributes:
        content: plain data for JSON, or bytes.
        type: of the bytes.
        name: under which a browser saves them.
    """

    content: Any
    type: str = JSON
    name: str = ""


@dataclass(frozen=True)
class Shown:
    """A forecast and what is beside it.

    Attributes:
        data: with `lead_time`, as `Operator.predict` gives it.
        fields: names of the predicted fields.
        space: names of the axes of space.
        given: the given frames.
        truth: name -> stored values at the predicted times, NaN where none are.
        more: further keys of the answer.
    """

    data: xarray.Dataset
    fields: tuple[str, ...]
    space: tuple[str, ...]
    given: xarray.Dataset | None = None
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


def answer(shown: Shown, wanted: Wanted, folder: Path) -> Answer:
    """The answer in the wanted format; `folder` is for files in passing."""
    if wanted.format == "json":
        return Answer(_json(shown, wanted))
    if wanted.format == "netcdf":
        path = folder / "prediction.nc"
        write_netcdf(shown.data, path)
        return Answer(path.read_bytes(), NETCDF, path.name)
    try:
        import zarr  # noqa: F401  (optional)
    except ImportError:
        raise ValueError("answers in Zarr need zarr: pip install 'pelagos[zarr]'") from None
    path = folder / "prediction.zarr"
    shown.data.to_zarr(path, mode="w", consolidated=False, zarr_format=2)
    return Answer(packed(path, folder / "p.zip").read_bytes(), ZIP, "prediction.zarr.zip")


def _json(shown: Shown, wanted: Wanted) -> dict[str, Any]:
    how, data = wanted.encoding, shown.data
    members = ensemble_dim(data)
    ordered = {name: _ordered(data[name], members, shown.space) for name in shown.fields}
    reduced = members if wanted.compare else None
    dims = [str(d) for d in next(iter(ordered.values())).dims if d != reduced]
    mean = {n: v if reduced is None else v.mean(reduced) for n, v in ordered.items()}
    found: dict[str, Any] = {
        "dims": dims,
        "axes": {axis: data[axis].values.tolist() for axis in shown.space if axis in data.coords},
        "lead_times": _leads(data),
        "units": {n: str(v.attrs["units"]) for n, v in ordered.items() if "units" in v.attrs},
        "fields": {name: encoded(values.values, how) for name, values in mean.items()},
        **shown.more,
    }
    bands = {name: data[name + BAND].values for name in shown.fields if name + BAND in data}
    if bands:
        found["bands"] = {name: encoded(values, "lists") for name, values in bands.items()}
    if reduced is not None:
        spread = {name: values.std(reduced, ddof=1) for name, values in ordered.items()}
        found["spread"] = {name: encoded(values.values, how) for name, values in spread.items()}
    if wanted.compare:
        found |= _compared(shown, {name: values.values for name, values in mean.items()}, how)
    return found


def _ordered(
    values: xarray.DataArray, members: str | None, space: Sequence[str]
) -> xarray.DataArray:
    """(member?, *samples, time?, *space)."""
    first = [] if members is None else [members]
    return values.transpose(*first, ..., *space)


def _leads(data: xarray.Dataset) -> list[Any]:
    if LEAD not in data.variables:
        return []
    values = data[LEAD].values
    if values.dtype.kind == "m":
        values = values / np.timedelta64(1, "s")
    return np.atleast_1d(values).tolist()


def _compared(shown: Shown, mean: Mapping[str, np.ndarray], how: Encoding) -> dict[str, Any]:
    """What was given, the truth, scores against it, and spectra of both; by field."""
    ndim, found = len(shown.space), {"truth": {}, "scores": {}, "spectra": {}, "given": {}}
    for name, values in mean.items():
        if shown.given is not None and name in shown.given:
            given = shown.given[name].transpose(..., *shown.space).values
            found["given"][name] = encoded(given, how)
        frames = values.reshape(-1, *values.shape[values.ndim - ndim :])
        spectra = {"prediction": _spectra(frames, ndim)}
        truth = shown.truth.get(name)
        if truth is not None:
            found["truth"][name] = encoded(truth, how)
            truth = truth.reshape(frames.shape)
            found["scores"][name] = _scores(frames, truth, ndim)
            spectra["truth"] = _spectra(truth, ndim)
        found["spectra"][name] = spectra
    return found


def _spectra(frames: np.ndarray, ndim: int) -> list[Any]:
    """Energy by wave number of every frame; null of frames with holes."""
    values = torch.from_numpy(np.ascontiguousarray(frames)).double()
    spectra = metrics.energy_spectrum(values[:, None], ndim)[:, 0].numpy()
    whole = [bool(np.isfinite(frame).all()) for frame in frames]
    return [row if ok else None for row, ok in zip(spectra.tolist(), whole, strict=True)]


def _scores(frames: np.ndarray, truth: np.ndarray, ndim: int) -> dict[str, Any]:
    """Scores of every frame, null where nothing is stored."""
    there = np.isfinite(truth)
    ours, true = (
        torch.from_numpy(np.where(there, x, 0.0))[:, None].double() for x in (frames, truth)
    )
    mask = torch.from_numpy(there)[:, None]
    known = there.reshape(len(there), -1).any(1)
    found = {}
    for name in ("vrmse", "nrmse", "correlation"):
        values = masked_metric(name, ours, true, ndim, mask)[:, 0].numpy()
        found[name] = encoded(np.where(known, values, np.nan), "lists")
    return found
