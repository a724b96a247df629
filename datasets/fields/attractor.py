"""Measures of where long rollouts live: whether they stay on the attractor of the true dynamics.

States are points, in practice a few coefficients of proper orthogonal modes (`orthogonal_modes`) of
the truth, never raw grids. Trajectories are (N, T, R): N series of T frames with R coefficients.
The measures compare distributions and spectra, not frames: after the valid time no forecast agrees
with the truth frame by frame, and a good one still has its statistics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SMOOTHING = 1e-5  # added to every bin of a histogram (Hess et al. 2023)
MOST_POINTS = 2000  # of which all pair distances are taken


@dataclass(frozen=True)
class OrthogonalModes:
    """Proper orthogonal modes of frames.

    Attributes:
        mean: (F,) of the flattened frames.
        modes: (R, F) orthonormal, by falling variance.
        shares: (R,) of the total variance.
        axes: of a frame, before it is flattened.
    """

    mean: Tensor
    modes: Tensor
    shares: Tensor
    axes: int

    def coefficients(self, frames: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """(…, R) of frames (…, *F)."""
        flat = frames.flatten(frames.ndim - self.axes).to(self.mean)
        return (flat - self.mean) @ self.modes.T


def orthogonal_modes(frames: Float[Tensor, "M ..."], most: int) -> OrthogonalModes:
    """The leading proper orthogonal modes (principal components) of frames, in double precision.

    Args:
        frames: (M, …), each flattened; fields of several units are scaled before.
        most: modes at most; there are no more than M - 1, nor modes without variance.
    """
    flat = frames.flatten(1).double()
    mean = flat.mean(0)
    _, sizes, modes = torch.linalg.svd(flat - mean, full_matrices=False)
    power = sizes.square()
    least = 1e-12 * power.sum()
    count = min(most, int((power > least).sum()))
    shares = power[:count] / power.sum().clamp_min(1e-300)
    return OrthogonalModes(mean, modes[:count], shares, frames.ndim - 1)


def smape(
    prediction: Float[Tensor, "..."], truth: Float[Tensor, "..."], ndim: int
) -> Float[Tensor, "..."]:
    """Symmetric mean absolute percentage error, 100 ⟨|p − y| / (|p| + |y|)⟩ over space, 0 to 100.

    (…, C, *S) to (…, C). A point where both are zero counts 0. The scaled form of dysts (Gilpin
    2021), whose other form is twice that.
    """
    size = (prediction.abs() + truth.abs()).clamp_min(torch.finfo(truth.dtype).tiny)
    error = 100 * (prediction - truth).abs() / size
    return error.mean(tuple(range(error.ndim - ndim, error.ndim)))


def occupation_divergence(
    truth: Float[Tensor, "M R"], guess: Float[Tensor, "K R"], bins: int = 30
) -> Float[Tensor, ""]:
    """Kullback–Leibler divergence D(p ‖ q) of histograms of states, in nats.

    `bins` per axis span the truth's range, a tenth of its deviation wider at both ends; states
    outside count in the outermost bins, those that are not finite are left out, and every bin is
    smoothed by 1e-5 of the states. For R of at most 5 (30⁵ bins are 24 million). After D_stsp of
    Hess et al. (2023), which drops states outside.

    Raises:
        ValueError: more axes than 5, or no finite state.
    """
    if truth.shape[1] > 5:
        raise ValueError(f"histograms are of at most 5 axes; got {truth.shape[1]}")
    margin = 0.1 * truth.std(0, correction=0)
    low, high = truth.amin(0) - margin, truth.amax(0) + margin
    p, q = (_occupation(states, low, high, bins) for states in (truth, guess))
    return (p * (p / q).log()).sum()


def _occupation(states: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    """Smoothed shares of states per bin."""
    states = states[states.isfinite().all(1)].double()
    if not len(states):
        raise ValueError("no state is finite: there is no occupation to compare")
    width = (high - low).double().clamp_min(1e-300)
    index = ((states - low) / width * bins).clamp(0, bins - 1).long()
    places = bins ** torch.arange(index.shape[1] - 1, -1, -1)
    counts = torch.bincount((index * places).sum(1), minlength=bins ** index.shape[1])
    share = counts.double() / len(states) + SMOOTHING
    return share / share.sum()


def spectral_distance(
    truth: Float[Tensor, "N T R"], guess: Float[Tensor, "K T R"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Hellinger distance of power spectra in time, a mean over coefficients; 0 to 1.

    (1/√2) ‖√p − √q‖, p and q the power of series standardised by the truth's mean and deviation, a
    mean over series, without the constant, normalised to a sum of 1, and smoothed by a Gaussian of
    `smoothing` frequencies. After D_H of Hess et al. (2023).
    """
    mean = truth.mean((0, 1))
    deviation = truth.std((0, 1), correction=0).clamp_min(1e-300)
    p, q = (_spectrum((series - mean) / deviation, smoothing) for series in (truth, guess))
    return ((p.sqrt() - q.sqrt()).square().sum(0) / 2).sqrt().mean()


def _spectrum(series: Tensor, smoothing: float) -> Tensor:
    """(K, R) normalised power per frequency."""
    power = torch.fft.rfft(series.double(), dim=1).abs().square().mean(0)[1:]
    if smoothing > 0:
        k = torch.arange(len(power), dtype=power.dtype)
        kernel = torch.exp(-0.5 * ((k[:, None] - k) / smoothing).square())
        power = (kernel / kernel.sum(1, keepdim=True)) @ power
    return power / power.sum(0).clamp_min(1e-300)


def correlation_dimension(
    states: Float[Tensor, "M R"], percentile: float = 5.0
) -> Float[Tensor, ""]:
    """Correlation dimension by Takens' estimator, d = −1 / ⟨ln(r / r_max)⟩ over pairs r < r_max.

    The maximum-likelihood exponent of C(r) ∝ r^d below r_max, the given percentile of all pair
    distances. Pairs closer than a thousandth of it are left out: where states return, their
    distance is that of rounding. Of more than 2000 states, evenly spaced ones are taken. States
    that follow each other closely in time look one-dimensional: thin them before.

    Raises:
        ValueError: fewer than 10 states.
    """
    if len(states) < 10:
        raise ValueError(f"a dimension needs at least 10 states; got {len(states)}")
    every = math.ceil(len(states) / MOST_POINTS)
    distances = torch.pdist(states[::every].double())
    most = torch.quantile(distances[:: max(1, len(distances) // 1_000_000)], percentile / 100)
    near = distances[(distances < most) & (distances > 1e-3 * most)]
    return -1 / (near / most).log().mean()
