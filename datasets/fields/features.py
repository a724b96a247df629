"""What frames are like in a few numbers per field, and how far a number is outside of a range.

For every field of a frame: its mean; its standard deviation over space, its mean wave number
⟨|∇u|²⟩^½ / σ, both as log₁₀; and the share of its variance in the finer half of the wave numbers
that the grid has, as log₁₀. Masked points are left out of all but the last, in which they are 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .grid import Grid

FEATURES = ("mean", "deviation", "wave number", "small scales")
# A range that is narrower is taken for one of this width: of the mean in standard deviations.
NARROWEST = {"mean": 0.02, "deviation": 0.05, "wave number": 0.05, "small scales": 0.3}
_LEAST_SHARE = 1e-8  # of the variance: below this a share is rounding


def features(
    frames: Float[Tensor, "N C *S"], grid: Grid, mask: Bool[Tensor, "N C *S"] | None = None
) -> Float[Tensor, "N C features"]:
    """The `FEATURES` of frames, in double precision.

    Args:
        frames: in physical units.
        grid: on which they lie.
        mask: where they count; None: everywhere. A field that is masked entirely counts whole.
    """
    values = frames.double()
    space = tuple(range(2, values.ndim))
    inside = torch.ones_like(values, dtype=torch.bool) if mask is None else mask.to(values.device)
    inside = inside | ~inside.any(dim=space, keepdim=True)
    count = inside.sum(space)
    mean = torch.where(inside, values, 0.0).sum(space) / count
    wide = (..., *(None,) * len(space))
    anomaly = torch.where(inside, values - mean[wide], 0.0)
    deviation = (anomaly.square().sum(space) / count).sqrt()
    least = deviation.clamp_min(1e-30)
    slope = _slope(anomaly, inside, grid)
    logs = [deviation.clamp_min(1e-30), (slope / least).clamp_min(1e-30), _fine_share(anomaly)]
    return torch.stack([mean, *(part.log10() for part in logs)], -1)


def _slope(anomaly: Tensor, inside: Tensor, grid: Grid) -> Float[Tensor, "N C"]:
    """Root mean square of the gradient, by differences of neighbours that both count."""
    total = anomaly.new_zeros(anomaly.shape[:2])
    for axis, step in enumerate(grid.spacing, start=2):
        if anomaly.shape[axis] < 2:
            continue
        size = anomaly.shape[axis] - 1
        both = inside.narrow(axis, 0, size) & inside.narrow(axis, 1, size)
        change = torch.where(both, anomaly.diff(dim=axis), 0.0) / step
        over = tuple(range(2, anomaly.ndim))
        total += change.square().sum(over) / both.sum(over).clamp_min(1)
    return total.sqrt()


def _fine_share(anomaly: Tensor) -> Float[Tensor, "N C"]:
    """Share of the variance at wave numbers above half of the largest along any axis."""
    space: Sequence[int] = tuple(range(2, anomaly.ndim))
    energy = torch.fft.fftn(anomaly, dim=space).abs().square()
    fine = torch.zeros(anomaly.shape[2:], dtype=torch.bool, device=anomaly.device)
    for axis, points in enumerate(anomaly.shape[2:]):
        wave = torch.fft.fftfreq(points, device=anomaly.device).abs() > 0.25
        fine |= wave.reshape([-1 if k == axis else 1 for k in range(len(space))])
    total = energy.sum(space).clamp_min(1e-300)
    return ((energy * fine).sum(space) / total).clamp_min(_LEAST_SHARE)


def beyond(value: float, low: float, high: float, narrowest: float) -> float:
    """How far a number is outside of a range, in widths of the range; 0 within."""
    width = max(high - low, narrowest)
    return max(low - value, value - high, 0.0) / width
