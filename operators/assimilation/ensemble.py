"""The gain of an ensemble: the members' own covariance, localised, in place of a fixed one.

Between measurements each member is a forecast, so that their deviations X = (u_m − ū) / √(M − 1)
carry errors that follow the flow. With the precision w and information b of a measurement at the
mean (see `measurement`), the local ensemble transform Kalman filter (Hunt, Kostelich & Szunyogh
2007) has at every point p

    A_p = I + Σ_x ρ(x − p) X(x)ᵀ w(x) X(x),        ū ← ū + X(p) A_p⁻¹ Σ_x ρ(x − p) X(x)ᵀ b(x),
    X(p) ← X(p) A_p^{−1/2},

ρ the taper of Gaspari & Cohn (1999), which is zero beyond twice the radius. All the sums are
convolutions. A and what follows from it vary as slowly as ρ; they are found on every few points and
interpolated. Where measurements shrink the spread, a share of the loss is given back (relaxation to
the prior spread, Whitaker & Hamill 2012): few members underestimate their error.

Before a measurement X is enlarged, since members of one model do not show the error of that model:
by smooth errors, drawn with the spectrum that the operator's gain assumes, of variance q per
trajectory and field. The innovations d tell how large; with n readings and the spread σ,

    e = (Σ w d² − n − Σ w σ²) / Σ w,      v = 2/n ((n + Σ w σ²) / Σ w)²,      q = e³ / (e² + v),

e ≥ 0 what they show beyond noise and spread (Desroziers et al. 2005), v the variance of that where
there is nothing to show, so that a few readings change little.

The correction of the mean is zero to the bit where the innovation is, and without a measurement all
members are as they were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.base.annotations import Fraction, NotNegative, Positive
from ...datasets.base.config import Checked
from ...datasets.fields.grid import Grid
from .correction import LARGEST
from .measurement import Information

_RESOLVED = 3.0  # members per region of one correlation length that a local analysis takes in
_ANALYSES = 4  # per radius
_SMALLEST = 1e-12


@dataclass(frozen=True)
class EnsembleGain(Checked):
    """How the covariance of an ensemble is used.

    Attributes:
        radius: of the localisation, in physical units: a measurement counts up to twice as far;
            None: so far that M members can tell apart what is within, correlation length ℓ / 2 ·
            (M / 3)^(1/D) in D dimensions, ℓ that of the operator's fitted error spectrum.
        relaxation: share of the spread lost to a measurement that is given back, 0 to 1.
        model_error: variance q, in units of the fields' scale squared; 0 for a perfect model. None:
            what the innovations tell.
    """

    radius: Positive | None = None
    relaxation: Fraction = 0.3
    model_error: NotNegative | None = None


def default_radius(length: float, members: int, ndim: int) -> float:
    """Of the localisation, for fields of this correlation length, in its unit."""
    return length / 2 * (members / _RESOLVED) ** (1 / ndim)


def ensemble_analysis(
    fields: Float[Tensor, "B M C *S"],
    measured: Information,
    scale: Float[Tensor, "#B C *ones"],
    grid: Grid,
    gain: EnsembleGain,
    errors: Float[Tensor, "B M C *S"],
) -> Float[Tensor, "B M C *S"]:
    """The members after a measurement.

    Args:
        fields: the members' forecasts, in physical units.
        measured: precision and information of the measurement at their mean, in scaled units.
        scale: physical units per scaled unit.
        grid: of the fields.
        gain: settings; its radius must be given.
        errors: draws of what the model's error looks like, of any size.
    """
    assert gain.radius is not None
    mean, scale = fields.mean(1, keepdim=True), scale.unsqueeze(1)
    deviations = (fields - mean) / scale
    added = _added(deviations, measured, gain)
    deviations = deviations + added.sqrt() * _standardised(errors)
    change, after = transform(deviations, measured, grid, gain.radius, gain.relaxation)
    seen = measured.precision.flatten(1).any(1).reshape(-1, *(1,) * (fields.ndim - 1))
    return torch.where(seen, mean + scale * (change.unsqueeze(1) + after), fields)


def assumed_variance(
    fields: Float[Tensor, "B M C *S"],
    measured: Information,
    scale: Float[Tensor, "#B C *ones"],
    gain: EnsembleGain,
) -> Float[Tensor, "B C *S"]:
    """Of the forecast's error, physical: the members', and the error of the model that is added."""
    scale = scale.unsqueeze(1)
    deviations = (fields - fields.mean(1, keepdim=True)) / scale
    added = _added(deviations, measured, gain)
    return scale[:, 0].square() * (deviations.var(1) + added[:, 0])


def _added(deviations: Tensor, measured: Information, gain: EnsembleGain) -> Tensor:
    """(B, 1, C, 1 …) variance of the model's error, scaled."""
    variance = _unexplained(deviations, measured)
    if gain.model_error is not None:
        variance = torch.full_like(variance, gain.model_error)
    return variance.reshape(-1, 1, variance.shape[1], *(1,) * (deviations.ndim - 3))


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


def _unexplained(
    deviations: Float[Tensor, "B M C *S"], measured: Information
) -> Float[Tensor, "B C"]:
    """q, the variance that innovations show beyond noise and spread; 0 where none is measured."""
    precision, count = measured.precision, measured.count
    total = precision.flatten(2).sum(2).clamp_min(_SMALLEST)
    spread = (precision * deviations.var(1)).flatten(2).sum(2)
    square = (measured.weighted.square() / precision.clamp_min(_SMALLEST)).flatten(2).sum(2)
    excess = ((square - count - spread) / total).clamp_min(0)
    doubt = 2 / count.clamp_min(_SMALLEST) * ((count + spread) / total).square()
    found = excess**3 / (excess.square() + doubt).clamp_min(_SMALLEST)
    # A member that has diverged has no spread to compare with.
    return torch.where(count > 0, found.nan_to_num(0.0, 0.0, 0.0).clamp(max=LARGEST), 0)


def _standardised(errors: Float[Tensor, "B M C *S"]) -> Float[Tensor, "B M C *S"]:
    """The same without their mean over members, of mean variance 1 over space."""
    errors = errors - errors.mean(1, keepdim=True)
    axes = tuple(range(3, errors.ndim))
    size = errors.var(1, keepdim=True).mean(axes, keepdim=True).sqrt()
    return errors / size.clamp_min(_SMALLEST)


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
