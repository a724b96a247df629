"""Long rollouts judged by more than their errors: spectra, drifts, attractor, growth, eigenvalues.

Everything is plain data for JSON; `CONVENTIONS` says what the numbers are.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields import metrics
from ...datasets.fields.attractor import (
    OrthogonalModes,
    correlation_dimension,
    occupation_divergence,
    orthogonal_modes,
    smape,
    spectral_distance,
)
from ...datasets.fields.dynamics import residual_modes
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from .baselines import baselines
from .frames import Step, truth
from .growth import growth
from .numbers import numbers
from .plan import Plan

LEAST_STEPS = 10
MODES = 10  # proper orthogonal modes of the truth
OCCUPIED = 2  # of them in the histogram of states
MOST_VALUES = 20_000_000  # of frames of which modes are taken
_BANDS = ("low", "middle", "high")
_SQUARE = np.linspace(-1.2, 1.2, 49)  # of the complex plane, where pseudospectra are computed

CONVENTIONS = {
    "smape": "Symmetric mean absolute percentage error, 100 ⟨|p − y| / (|p| + |y|)⟩, 0 to 100; "
    "mean over trajectories, per field and lead time.",
    "spectral_error": "|log₁₀| of the predicted over the true energy at 0–3, 4–11 and 12 and more "
    "periods per domain; mean over trajectories, per field and lead time. 1 is a factor of ten.",
    "drift": "Mean over trajectories of |⟨u⟩ − ⟨u₀⟩| over the deviation of u₀ in space (mean), and "
    "of |log₁₀| of ⟨u²⟩ over ⟨u₀²⟩ (size), u₀ the last given frame; beside the truth's own.",
    "attractor": f"States are the coefficients of {MODES} proper orthogonal modes of the true "
    "frames (fields scaled to a deviation of 1; share: of the variance). occupation: "
    f"Kullback–Leibler divergence, in nats, of histograms of the first {OCCUPIED}, true against "
    "predicted. spectrum: Hellinger distance of their spectra in time, 0 to 1. dimension: "
    "correlation dimension by Takens' estimator. floor: the same between the two halves of the "
    "true trajectories, which no forecast can be expected to beat.",
    "lyapunov": "Largest Lyapunov exponent per unit of time, of the operator's step (by "
    "forward-mode products) and of the solver that made the data (by neighbours); mean over "
    "trajectories.",
    "eigenvalues": "Residual dynamic mode decomposition of the coefficients and a constant: "
    "eigenvalues of a step (real part, imaginary part) and their residuals, of true and of "
    "predicted frames. A small residual says that the dynamics have it. growth and frequency are "
    "those of the eigenvalue, per unit of time. pseudospectrum: the smallest residual of any "
    "observable at points of the complex plane.",
    "baselines": "Mean VRMSE over trajectories and fields, per lead time. climatology: mean of the "
    "other trajectories; damped persistence: the last frame's anomaly, shrunk by the regression "
    "over the other trajectories; dmd: the linear map of the given frames goes on.",
}


class LongRollouts:
    """Takes in rollouts step by step.

    Args:
        operator: whose they are.
        store: has the truth.
        plan: what is predicted.

    Raises:
        ValueError: there are fewer than ten steps, they are not uniform, or the truth has holes.
    """

    def __init__(self, operator: Operator, store: Store, plan: Plan) -> None:
        _require(store, plan)
        self.operator, self.store, self.plan = operator, store, plan
        self.ndim = store.grid.ndim
        self.scale, self.modes = _modes(store, plan)
        count, states = len(plan.trajectories), len(self.modes.modes)
        self.true, self.ours = (torch.full((count, plan.steps, states), torch.nan) for _ in "ab")
        fields = (count, plan.steps, len(plan.fields))
        self.smape = torch.full(fields, torch.nan)
        self.bands = torch.full((*fields, len(_BANDS)), torch.nan)
        self.moved = torch.full(
            (2, 2, *fields), torch.nan
        )  # of mean and size, ours and the truth's

    def add(self, step: Step) -> None:
        """Take in a step of some trajectories."""
        at = (step.rows, step.index)
        target = truth(self.store, self.plan, step.trajectories, step.index).double()
        fields, first = step.fields.cpu().double(), step.last_given.cpu().double()
        self.true[at] = self.modes.coefficients(target / self.scale).float()
        self.ours[at] = self.modes.coefficients(fields / self.scale).float()
        self.smape[at] = smape(fields, target, self.ndim).float()
        self.bands[at] = self._band_errors(fields, target).float()
        for kind, frame in enumerate((fields, target)):
            for k, change in enumerate(self._drifts(frame, first)):
                self.moved[(k, kind, *at)] = change.float()

    def _band_errors(self, fields: Tensor, target: Tensor) -> Tensor:
        """|log₁₀| of the ratio of energies, (B, C, bands); NaN where a band is empty."""
        ours, true = (metrics.energy_spectrum(frame, self.ndim) for frame in (fields, target))
        edges = [*metrics.BANDS, ours.shape[-1]]
        parts = [slice(min(a, edges[-1]), b) for a, b in pairwise(edges)]
        ratios = [ours[..., part].sum(-1) / true[..., part].sum(-1) for part in parts]
        return torch.stack(ratios, -1).log10().abs()

    def _drifts(self, frame: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        space = tuple(range(2, frame.ndim))
        spread = first.std(space, correction=0).clamp_min(1e-300)
        mean = (frame.mean(space) - first.mean(space)).abs() / spread
        size = frame.square().mean(space) / first.square().mean(space).clamp_min(1e-300)
        return mean, size.clamp_min(1e-300).log10().abs()

    def result(self) -> dict[str, Any]:
        """All numbers; see `CONVENTIONS`."""
        return {
            "smape": self._by_field(self.smape),
            "spectral_error": {
                band: self._by_field(self.bands[..., k]) for k, band in enumerate(_BANDS)
            },
            "drift": {
                kind: {
                    "prediction": self._by_field(self.moved[k, 0]),
                    "truth": self._by_field(self.moved[k, 1]),
                }
                for k, kind in enumerate(("mean", "size"))
            },
            "attractor": self._attractor(),
            "lyapunov": growth(self.operator, self.store, self.plan),
            "eigenvalues": {
                "truth": self._eigenvalues(self.true),
                "prediction": self._eigenvalues(self.ours),
                "square": numbers(_SQUARE),
            },
            "baselines": self._baselines(),
            "conventions": CONVENTIONS,
        }

    def _by_field(self, values: Float[Tensor, "N T C"]) -> dict[str, list[float | None]]:
        """Means over trajectories; null where one is not finite."""
        means = values.mean(0)
        return {name: numbers(means[:, c].numpy()) for c, name in enumerate(self.plan.fields)}

    def _attractor(self) -> dict[str, Any]:
        lasting = self.ours.flatten(1).isfinite().all(1)
        found: dict[str, Any] = {
            "modes": len(self.modes.modes),
            "share": numbers(self.modes.shares.sum().item()),
            "trajectories": int(lasting.sum()),
            "prediction": _compared(self.true, self.ours[lasting]),
        }
        half = len(self.true) // 2
        if half:
            found["floor"] = _compared(self.true[:half], self.true[half:])
        found["dimension"] = {
            "truth": _dimension(self.true),
            "prediction": _dimension(self.ours[lasting]),
        }
        return found

    def _eigenvalues(self, states: Float[Tensor, "N T R"]) -> dict[str, Any] | None:
        """Of the trajectories that stay finite; None where they are too few."""
        states = states[states.flatten(1).isfinite().all(1)].double()
        pairs = states.shape[0] * (states.shape[1] - 1)
        if pairs < 2 * (states.shape[2] + 1):
            return None
        one = torch.ones(*states.shape[:2], 1, dtype=states.dtype)
        seen = torch.cat((one, states / states.std((0, 1), correction=0).clamp_min(1e-300)), 2)
        modes = residual_modes(seen[:, :-1].flatten(0, 1), seen[:, 1:].flatten(0, 1))
        square = torch.from_numpy(_SQUARE)
        points = torch.complex(*torch.meshgrid(square, square, indexing="xy"))
        values = modes.eigenvalues
        return {
            "values": numbers(torch.stack((values.real, values.imag), 1).numpy()),
            "residuals": numbers(modes.residuals.numpy()),
            "growth": numbers(values.abs().clamp_min(1e-300).log().numpy() / self.plan.dt),
            "frequency": numbers(values.angle().numpy() / (2 * math.pi * self.plan.dt)),
            "pseudospectrum": numbers(np.round(modes.pseudospectrum(points).numpy(), 4)),
        }

    def _baselines(self) -> dict[str, Any]:
        plan, store = self.plan, self.store
        windows = [
            store.window(i, plan.start, plan.history, plan.steps, plan.stride)
            .filled(plan.fill)
            .select(plan.fields)
            for i in plan.trajectories
        ]
        history = torch.stack([window.history for window in windows]).double()
        target = torch.stack([window.target for window in windows]).double()
        return {name: numbers(error.numpy()) for name, error in baselines(history, target).items()}


def _require(store: Store, plan: Plan) -> None:
    if plan.inputs:
        raise ValueError(
            f"{store.name} is a steady problem: it has no long rollouts; leave --long out"
        )
    if plan.steps < LEAST_STEPS:
        raise ValueError(
            f"long rollouts are judged from {LEAST_STEPS} steps on; got {plan.steps}. Take data "
            "with longer trajectories, more --steps, or leave --long out"
        )
    if len({round(step / plan.dt, 6) for step in plan.increments}) > 1 or plan.mode == "direct":
        raise ValueError(
            "long rollouts are judged at uniform steps, each from the prediction before; leave "
            "--long or --lead-times and --mode out"
        )
    if any(store.gaps(i) is not None for i in plan.trajectories):
        raise ValueError(f"{store.name} has frames with holes; leave --long out")


def _modes(store: Store, plan: Plan) -> tuple[Tensor, OrthogonalModes]:
    """Deviations of the fields (C, 1, …), and modes of evenly chosen true frames over these."""
    size = len(plan.fields) * math.prod(store.grid.shape)
    total = len(plan.trajectories) * plan.steps
    every = max(1, math.ceil(total * size / MOST_VALUES), math.ceil(total / 2000))
    frames = torch.cat(
        [
            truth(store, plan, [plan.trajectories[k // plan.steps]], k % plan.steps)
            for k in range(0, total, every)
        ]
    ).double()
    axes = (0, *range(2, frames.ndim))
    scale = frames.std(axes, correction=0).clamp_min(1e-30).reshape(-1, *(1,) * store.grid.ndim)
    return scale, orthogonal_modes(frames / scale, MODES)


def _compared(true: Float[Tensor, "N T R"], ours: Float[Tensor, "K T R"]) -> dict[str, Any] | None:
    """None where no trajectory stays finite."""
    if not len(ours):
        return None
    one, two = (x.flatten(0, 1)[:, :OCCUPIED].double() for x in (true, ours))
    return {
        "occupation": numbers(occupation_divergence(one, two).item()),
        "spectrum": numbers(spectral_distance(true.double(), ours.double()).item()),
    }


def _dimension(states: Float[Tensor, "N T R"]) -> float | None:
    points = states.flatten(0, 1)
    return None if len(points) < 100 else numbers(correlation_dimension(points).item())
