"""Methods of data assimilation that the benchmark compares: each runs along a feed of measurements.

All give the analyses (B, T, C, *S); ensembles give their members (B, T, M, C, *S).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pelagos.datasets.fields.window import Context
from pelagos.operators import EnsembleGain, Observation, Operator

WARM_UP, MEMBERS = 10, 20

Step = Callable[[Tensor], Tensor]  # fields (B, C, *S) one time step later


@dataclass(frozen=True)
class Feed:
    """What was measured: (T,) whether, and per step values and mask."""

    steps: list[bool]
    values: Tensor
    mask: Tensor
    noise: float

    def at(self, t: int, context: Context) -> Observation | None:
        """What the operators are told at a step."""
        if not self.steps[t]:
            return None
        level = torch.full((1,) * self.mask.ndim, self.noise)
        return Observation(self.values[:, t], self.mask, context.fields, level)


def feed(truth: Tensor, std: float, setting: tuple[float, float, float], seed: int) -> Feed:
    share, noise, alpha = setting
    rng = torch.Generator().manual_seed(1000 * seed + 7)
    count = truth[0, 0].numel()
    order = torch.rand(len(truth), 1, count, generator=rng).argsort(-1)
    mask = (order < max(1, round(share * count))).reshape(truth[:, 0].shape)
    draws = torch.rand(truth.shape[1], generator=rng)
    steps = [t < WARM_UP or bool(draws[t] < alpha) for t in range(truth.shape[1])]
    error = torch.randn(truth.shape, generator=rng)
    return Feed(steps, truth + noise * std * error, mask, noise * std)


def observer(operator: Operator, context: Context, dt: float, given: Feed) -> Tensor:
    """The operator's own gain, from the mean of the training data."""
    batch = len(given.values)
    state = operator.cold_start(context, batch)
    steps, frames = torch.full((batch,), dt), []
    for t in range(len(given.steps)):
        state, fields = operator.step(state, steps, given.at(t, context))
        frames.append(fields)
    return torch.stack(frames, 1)


def ensemble(
    operator: Operator, context: Context, dt: float, given: Feed, gain: EnsembleGain, seed: int
) -> Tensor:
    """The operator with the gain of its ensemble."""
    batch = len(given.values)
    state = operator.cold_start(context, batch * MEMBERS)
    generator = torch.Generator().manual_seed(seed)
    error = operator.draw_error(state, generator)
    state = replace(state, history=state.history + error.unsqueeze(1))
    steps, frames = torch.full((batch * MEMBERS,), dt), []
    for t in range(len(given.steps)):
        seen = given.at(t, context)
        state, fields = operator.step_ensemble(state, steps, seen, MEMBERS, gain, generator)
        frames.append(fields.unflatten(0, (batch, MEMBERS)))
    return torch.stack(frames, 1)


def inserted(step: Step, first: Tensor, given: Feed) -> Tensor:
    """Direct insertion: what is measured replaces the forecast."""
    return nudged(step, first, given, 1.0, 0.0)


def nudged(step: Step, first: Tensor, given: Feed, gain: float, width: float) -> Tensor:
    """û ← û + gain · kernel ∗ (mask (y − û)) / (kernel ∗ mask), a Gaussian kernel of `width`."""
    frames, u = [], first
    for t, measured in enumerate(given.steps):
        u = step(u)
        if measured:
            gap = torch.where(given.mask, given.values[:, t] - u, 0)
            if width:
                weight = _smooth(given.mask.float(), width)
                gap = _smooth(gap, width) / weight.clamp_min(1e-2)
            u = u + gain * gap
        frames.append(u)
    return torch.stack(frames, 1)


def _smooth(x: Tensor, width: float) -> Tensor:
    axes = tuple(range(2, x.ndim))
    kernel = torch.ones(())
    for axis in axes:
        f = torch.fft.fftfreq(x.shape[axis]) * 2 * math.pi * width
        kernel = kernel * torch.exp(-0.5 * f.square()).reshape(
            *(-1 if a == axis else 1 for a in axes)
        )
    return torch.fft.ifftn(torch.fft.fftn(x, dim=axes) * kernel, dim=axes).real


def filtered(
    step: Step, pool: Tensor, given: Feed, radius: float, inflation: float, seed: int
) -> Tensor:
    """Members (B, T, M, C, *S) of DAPPER's LETKF, from states of the training data."""
    from dapper.da_methods.ensemble import local_analyses
    from dapper.tools.localization import nd_Id_localization
    from dapper.tools.randvars import GaussRV

    rng = np.random.default_rng(seed)
    count, shape = len(given.values), tuple(pool.shape[1:])
    ensembles = [pool[rng.choice(len(pool), MEMBERS, replace=False)] for _ in range(count)]
    localisers, seen = [], []
    block = {1: (4,), 2: (8, 8)}[len(shape) - 1]
    for b in range(count):
        where = given.mask[b].flatten().nonzero().flatten().numpy()
        seen.append(where)
        localisers.append(nd_Id_localization(shape[1:], block, where)(radius, "x2y", "GC"))
    frames = []
    for t, measured in enumerate(given.steps):
        forecast = step(torch.cat(ensembles)).split(MEMBERS)
        ensembles = []
        for b, members in enumerate(forecast):
            if measured and members.isfinite().all():
                flat = members.reshape(MEMBERS, -1).double().numpy()
                mean = flat.mean(0)
                flat = mean + inflation * (flat - mean)
                where = seen[b]
                values = given.values[b, t].flatten().numpy()[where].astype(float)
                noise = GaussRV(C=given.noise**2, M=len(where)).C
                batches, taper = localisers[b]
                flat, _ = local_analyses(flat, flat[:, where].copy(), noise, values, batches, taper)
                members = torch.from_numpy(flat).to(members).reshape(members.shape)
            ensembles.append(members)
        frames.append(torch.stack(ensembles))
    return torch.stack(frames, 1)
