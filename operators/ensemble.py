"""The gain of an ensemble: the members' own covariance, localised, in place of a fixed one.

Between measurements each member is a forecast, so that their deviations X = (u_m − ū) / √(M − 1)
carry errors that follow the flow. With the precision w and information b of a measurement at the
mean (see `measurement`), the local ensemble transform Kalman filter (Hunt, Kostelich & Szunyogh
2007) has at every point p

    A_p = I + Σ_x ρ(x − p) X(x)ᵀ w(x) X(x),        ū ← ū + X(p) A_p⁻¹ Σ_x ρ(x − p) X(x)ᵀ b(x),
    X(p) ← X(p) A_p^{−1/2},

ρ the taper of Gaspari & Cohn (1999), which is zero beyond twice the radius. All the sums are
convolutions. A and what follows from it vary as slowly as ρ; they are found on every few points and
interpolated. Before, X grows by the variance of a model error. Where measurements shrink the
spread, a share of the loss is given back (relaxation to the prior spread, Whitaker & Hamill 2012):
few members underestimate their error.

The correction of the mean is zero to the bit where the innovation is, and without a measurement all
members are as they were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..datasets.fields import Grid
from .measurement import Information

RADII = 3.3  # default radius of localisation, in correlation lengths of the fields
_ANALYSES = 4  # per radius
_SMALLEST = 1e-12


@dataclass(frozen=True)
class EnsembleGain:
    """How the covariance of an ensemble is used.

    Attributes:
        radius: of the localisation, in physical units: a measurement counts up to twice as far;
            None: 3.3 correlation lengths of the operator's fitted error spectrum.
        relaxation: share of the spread lost to a measurement that is given back, 0 to 1.
        model_error: variance in units of the fields' scale squared by which the members' grows at
            every measurement, in its own pattern: what the forecast adds that they do not show.
            About three to ten times the squared error of one step; 0 for a perfect model.
    """

    radius: float | None = None
    relaxation: float = 0.3
    model_error: float = 3e-4

    def __post_init__(self) -> None:
        if self.radius is not None and not (self.radius > 0 and math.isfinite(self.radius)):
            raise ValueError(f"the radius of localisation must be positive; got {self.radius}")
        if not 0 <= self.relaxation <= 1:
            raise ValueError(f"relaxation is a share, 0 to 1; got {self.relaxation}")
        if not 0 <= self.model_error < math.inf:
            raise ValueError(f"model_error must not be negative; got {self.model_error}")


def ensemble_analysis(
    fields: Float[Tensor, "B M C *S"],
    measured: Information,
    scale: Float[Tensor, "#B C *ones"],
    grid: Grid,
    gain: EnsembleGain,
) -> Float[Tensor, "B M C *S"]:
    """The members after a measurement.

    Args:
        fields: the members' forecasts, in physical units.
        measured: precision and information of the measurement at their mean, in scaled units.
        scale: physical units per scaled unit.
        grid: of the fields.
        gain: settings; its radius must be given.
    """
    assert gain.radius is not None
    mean, scale = fields.mean(1, keepdim=True), scale.unsqueeze(1)
    deviations = _inflated((fields - mean) / scale, gain.model_error)
    change, after = transform(deviations, measured, grid, gain.radius, gain.relaxation)
    seen = measured.precision.flatten(1).any(1).reshape(-1, *(1,) * (fields.ndim - 1))
    return torch.where(seen, mean + scale * (change.unsqueeze(1) + after), fields)


def transform(
    deviations: Float[Tensor, "B M C *S"],
    measured: Information,
    grid: Grid,
    radius: float,
    relaxation: float,
) -> tuple[Float[Tensor, "B C *S"], Float[Tensor, "B M C *S"]]:
    """The change of the mean, and the deviations afterwards.

    Args:
        deviations: of the members from their mean.
        measured: precision and information of the measurement, in the deviations' units.
        grid: of the fields.
        radius: half of the distance at which ρ vanishes.
        relaxation: share of the lost spread that is given back.
    """
    members, space = deviations.shape[1], tuple(deviations.shape[3:])
    x = deviations / math.sqrt(members - 1)
    row, column = torch.triu_indices(members, members, device=x.device)
    weighted = x * measured.precision.unsqueeze(1)
    pairs = (x[:, row] * weighted[:, column]).sum(2)
    seen = (x * measured.weighted.unsqueeze(1)).sum(2)
    strides = [_stride(radius, h, n) for h, n in zip(grid.spacing, space, strict=True)]
    local = _tapered(torch.cat((pairs, seen), 1), grid, radius, strides)
    local, sums = local.movedim(1, -1).double(), len(row)
    matrix = local.new_zeros(*local.shape[:-1], members, members)
    matrix[..., row, column] = local[..., :sums]
    matrix[..., column, row] = local[..., :sums]
    # A member that has diverged spoils its own trajectory, not the whole batch.
    matrix = matrix.nan_to_num(0.0, 0.0, 0.0) + torch.eye(members).to(matrix)
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp_min(1.0).unsqueeze(-2)
    weights = ((vectors / values) @ (vectors.mT @ local[..., sums:, None]))[..., 0]
    root = (vectors * values.rsqrt()) @ vectors.mT
    found = torch.cat((weights, root.flatten(-2)), -1).movedim(-1, 1).to(x)
    found = _interpolated(found, grid, strides)
    weights, root = found[:, :members], found[:, members:].unflatten(1, (members, members))
    change = (x * weights.unsqueeze(2)).sum(1)
    after = torch.einsum("bmc...,bmn...->bnc...", deviations, root)
    return change, _relaxed(after, deviations, relaxation)


def _inflated(deviations: Float[Tensor, "B M C *S"], error: float) -> Tensor:
    """Deviations whose mean variance over space is larger by `error`, at most four times."""
    axes = (1, *range(3, deviations.ndim))
    variance = deviations.square().mean(axes, keepdim=True).clamp_min(_SMALLEST)
    return deviations * (1 + error / variance).clamp(max=4.0).sqrt()


def taper(distance: Tensor, radius: float) -> Tensor:
    """ρ: 1 at distance 0, 0 beyond 2 · radius (Gaspari & Cohn 1999, eq. 4.10)."""
    z = distance / radius
    near = 1 - 5 / 3 * z**2 + 5 / 8 * z**3 + z**4 / 2 - z**5 / 4
    far = 4 - 5 * z + 5 / 3 * z**2 + 5 / 8 * z**3 - z**4 / 2 + z**5 / 12
    far = far - 2 / (3 * z.clamp_min(0.5))
    return torch.where(z < 1, near, torch.where(z < 2, far, 0))


def _tapered(
    sums: Float[Tensor, "B K *S"], grid: Grid, radius: float, strides: list[int]
) -> Tensor:
    """ρ ∗ sums at every `stride`-th point; axes that are not periodic are padded."""
    space, axes = tuple(sums.shape[2:]), tuple(range(2, sums.ndim))
    sizes, offsets = [], []
    for n, h, boundary in zip(space, grid.spacing, grid.boundary, strict=True):
        size = n if boundary == "periodic" else 2 * n
        place = torch.arange(size, dtype=torch.float64)
        offsets.append(h * torch.minimum(place, size - place))
        sizes.append(size)
    square = sum(d.square() for d in torch.meshgrid(*offsets, indexing="ij"))
    kernel = taper(torch.as_tensor(square).sqrt(), radius).to(sums)
    spectrum = torch.fft.rfftn(sums, s=sizes, dim=axes)
    kernel = torch.fft.rfftn(kernel, dim=tuple(range(len(space))))
    whole = torch.fft.irfftn(spectrum * kernel, s=sizes, dim=axes)
    chosen = tuple(slice(0, n, s) for n, s in zip(space, strides, strict=True))
    return whole[(..., *chosen)]


def _interpolated(
    coarse: Float[Tensor, "B K *s"], grid: Grid, strides: list[int]
) -> Float[Tensor, "B K *S"]:
    """(Multi)linear interpolation from every `stride`-th point; beyond the last, constant."""
    for axis, (n, stride, boundary) in enumerate(
        zip(grid.shape, strides, grid.boundary, strict=True)
    ):
        count = coarse.shape[2 + axis]
        place = torch.arange(n, dtype=torch.float64) / stride
        low = place.floor().long()
        # The last interval of a periodic axis ends at its first point, and may be shorter.
        width = torch.where(low == count - 1, n / stride - (count - 1), 1.0)
        fraction = ((place - low) / width).to(coarse)
        high = (low + 1) % count if boundary == "periodic" else (low + 1).clamp(max=count - 1)
        fraction = fraction.reshape(-1, *(1,) * (grid.ndim - 1 - axis))
        ends = [coarse.index_select(2 + axis, i.to(coarse.device)) for i in (low, high)]
        coarse = torch.lerp(ends[0], ends[1], fraction.expand_as(ends[0]))
    return coarse


def _relaxed(after: Tensor, before: Tensor, relaxation: float) -> Tensor:
    old, new = (x.square().sum(1, keepdim=True).sqrt() for x in (before, after))
    return after * (1 + relaxation * (old - new) / new.clamp_min(_SMALLEST))


def _stride(radius: float, spacing: float, points: int) -> int:
    """Points from one analysis to the next."""
    return max(1, min(math.floor(radius / (_ANALYSES * spacing)), points))
