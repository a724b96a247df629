"""Scores of estimates against stored frames of the same time."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...datasets.fields import metrics
from ...datasets.fields.moments import mean_of_known
from ...datasets.fields.window import Context
from ...datasets.stores.store import Store
from .assimilator import Estimate


class Scores:
    """Collects errors and spreads of estimates.

    Args:
        context: fields and grid of the estimates.
        truth: store and trajectory whose frames score them; None: nothing is scored.

    Raises:
        ValueError: the store lacks a field or has another grid.
    """

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
        """Score an estimate, if a frame is stored of its time."""
        if self.truth is None:
            return
        store, trajectory = self.truth
        times = store.trajectory_times(trajectory)
        frame = int(np.abs(times - estimate.time).argmin())
        step = store.dt or 1.0
        if abs(times[frame] - estimate.time) > 1e-3 * step:
            return
        channels = [store.fields.index(name) for name in self.context.fields]
        target = store.with_holes(trajectory, frame)[channels].double()
        ndim, members = self.context.grid.ndim, estimate.members.double().cpu()
        mean, deviation = estimate.mean.double().cpu(), estimate.spread.double().cpu()
        stated, there = store.mask(trajectory), ~torch.isnan(target)
        mask = None if stated is None else stated[channels]
        lost = ~there.flatten(1).any(1)  # fields of which this frame holds nothing
        if not there.all():
            mask = there if mask is None else mask & there
            target = target.nan_to_num()
        share: Tensor | float = 1.0
        if mask is not None:  # what is not predicted is right, and does not count
            mean, members = (torch.where(mask, x, target) for x in (mean, members))
            deviation = torch.where(mask, deviation, 0.0)
            share = mask.double().flatten(1).mean(1).clamp_min(1e-300)
        error = (mean - target).square().flatten(1).mean(1) / share
        spread = deviation.square().flatten(1).mean(1) / share
        crps = metrics.crps(members, target, ndim) / share
        for key, value in (("mse", error), ("variance", spread), ("crps", crps)):
            self.sums[key].append(value.masked_fill(lost, math.nan).numpy())

    def mean(self) -> dict[str, dict[str, float]]:
        """RMSE, spread over RMSE, and CRPS by field; empty if nothing was scored."""
        if not self.sums["mse"]:
            return {}
        found = {key: mean_of_known(np.stack(values), 0) for key, values in self.sums.items()}
        return {
            name: {
                "rmse": math.sqrt(found["mse"][c]),
                "spread / rmse": math.sqrt(found["variance"][c] / max(found["mse"][c], 1e-300)),
                "crps": float(found["crps"][c]),
            }
            for c, name in enumerate(self.context.fields)
        }
