"""Scores of rollouts against stored trajectories, with the persistence baseline beside them.

Streams over lead times: memory does not grow with the number of steps. The result is plain data
for JSON; it states its conventions, and what is not finite is `null`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...datasets.base.appearing import appearing_file
from ...datasets.base.config import plain
from ...datasets.base.sealed import sealed
from ...datasets.fields import metrics
from ...datasets.fields.masking import masked_agrees, masked_metric, masked_share, scored
from ...datasets.fields.moments import mean_of_known
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from ...operators.core.verdict import Finding, Start, Verdict, judge_start
from ...pretrain.conserved import moves, told
from ...pretrain.run.records import EVALUATION_SCHEMA
from .frames import Step, forecast, truth
from .lead_windows import LeadWindow, require_within
from .long import LongRollouts
from .numbers import numbers as as_numbers
from .plan import Plan, make_plan
from .request import Request

METRICS = ("vrmse", "well_vrmse", "nrmse", "relative_l1", "correlation")
# In the field's unit: where in space and at which wave numbers the error is.
ABSOLUTE = ("rmse", "brmse", "mean_error", "rmse_low", "rmse_middle", "rmse_high")
AGREES = "agrees"  # whether a frame is still valid
# A forecast is valid until its correlation with the truth falls below this.
VALID = 0.8
# One value per trajectory (N,), step (T,) and field (C,).
Values = Float[np.ndarray, "N T C"]

CONVENTIONS = {
    "scored": "Predicted frames only, in physical units, on the stored grid. Every frame is "
    "predicted from the ones before it, of which only the history was given; in mode direct, from "
    "the history alone.",
    "order": "A metric reduces over space, for each trajectory, field and frame; mean, median, p10 "
    "and p90 (10th and 90th percentile) are then over trajectories.",
    "summary": "Mean over trajectories, then over fields, then over lead times; vrmse_one_step is "
    "the first lead time alone; vrmse_median is the median over trajectories of their means over "
    "fields and lead times; valid_time is the mean over trajectories, then over fields. A field "
    "whose truth is one constant (constant_fields) carries nothing and is left out of the summary, "
    "unless all are.",
    "null": "A number is null where a prediction that enters it is not finite. In medians and "
    "percentiles such a prediction ranks as the worst. nonfinite_trajectories counts them.",
    "masked": "What is masked is not scored, and neither is a field that is masked entirely in any "
    "trajectory; means over space are over the points that are predicted; spectra are of whole "
    "fields. Where a stored frame has holes it is not scored there; a field of which it holds "
    "nothing counts nowhere, and as valid; frames with holes have no spectra.",
    "persistence": "The last history frame, repeated; for a steady problem, zero.",
    "vrmse": "Root mean square error over the standard deviation of the truth over space, "
    "√⟨(p − y)²⟩ / √⟨(y − ⟨y⟩)²⟩; predicting the mean scores 1. Of a field that is constant to one "
    "part in 10⁶ of its root mean square, over that part.",
    "well_vrmse": "The VRMSE as The Well's benchmark computes it: "
    "√(⟨(p − y)²⟩ / (s² + 1e-7)), s² the variance with the divisor N − 1, 1e-7 in squared units of "
    "the field.",
    "nrmse": "Root mean square error over the root mean square of the truth, "
    "√(⟨(p − y)²⟩ / ⟨y²⟩); the same number as the relative L2 error. Of a frame whose truth is "
    "zero everywhere, vrmse, nrmse and relative_l1 are the error over 1e-12.",
    "relative_l1": "Mean absolute error over the mean absolute value of the truth, "
    "⟨|p − y|⟩ / ⟨|y|⟩.",
    "correlation": "Pearson correlation over space; 0 where a field is constant.",
    "rmse": "Root mean square error, √⟨(p − y)²⟩, in the field's unit.",
    "brmse": "Root mean square error over the faces of the grid (first and last points of each "
    "axis), in the field's unit.",
    "mean_error": "|⟨p⟩ − ⟨y⟩|, the error of the mean over the domain, in the field's unit. "
    "PDEBench's cRMSE is its root mean square over trajectories: crmse in the summary, then the "
    "mean over fields and lead times.",
    "rmse_low": "Root mean square of the error's part at 0–3 periods per domain, in the field's "
    "unit; the squares of low, middle and high add up to that of rmse.",
    "rmse_middle": "The same at 4–11 periods per domain.",
    "rmse_high": "The same at 12 and more periods per domain.",
    "valid_time": f"When the correlation falls below {VALID}, linear between lead times; 0 where "
    "the first frame is below it already. Where none is, "
    "the last lead time, a lower bound; reached_end counts these trajectories. A frame whose truth "
    "is constant has no correlation, and counts as valid if it is predicted exactly (to one "
    "part in 10⁶).",
    "lyapunov_time": "Time in which small differences of the true dynamics grow by a factor e, "
    "where the data say it: divide valid times by it. Null where unknown.",
    "spectra": "Energy per shell of wave numbers (periods per domain), the sum of squared Fourier "
    "amplitudes; median over trajectories.",
    "verdict": "Whether the given frames, the grid, the steps and the parameters are inside of "
    "what was trained, and what is not. A grid of other points than the training grid's is "
    "outside: errors there can be several times those on it. So is a field whose mean moves in the "
    "truth, where the operator keeps it (conserved).",
    "windows": "Of steps first:last, counted from 1, both included: the summary's means over these "
    "lead times alone.",
    "noise": "Where it is there: white noise was added to the given frames, its deviation so many "
    "standard deviations of each field over space; persistence repeats the noisy frame.",
    "seconds_per_step": "Median wall time of one step of one batch.",
}


def evaluate(
    operator: Operator,
    store: Store,
    request: Request | None = None,
    *,
    progress: bool = False,
    long: bool = False,
    windows: Sequence[LeadWindow] = (),
    **wishes: Any,
) -> dict[str, Any]:
    """Roll out, and score every step against the stored frames.

    Args:
        operator: moved to the device and set to evaluation mode.
        store: gives the history and the truth.
        request: what to predict, at times where frames are stored.
        progress: show a bar on the error stream.
        long: judge long rollouts too, under the key "long" (see `long`).
        windows: of steps, each summed up on its own.
        wishes: attributes of `Request` in place of the request's, as in `steps=20`.

    Returns:
        Plain data; `CONVENTIONS` (which it contains) says what the numbers are.

    Raises:
        ValueError: more steps than are stored, too few for `long`, or as in `predict`.
    """
    request = replace(request or Request(), **wishes)
    plan = make_plan(operator, store, request)
    rollouts = LongRollouts(operator, store, plan) if long else None
    require_within(windows, plan.steps)
    verdict, scored, seconds = _kept_means(operator, store), _Scored(store, plan), []
    for step in forecast(operator, store, plan, request, title="evaluate", progress=progress):
        if rollouts is not None:
            rollouts.add(step)
        if step.index == 0:
            verdict = verdict.merged(judge_start(operator, _start(step, plan)))
        scored.add(step, request.device)
        seconds.append(step.seconds)
    varying, ours, baseline = scored.ranges.varying(), scored.ours, scored.baseline
    found = _result(operator, store, scored.plan, ours, baseline, varying)
    if windows:
        found["windows"] = {str(one): _within(one, ours, baseline, varying) for one in windows}
    if request.noise:
        found |= {"noise": request.noise, "noise_seed": request.noise_seed}
    if rollouts is not None:
        found["long"] = rollouts.result()
    return found | {
        "verdict": {"status": verdict.status, "outside": _told(verdict)},
        "batch": min(request.batch, len(plan.trajectories)),
        "seconds_per_step": float(np.median(seconds)),
        "spectra": scored.spectra.result(),
        "conventions": CONVENTIONS,
    }


def write_evaluation(result: dict[str, Any], path: Path, *, overwrite: bool = False) -> Path:
    """Write an evaluation as JSON, with its SHA-256; the file appears only when complete.

    Raises:
        ValueError: `path` exists and `overwrite` is not set.
    """
    text = json.dumps(sealed(result), indent=1, allow_nan=False, ensure_ascii=False)
    with appearing_file(path, overwrite=overwrite) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
    return path


def _start(step: Step, plan: Plan) -> Start:
    """What is known before a batch is predicted."""
    context = replace(step.given.context, dataset=step.dataset)
    return Start(step.given.history, context, plan.increments, plan.leads)


def _kept_means(operator: Operator, store: Store) -> Verdict:
    """Means that the operator keeps exactly, and that move in the truth."""
    moving = {name: moves(store, name) for name in operator.description.conserved}
    return Verdict(
        tuple(
            Finding(f"kept mean of {name}", "outside", f"{told(found)}, and cannot in a prediction")
            for name, found in moving.items()
            if found
        )
    )


def _told(verdict: Verdict) -> dict[str, str]:
    return {finding.quantity: finding.text for finding in verdict.outside}


class _Scored:
    """Scores, spectra and ranges of the fields that are scored, of a prediction and persistence."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store, self.channels = store, _scored_channels(store, plan)
        self.plan = replace(plan, fields=tuple(plan.fields[c] for c in self.channels))
        shape = (len(plan.trajectories), plan.steps, len(self.channels))
        self.ours, self.baseline = (
            {name: np.empty(shape) for name in (*METRICS, *ABSOLUTE, AGREES)} for _ in range(2)
        )
        self.spectra, self.ranges = _Spectra(self.plan), _Ranges(len(self.channels))

    def add(self, step: Step, device: str) -> None:
        """Score a step, computed on a device, against the stored frames of its time."""
        target = truth(self.store, self.plan, step.trajectories, step.index).to(device)
        step, target, whole = _without_holes(_only(step, self.channels), target)
        for values, fields in ((self.ours, step.fields), (self.baseline, step.last_given)):
            for name, value in _score(fields, target, step.mask).items():
                values[name][step.rows, step.index] = value
        self.spectra.add(step, target, whole)
        self.ranges.add(target, step.mask)


class _Spectra:
    """Energy spectra of truth and prediction at the first, middle and last lead time."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.steps = sorted({0, (plan.steps - 1) // 2, plan.steps - 1})
        self.parts: dict[str, dict[int, list[np.ndarray]]] = {"truth": {}, "prediction": {}}

    def add(self, step: Step, target: Tensor, whole: Bool[Tensor, " B"]) -> None:
        """Keep the spectra of a batch, if its lead time is one of the three, without holes."""
        if step.index not in self.steps:
            return
        for kind, field in (("truth", target), ("prediction", step.fields)):
            spectrum = metrics.energy_spectrum(field.double(), field.ndim - 2)
            kept = np.where(np.isfinite(spectrum.cpu().numpy()), spectrum.cpu().numpy(), np.inf)
            kept[~whole.cpu().numpy()] = np.nan
            self.parts[kind].setdefault(step.index, []).append(kept)

    def result(self) -> dict[str, Any]:
        """Lists per field and kind: one spectrum for each of the lead times."""
        medians = {
            kind: [_percentiles(np.concatenate(parts[i]))["median"] for i in self.steps]
            for kind, parts in self.parts.items()
        }
        return {
            "lead_times": [self.plan.leads[i] for i in self.steps],
            "wavenumber": list(range(len(medians["truth"][0][0]))),
            "fields": {
                name: {kind: [at[c] for at in values] for kind, values in medians.items()}
                for c, name in enumerate(self.plan.fields)
            },
        }


class _Ranges:
    """Smallest and largest value of each field's truth, where it is predicted."""

    def __init__(self, count: int) -> None:
        self.low, self.high = np.full(count, np.inf), np.full(count, -np.inf)

    def add(self, target: Tensor, mask: Tensor | None) -> None:
        """Take in a frame (B, C, *S)."""
        axes = (0, *range(2, target.ndim))
        inner, outer = (
            target if mask is None else torch.where(mask, target, end)
            for end in (torch.inf, -torch.inf)
        )
        self.low = np.minimum(self.low, inner.amin(axes).cpu().numpy())
        self.high = np.maximum(self.high, outer.amax(axes).cpu().numpy())

    def varying(self) -> list[int]:
        """The fields that are not one constant; all, if all are."""
        found = np.flatnonzero(self.low < self.high).tolist()
        return found or list(range(len(self.low)))


def _scored_channels(store: Store, plan: Plan) -> list[int]:
    """The fields that are predicted somewhere in every trajectory."""
    masks = [store.mask(i) for i in plan.trajectories]
    anywhere = [scored(mask, store.grid.ndim) for mask in masks if mask is not None]
    predicted = [name for c, name in enumerate(store.fields) if all(found[c] for found in anywhere)]
    channels = [c for c, name in enumerate(plan.fields) if name in predicted]
    if not channels:
        raise ValueError(f"{store.name!r} has no field that is predicted; there is none to score")
    return channels


def _only(step: Step, channels: Sequence[int]) -> Step:
    """A step of these fields alone."""
    if len(channels) == step.fields.shape[1]:
        return step
    mask = None if step.mask is None else step.mask[:, channels]
    given, fields = step.last_given[:, channels], step.fields[:, channels]
    return replace(step, last_given=given, fields=fields, mask=mask)


def _without_holes(step: Step, target: Tensor) -> tuple[Step, Tensor, Bool[Tensor, " B"]]:
    """A step whose mask leaves out the holes of its truth, the truth with 0 there, and which
    trajectories have none.
    """
    there = ~torch.isnan(target)
    whole = there.flatten(1).all(1)
    if whole.all():
        return step, target, whole
    mask = there if step.mask is None else step.mask & there
    return replace(step, mask=mask), target.nan_to_num(), whole


def _score(
    prediction: Tensor, target: Tensor, mask: Tensor | None
) -> dict[str, Float[np.ndarray, "B C"]]:
    """Every measure, one value per trajectory and field, in double precision.

    Infinite where the prediction is not finite; NaN where there is nothing to be scored.
    """
    ndim = target.ndim - 2
    prediction, target = prediction.double(), target.double()
    values = {name: masked_metric(name, prediction, target, ndim, mask) for name in METRICS}
    values[AGREES] = masked_agrees(prediction, target, ndim, mask, VALID)
    if mask is not None:
        prediction = torch.where(mask, prediction, target)
    space = tuple(range(2, target.ndim))
    bands = metrics.spectral_rmse(prediction, target, ndim).unbind(-1)
    measures = [
        metrics.rmse(prediction, target, ndim),
        metrics.brmse(prediction, target, ndim),
        (prediction.mean(space) - target.mean(space)).abs(),
        *bands,
    ]
    if mask is not None:  # means over all points, of which the masked ones are right
        share, faces = masked_share(mask, ndim)
        powers = (share.sqrt(), faces.sqrt(), share, *[share.sqrt()] * len(bands))
        measures = [value / power for value, power in zip(measures, powers, strict=True)]
    values |= dict(zip(ABSOLUTE, measures, strict=True))
    lost = None if mask is None else ~scored(mask, ndim)
    return {name: _ranked(name, value, lost) for name, value in values.items()}


def _ranked(name: str, value: Tensor, lost: Bool[Tensor, "B C"] | None) -> Float[np.ndarray, "B C"]:
    """A measure whose values that are not finite rank as the worst; see `_score`."""
    if name == AGREES:
        value = value if lost is None else value | lost
        return value.double().cpu().numpy()
    worst = -torch.inf if name == "correlation" else torch.inf
    value = torch.where(torch.isfinite(value), value, worst)
    if lost is not None:
        value = value.masked_fill(lost, torch.nan)
    return value.cpu().numpy()


def _result(
    operator: Operator,
    store: Store,
    plan: Plan,
    ours: Mapping[str, Values],
    baseline: Mapping[str, Values],
    varying: Sequence[int],
) -> dict[str, Any]:
    lead = np.array(plan.leads)
    told = {name: values[..., varying] for name, values in ours.items()}
    persisted = {name: values[..., varying] for name, values in baseline.items()}
    broken = np.isinf(ours["nrmse"]).any(axis=(1, 2))
    return {
        "schema": EVALUATION_SCHEMA,
        "operator": operator.name,
        "parameters": sum(p.numel() for p in operator.parameters()),
        "provenance": plain(operator.description.provenance),
        "store": {
            "name": store.name,
            "split": ", ".join(store.splits),
            "trajectories": len(plan.trajectories),
            "fields": list(plan.fields),
            "constant_fields": [name for c, name in enumerate(plan.fields) if c not in varying],
            "units": store.units,
            "grid": plain(store.grid),
        },
        "start": plan.start,
        "steps": plan.steps,
        "stride": plan.stride,
        "dt": plan.dt,
        "mode": plan.mode,
        "steady": bool(plan.inputs),
        "history": plan.history,
        "lead_times": lead.tolist(),
        "nonfinite_trajectories": int(broken.sum()),
        "lyapunov_time": store.provenance.get("lyapunov_time"),
        "summary": _summary(told, lead) | {"persistence": _summary(persisted, lead)},
        "scores": _scores(ours, plan),
        "persistence": _scores(baseline, plan),
        "valid_time": _valid_times(ours, plan, lead),
        "valid_time_persistence": _valid_times(baseline, plan, lead),
    }


def _scores(values: Mapping[str, Values], plan: Plan) -> dict[str, Any]:
    """Per metric and field: mean, median and percentiles over trajectories, lists over steps."""
    return {
        metric: {name: _percentiles(values[metric][:, :, c]) for c, name in enumerate(plan.fields)}
        for metric in (*METRICS, *ABSOLUTE)
    }


def _percentiles(values: Float[np.ndarray, "N *_"]) -> dict[str, Any]:
    """Over trajectories; what is infinite ranks so, and makes the mean null; NaN does not count."""
    percentile = np.nanpercentile if np.isnan(values).any() else np.percentile
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where nothing is known
        p10, median, p90 = percentile(values, (10, 50, 90), axis=0)
        mean = mean_of_known(values, 0)
    numbers = {"mean": mean, "median": median, "p10": p10, "p90": p90}
    return {name: as_numbers(value) for name, value in numbers.items()}


def _means(values: Mapping[str, Values]) -> dict[str, Any]:
    """Of every metric: over trajectories, then over fields, then over lead times."""
    return {
        name: as_numbers(mean_of_known(mean_of_known(mean_of_known(values[name], 0), 1)))
        for name in METRICS
    }


def _summary(values: Mapping[str, Values], lead: np.ndarray) -> dict[str, Any]:
    """The few numbers that a table has room for."""
    result = _means(values)
    first = mean_of_known(mean_of_known(values["vrmse"][:, 0], 0))
    each = mean_of_known(values["vrmse"], (1, 2))
    valid, _ = _valid_time(values, lead)
    return result | {
        "vrmse_one_step": as_numbers(first),
        "vrmse_median": _percentiles(each)["median"],
        "valid_time": as_numbers(valid.mean(axis=0).mean()),
        "crmse": as_numbers(
            mean_of_known(np.sqrt(mean_of_known(np.square(values["mean_error"]), 0)))
        ),
    }


def _within(
    window: LeadWindow,
    ours: Mapping[str, Values],
    baseline: Mapping[str, Values],
    varying: Sequence[int],
) -> dict[str, Any]:
    """Means over a window of steps, and those of persistence."""
    told = {name: _part(values, window, varying) for name, values in ours.items()}
    persisted = {name: _part(values, window, varying) for name, values in baseline.items()}
    return _means(told) | {"persistence": _means(persisted)}


def _part(values: Values, window: LeadWindow, varying: Sequence[int]) -> Float[np.ndarray, "N W V"]:
    """The steps of a window, and the fields that vary."""
    return values[:, window.steps][..., varying]


def _valid_times(values: Mapping[str, Values], plan: Plan, lead: np.ndarray) -> dict[str, Any]:
    """Statistics of the valid time per field, and how many trajectories never failed."""
    times, passed = _valid_time(values, lead)
    return {
        name: _percentiles(times[:, c]) | {"reached_end": int(passed[:, c].sum())}
        for c, name in enumerate(plan.fields)
    }


def _valid_time(
    values: Mapping[str, Values], lead: np.ndarray
) -> tuple[Float[np.ndarray, "N C"], Bool[np.ndarray, "N C"]]:
    """How long each trajectory agrees with the truth, and whether it does to the end.

    The same number as `metrics.valid_time`, from what is there already.
    """
    passed = values[AGREES] > 0
    found, agrees, times = map(torch.from_numpy, (values["correlation"], passed, lead))
    return metrics.failure_time(found, agrees, times, VALID).numpy(), np.all(passed, axis=1)
