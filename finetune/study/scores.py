"""Scores of one training on the test split, trajectory by trajectory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...datasets.base.appearing import appearing_file
from ...datasets.base.texts import MOST_JSON, parse_json, read_text
from ...datasets.fields.masking import masked_metric, scored
from ...datasets.fields.moments import mean_of_known
from ...datasets.fields.vocabulary import vectors
from ...datasets.stores.statistics import field_moments
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from ..forecast.frames import Step, forecast, truth
from ..forecast.plan import make_plan
from ..forecast.request import Request

SCHEMA = 2
FILE = "score.json"
METRICS = {
    "relative_l1": "relative L1 error of the last frame",
    "vrmse": "rollout VRMSE",
    "vrmse_horizon": "VRMSE over the trained horizon",
}
BLOWN_UP = 10.0  # a mean VRMSE above this, or none that is finite

CONVENTIONS = {
    "relative_l1": "Of the last predicted frame, as Poseidon's authors score it: Σ|p − y| / "
    "Σ|y − μ| per trajectory and group, in units of the deviation of each field, where μ and the "
    "deviation are those of the whole train split (for scoring only: no training sees them); the "
    "components of a vector are one group; then the mean over groups.",
    "vrmse": "√⟨(p − y)²⟩ / √⟨(y − ⟨y⟩)²⟩ in physical units, per trajectory: the mean over fields "
    "and all predicted frames.",
    "vrmse_horizon": "The same over the first `objective.horizon` predicted frames: as far as "
    "training looks. Over a long rollout errors grow until no start predicts anything, and gains "
    "vanish there, whatever a checkpoint is worth.",
    "scored": "Every frame is predicted from the ones before it, of which only the history was "
    "given. What is masked is not scored, and neither is a field whose truth is one constant.",
    "blown_up": f"Trajectories whose VRMSE is above {BLOWN_UP:g} or not finite. They rank as the "
    "worst in medians, and make a mean null where they are not finite.",
    "persistence": "The last history frame, repeated; for a steady problem, zero.",
}

Values = Float[np.ndarray, "N C"]


@dataclass(frozen=True)
class Levels:
    """Mean and deviation of every field of the train split: the units that errors are scored in.

    Attributes:
        mean, std: by field; a field that never varies has the deviation 1.
    """

    mean: Mapping[str, float]
    std: Mapping[str, float]

    @staticmethod
    def of(store: Store) -> Levels:
        """Those of all trajectories of a store.

        Raises:
            ValueError: a value is not finite, or a file is damaged.
        """
        found = field_moments(store, range(len(store)))
        std = {name: float(moments.std[0]) or 1.0 for name, moments in found.items()}
        return Levels({name: float(moments.mean[0]) for name, moments in found.items()}, std)


def score(
    operator: Operator, store: Store, levels: Levels, request: Request, horizon: int
) -> dict[str, Any]:
    """Roll out on a test split; metric -> a value per trajectory, None where it is not finite.

    Args:
        operator: moved to the device and set to evaluation mode.
        store: the test split.
        levels: of the train split.
        request: which trajectories and how many steps.
        horizon: frames that `vrmse_horizon` is of.

    Raises:
        ValueError: as `make_plan`.
    """
    plan = make_plan(operator, store, request)
    count = len(plan.trajectories)
    ours, theirs = (_Forecasts(count, plan.steps, plan.fields, levels) for _ in range(2))
    seconds = []
    for step in forecast(operator, store, plan, request, title="score", progress=False):
        target = truth(store, plan, step.trajectories, step.index).to(request.device)
        mask = _known(step, target)
        ours.add(step, step.fields, target.nan_to_num(), mask)
        theirs.add(step, step.last_given, target.nan_to_num(), mask)
        seconds.append(step.seconds)
    return {
        **ours.scores(horizon),
        "persistence": theirs.scores(horizon),
        "lead_time": plan.leads[-1],
        "steps": plan.steps,
        "seconds_per_step": float(np.median(seconds)),
    }


def _known(step: Step, target: Tensor) -> Bool[Tensor, "B C *S"] | None:
    """Where a frame is scored; None: everywhere."""
    there = ~torch.isnan(target)
    if step.mask is None and bool(there.all()):
        return None
    return there if step.mask is None else there & step.mask


class _Forecasts:
    """Errors of forecasts, gathered step by step.

    Args:
        count, steps: trajectories and predicted frames.
        fields: of the operator.
        levels: units of the fields.
    """

    def __init__(self, count: int, steps: int, fields: Sequence[str], levels: Levels) -> None:
        self.fields, self.steps = tuple(fields), steps
        self.mean = torch.tensor([levels.mean.get(name, 0.0) for name in fields])
        self.std = torch.tensor([levels.std.get(name, 1.0) for name in fields])
        self.vrmse = np.full((count, steps, len(fields)), np.nan)
        self.error, self.size = (np.zeros((count, len(fields))) for _ in range(2))
        self.low, self.high = (np.full(len(fields), end) for end in (np.inf, -np.inf))

    def add(self, step: Step, guess: Tensor, target: Tensor, mask: Tensor | None) -> None:
        """Take in a frame of some trajectories."""
        guess, target, ndim = guess.double(), target.double(), target.ndim - 2
        values = masked_metric("vrmse", guess, target, ndim, mask)
        if mask is not None:
            values = values.masked_fill(~scored(mask, ndim), torch.nan)
        lost = ~guess.isfinite().flatten(2).all(2)
        self.vrmse[step.rows, step.index] = values.masked_fill(lost, torch.inf).cpu().numpy()
        shown = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
        space = (0, *range(2, target.ndim))
        low = torch.where(shown, target, torch.inf).amin(space)
        high = torch.where(shown, target, -torch.inf).amax(space)
        self.low = np.minimum(self.low, low.cpu().numpy())
        self.high = np.maximum(self.high, high.cpu().numpy())
        if step.index == self.steps - 1:
            self._add_last(step.rows, guess, target, shown)

    def _add_last(self, rows: slice, guess: Tensor, target: Tensor, shown: Tensor) -> None:
        shape = (1, -1, *[1] * (target.ndim - 2))
        mean, std = (x.to(target).reshape(shape) for x in (self.mean, self.std))
        space = tuple(range(2, target.ndim))
        error = torch.where(shown, (guess - target).abs(), 0.0) / std
        size = torch.where(shown, (target - mean).abs(), 0.0) / std
        self.error[rows] = error.sum(space).nan_to_num(torch.inf).cpu().numpy()
        self.size[rows] = size.sum(space).cpu().numpy()

    def scores(self, horizon: int) -> dict[str, Any]:
        """Metric -> a value per trajectory, and how many forecasts blew up."""
        varying = np.flatnonzero(self.low < self.high).tolist()
        chosen = varying or list(range(len(self.fields)))
        groups = vectors([self.fields[c] for c in chosen])
        error, size = self.error[:, chosen], self.size[:, chosen]
        ratios = [error[:, g].sum(1) / np.maximum(size[:, g].sum(1), 1e-12) for g in groups]
        relative_l1 = np.mean(ratios, axis=0)
        vrmse, near = (
            mean_of_known(self.vrmse[:, :last, chosen], (1, 2)) for last in (self.steps, horizon)
        )
        return {
            "relative_l1": _numbers(relative_l1),
            "vrmse": _numbers(vrmse),
            "vrmse_horizon": _numbers(near),
            "blown_up": int((~(vrmse <= BLOWN_UP)).sum()),
        }


def _numbers(values: Float[np.ndarray, " N"]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]


def write_score(path: Path, values: Mapping[str, Any]) -> None:
    """Write the scores of a cell; the file appears when it is complete."""
    text = json.dumps({"schema": SCHEMA, **values}, indent=1, allow_nan=False)
    with appearing_file(path, overwrite=True) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def read_score(path: Path) -> dict[str, Any] | None:
    """The scores of a cell; None where there are none of this version.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        values = parse_json(read_text(path, MOST_JSON))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged; delete it, and the study scores this cell again")
    return values if values.get("schema") == SCHEMA else None
