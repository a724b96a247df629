"""Measures of a prediction against the truth, in the fields' physical units.

Tensors are (..., C, *S); `ndim` is the number of space axes *S. A metric reduces over space only:
it returns one value per channel and leading index, (..., C). Averages over channels, time and
samples are the caller's, who should say in which order. NaN in, NaN out.

Three of PDEBench's measures (arXiv 2210.07182, as its code computes them) are statistics of a set
of samples, whose root or maximum is taken after the samples: `crmse`, `frmse` and `max_error` take
(B, ..., C, *S) and reduce over B as well. PDEBench's tables average all its measures over channels
and over frames, without the frames that were given; leave those out before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Field = Float[Tensor, "..."]  # (..., C, *S)
EPSILON = 1e-12  # divisor in place of 0: zero error over zero truth is 0, not NaN
EXACT = 1e-6  # relative error of a constant field that is predicted exactly, up to rounding
# First wave numbers (periods per domain) of PDEBench's low, middle and high band.
BANDS = (0, 4, 12)


def rmse(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """Root mean square error over space, √⟨(p − y)²⟩."""
    return root(_mean_square(_error(prediction, truth, ndim), ndim))


def nrmse(prediction: Field, truth: Field, ndim: int, least: float = 0.0) -> Float[Tensor, "..."]:
    """Root mean square error over that of the truth, ‖p − y‖₂ / ‖y‖₂, norms √⟨·²⟩.

    Also called the relative L2 error; over 1e-12 where the truth is zero everywhere, and over
    `least` where it is smaller.
    """
    return _ratio(rmse(prediction, truth, ndim), root(_mean_square(truth, ndim)), least)


def vrmse(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """RMSE in standard deviations of the truth over space, √⟨(p − y)²⟩ / max(σ, 1e-6 √⟨y²⟩).

    σ² = ⟨(y − ⟨y⟩)²⟩; predicting the mean scores 1. The same in every unit: its smallest divisor
    is relative, where a field is constant up to the rounding of single precision; 1e-12 stands in
    place of 0, for fields of zeros. The Well's is `well_vrmse`.
    """
    deviation = root(_mean_square(_centred(truth, ndim), ndim))
    least = EXACT * root(_mean_square(truth, ndim))
    return _ratio(rmse(prediction, truth, ndim), torch.maximum(deviation, least))


def well_vrmse(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """√(⟨(p − y)²⟩ / (s² + 1e-7)), s² the variance over N points of space with the divisor N − 1.

    The Well's VRMSE exactly as its benchmark computes it (arXiv 2412.00568, `metrics/spatial.py`),
    to compare with its tables. 1e-7 is in squared units of the field: it hides errors in fields of
    small amplitude, so that the same data score otherwise in other units.
    """
    error = _mean_square(_error(prediction, truth, ndim), ndim)
    return root(error / (truth.var(_space(truth, ndim)) + 1e-7))


def relative_l1(
    prediction: Field, truth: Field, ndim: int, least: float = 0.0
) -> Float[Tensor, "..."]:
    """‖p − y‖₁ / ‖y‖₁, norms ⟨|·|⟩ over space; over 1e-12 or `least` as `nrmse`."""
    space = _space(truth, ndim)
    error = _error(prediction, truth, ndim).abs().mean(space)
    return _ratio(error, truth.abs().mean(space), least)


def grouped_relative_l1(
    prediction: Field, truth: Field, ndim: int, groups: Sequence[Sequence[int]]
) -> Float[Tensor, "... G"]:
    """Σ|p − y| / max(Σ|y|, ε) over space and the channels of a group, ε = 1e-10; (..., G).

    Poseidon's error (arXiv 2405.19101), which takes a velocity as one group, in normalised units:
    its tables give the median over samples, averaged over groups.
    """
    space = _space(truth, ndim)
    error, size = _error(prediction, truth, ndim).abs().sum(space), truth.abs().sum(space)
    values = [
        error[..., list(g)].sum(-1) / size[..., list(g)].sum(-1).clamp_min(1e-10) for g in groups
    ]
    return torch.stack(values, -1)


def max_error(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """max |p − y| over space and samples: (B, ..., C, *S) → (..., C). PDEBench's maximum error."""
    error = _samples(_error(prediction, truth, ndim), ndim)
    return error.abs().amax((0, *_space(error, ndim)))


def crmse(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """√⟨(⟨p⟩ − ⟨y⟩)²⟩, inner means over space, outer over samples: (B, ..., C, *S) → (..., C).

    PDEBench's error of the conserved quantity: of the mean of the field over the domain.
    """
    error = _samples(_error(prediction, truth, ndim), ndim)
    return root(error.mean(_space(error, ndim)).square().mean(0))


def brmse(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """Root mean square error over the faces of the grid, the first and last points of each axis.

    PDEBench's, of each channel also in 3D (where its code sums over the channels). A point that
    lies on several faces counts once for each.
    """
    square = _error(prediction, truth, ndim).square()
    faces = [square.select(axis, i) for axis in range(-ndim, 0) for i in (0, -1)]
    if ndim == 1:
        return root(torch.stack(faces).mean(0))
    points = sum(math.prod(face.shape[1 - ndim :]) for face in faces)
    return root(torch.stack([face.flatten(1 - ndim).sum(-1) for face in faces]).sum(0) / points)


def frmse(
    prediction: Field,
    truth: Field,
    ndim: int,
    lengths: Sequence[float] | None = None,
    bands: Sequence[int] = BANDS,
) -> Float[Tensor, "... bands"]:
    """PDEBench's error in Fourier space, low, middle and high: (B, ..., C, *S) → (..., C, bands).

    Let E_k = √⟨Σ|ê|²⟩ · Π(length / points), the sum over the modes of shell ⌊|κ|⌋ = k and the mean
    over samples. A band's value is the mean of E_k over its shells, 0 where the grid has none.
    As published, shells hold only modes with κ ≥ 0 along every axis, and end below n/2 (in 1D, at
    n/2), n the smallest axis. `spectral_rmse` has no such gaps and adds up to the RMSE.

    Args:
        prediction, truth: (B, ..., C, *S).
        ndim: number of space axes.
        lengths: extent of the domain per axis, ones by default.
        bands: first shell of each band; the last one is open.
    """
    error = _samples(_error(prediction, truth, ndim), ndim)
    shape = error.shape[-ndim:]
    power = torch.fft.fftn(error, dim=_space(error, ndim), norm="forward").abs().square()
    last = 1 if ndim == 1 else 0  # in 1D the Nyquist mode is a shell of its own
    kept = [n // 2 + last for n in shape]
    for axis, n in enumerate(kept):
        power = power.narrow(axis - ndim, 0, n)
    radius = _radius([torch.arange(n, device=error.device) for n in kept])
    shells = _sum_shells(power, radius.floor().long(), min(kept))
    size = root(shells.mean(0)) * math.prod(lengths or (1.0,))
    return torch.stack(
        [part.mean(-1) if part.shape[-1] else part.sum(-1) for part in _cut(size, bands)], -1
    )


def spectral_rmse(
    prediction: Field, truth: Field, ndim: int, bands: Sequence[int] = BANDS
) -> Float[Tensor, "... bands"]:
    """Root mean square of the error's part in bands of wave numbers; (..., C, bands).

    The error filtered to ⌊|κ|⌋ = bands[b] … bands[b + 1] − 1, κ in periods per domain, the last
    band open. The squares add up to the mean square error (Parseval).
    """
    error = _error(prediction, truth, ndim)
    power = _power(error, ndim)
    radius = _radius(
        [torch.fft.fftfreq(n, 1 / n, device=error.device) for n in error.shape[-ndim:]]
    )
    shell = radius.floor().long()
    shells = _sum_shells(power, shell, int(shell.max()) + 1)
    return root(torch.stack([part.sum(-1) for part in _cut(shells, bands)], -1))


def drift(
    prediction: Float[Tensor, "..."], initial: Field, ndim: int, power: int = 1
) -> Float[Tensor, "..."]:
    """Change of a conserved integral, (⟨u^m⟩ − ⟨u₀^m⟩) / ⟨|u₀|^m⟩, m = `power`.

    m = 1 for a conserved mean (mass, momentum), m = 2 for a conserved energy.

    Args:
        prediction: (..., T, C, *S), frames after `initial`.
        initial: (..., C, *S).
        ndim: number of space axes.
        power: m.

    Returns:
        (..., T, C), with the sign of the change.
    """
    _check_space(initial, ndim)
    start = initial.unsqueeze(-ndim - 2)
    space = _space(start, ndim)
    change = prediction.pow(power).mean(space) - start.pow(power).mean(space)
    return _ratio(change, start.abs().pow(power).mean(space))


def crps(
    ensemble: Float[Tensor, "M ..."], truth: Field, ndim: int, fair: bool = False
) -> Float[Tensor, "..."]:
    """Continuous ranked probability score, ⟨E|X − y| − ½ E|X − X′|⟩ over space; (..., C).

    X, X′ are members of the ensemble (M, ..., C, *S). The score is that of the ensemble's
    empirical distribution; `fair` divides by M (M − 1) pairs, which removes the bias of few
    members (Ferro 2014). One member gives the mean absolute error (fair needs two).
    """
    members = _members(ensemble, truth, ndim)
    if fair and members < 2:
        raise ValueError("a fair CRPS needs at least 2 members; got 1")
    error = (ensemble - truth).abs().mean(0)
    # ΣΣ|xᵢ − xⱼ| over all pairs from the order statistics: 2 Σ (2 i − M + 1) x₍ᵢ₎, i = 0 … M − 1.
    order = torch.arange(members, dtype=truth.dtype, device=truth.device)
    weight = (2 * order - members + 1).reshape(-1, *(1,) * truth.ndim)
    pairs = (weight * ensemble.sort(0).values).sum(0) * 2
    pairs = pairs / (members * (members - 1 if fair else members))
    return (error - pairs / 2).mean(_space(truth, ndim))


def spread(ensemble: Float[Tensor, "M ..."], ndim: int) -> Float[Tensor, "..."]:
    """√⟨s²⟩, s² the unbiased variance over the members (M, ..., C, *S), the mean over space."""
    if len(ensemble) < 2:
        raise ValueError("the spread of an ensemble needs at least 2 members; got 1")
    return root(ensemble.var(0).mean(_space(ensemble[0], ndim)))


def spread_error_ratio(
    ensemble: Float[Tensor, "M ..."], truth: Field, ndim: int
) -> Float[Tensor, "..."]:
    """√((M + 1) / M) · spread / RMSE of the ensemble's mean (Fortin 2014); 1 if consistent.

    Below 1 the ensemble is too sure. Average spread² and error² over many samples before the
    ratio where single ones are noisy.
    """
    members = _members(ensemble, truth, ndim)
    error = rmse(ensemble.mean(0), truth, ndim)
    return _ratio(math.sqrt((members + 1) / members) * spread(ensemble, ndim), error)


def correlation(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """Pearson correlation over space; 0 where either field is constant, up to rounding."""
    _error(prediction, truth, ndim)
    one, two = _standardised(prediction, ndim), _standardised(truth, ndim)
    return (one * two).mean(_space(truth, ndim))


def energy_spectrum(field: Field, ndim: int) -> Float[Tensor, "..."]:
    """Energy per shell of wave numbers, E_k = Σ |û_κ|² over k − ½ ≤ |κ| < k + ½; (..., C, n/2 + 1).

    û is the Fourier transform over n points per axis divided by their number, κ counts periods
    per domain, and k = 0 … n/2 with n the smallest axis. So Σ_k E_k = ⟨u²⟩ (Parseval) for a field
    without modes in the corners |κ| ≥ n/2 + ½, which belong to no shell; in 1D there are none.
    """
    _check_space(field, ndim)
    shape = field.shape[-ndim:]
    radius = _radius([torch.fft.fftfreq(n, 1 / n, device=field.device) for n in shape])
    return _sum_shells(_power(field, ndim), (radius + 0.5).floor().long(), min(shape) // 2 + 1)


def valid_time(
    prediction: Field,
    truth: Field,
    lead_times: Float[Tensor, " T"],
    ndim: int,
    threshold: float = 0.8,
    metric: str = "correlation",
) -> Float[Tensor, "..."]:
    """How long a forecast stays close: when its measure crosses the threshold.

    (..., T, C, *S) → (..., C), in the unit of the lead times: give them in Lyapunov times (divide
    by the Lyapunov time) for the valid prediction time of chaotic dynamics.

    A frame fails when its `correlation` is below the threshold or, with `metric="nrmse"`, when
    its error is above it; NaN fails. A field that is constant over space in the truth has no
    correlation: its frame fails unless it is predicted exactly (see `agrees`). See `failure_time`.

    Raises:
        ValueError: unknown metric.
    """
    if metric == "correlation":
        passed = agrees(prediction, truth, ndim, threshold)
        values = correlation(prediction, truth, ndim)
    elif metric == "nrmse":
        values = nrmse(prediction, truth, ndim)
        passed = values <= threshold
    else:
        raise ValueError(f"metric must be 'correlation' or 'nrmse'; got {metric!r}")
    return failure_time(values, passed, lead_times, threshold)


def failure_time(
    values: Float[Tensor, "... T C"],
    passed: Bool[Tensor, "... T C"],
    lead_times: Float[Tensor, " T"],
    threshold: float,
) -> Float[Tensor, "... C"]:
    """When a measure crosses a threshold, linear between lead times; (..., T, C) → (..., C).

    0 where the first frame fails already, the last lead time, a lower bound, where none does.
    Where the measure of a frame before or at the failure is not finite, or does not say what
    passed, the time is that of the frame before.
    """
    failed, values = ~passed.movedim(-2, -1), values.movedim(-2, -1)
    first = failed.int().argmax(-1, keepdim=True)
    before = (first - 1).clamp_min(0)
    one, two = (values.gather(-1, frame) - threshold for frame in (before, first))
    share = torch.where(one * two < 0, one / (one - two), 0)
    start, end = lead_times[before], lead_times[first]
    times = torch.where(first > 0, start + share.to(start) * (end - start), 0)
    return torch.where(failed.any(-1), times[..., 0], lead_times[-1])


def agrees(
    prediction: Field, truth: Field, ndim: int, threshold: float = 0.8
) -> Bool[Tensor, "..."]:
    """Whether the correlation over space reaches a threshold; (..., C).

    Where the truth is constant over space there is none (0/0): a prediction then agrees that is the
    same value everywhere, up to one part in 10⁶.
    """
    space = _space(truth, ndim)
    low, high = truth.amin(space), truth.amax(space)
    error = _error(prediction, truth, ndim).abs().amax(space)
    exact = (low == high) & (error <= EXACT * high.abs())
    return (correlation(prediction, truth, ndim) >= threshold) | exact


def root(square: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """√x with the gradient 0 at x = 0, a minimum of errors; its own, ∞, would turn to NaN."""
    zero = square == 0
    return square.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)


def _power(field: Field, ndim: int) -> Field:
    """|û_κ|², û the Fourier transform divided by the number of points; Σ_κ |û_κ|² = ⟨u²⟩."""
    if field.dtype in (torch.float16, torch.bfloat16):
        field = field.float()
    return torch.fft.fftn(field, dim=_space(field, ndim), norm="forward").abs().square()


def _radius(axes: Sequence[Tensor]) -> Float[Tensor, "..."]:
    """|κ| on the grid that the axes span, whole numbers up to rounding."""
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return grid.double().round().square().sum(0).sqrt()


def _sum_shells(power: Field, shell: Tensor, count: int) -> Float[Tensor, "... k"]:
    """Sums of `power` over the modes of shells 0 … count − 1; modes beyond are dropped."""
    leading = power.shape[: power.ndim - shell.ndim]
    sums = power.new_zeros(*leading, count + 1)
    index = shell.flatten().clamp_max(count)  # what is beyond goes to one shell more
    return sums.index_add_(-1, index, power.flatten(-shell.ndim))[..., :count]


def _cut(shells: Float[Tensor, "... k"], bands: Sequence[int]) -> list[Tensor]:
    """The shells of each band, from its first to the next band's."""
    if list(bands) != sorted({int(first) for first in bands if first >= 0}):
        raise ValueError(f"bands are rising first wave numbers ≥ 0; got {tuple(bands)}")
    return [shells[..., low:high] for low, high in zip(bands, [*bands[1:], None], strict=True)]


def _samples(field: Field, ndim: int) -> Field:
    """The field, after a look whether it has an axis of samples."""
    if field.ndim < ndim + 2:
        raise ValueError(f"samples must be (B, ..., C, *S); got shape {tuple(field.shape)}")
    return field


def _members(ensemble: Tensor, truth: Field, ndim: int) -> int:
    """Number of members, after a look at the shapes."""
    _check_space(truth, ndim)
    if ensemble.shape[1:] != truth.shape:
        raise ValueError(
            f"an ensemble has shape (members, *truth.shape); got {tuple(ensemble.shape)} for "
            f"truth {tuple(truth.shape)}"
        )
    return len(ensemble)


def _error(prediction: Field, truth: Field, ndim: int) -> Tensor:
    """p − y, after a look at the shapes, which must not broadcast."""
    if prediction.shape != truth.shape:
        raise ValueError(
            f"prediction and truth must have the same shape; got {tuple(prediction.shape)} and "
            f"{tuple(truth.shape)}"
        )
    _check_space(truth, ndim)
    return prediction - truth


def _check_space(field: Field, ndim: int) -> None:
    if ndim not in (1, 2, 3) or field.ndim <= ndim:
        raise ValueError(
            f"a field is (..., C, *S) with ndim = 1, 2 or 3 space axes; got shape "
            f"{tuple(field.shape)} and ndim {ndim}"
        )


def _space(field: Field, ndim: int) -> tuple[int, ...]:
    return tuple(range(field.ndim - ndim, field.ndim))


def _mean_square(field: Field, ndim: int) -> Tensor:
    return field.square().mean(_space(field, ndim))


def _centred(field: Field, ndim: int) -> Tensor:
    return field - field.mean(_space(field, ndim), keepdim=True)


def _standardised(field: Field, ndim: int) -> Tensor:
    """Deviations from the mean over their root mean square; 0 where they are rounding errors."""
    centred = _centred(field, ndim)
    deviation = root(_mean_square(centred, ndim))
    rounding = 4 * torch.finfo(field.dtype).eps * root(_mean_square(field, ndim))
    deviation = deviation.masked_fill(deviation <= rounding, torch.inf)
    return centred / deviation.reshape(*deviation.shape, *(1,) * ndim)


def _ratio(value: Tensor, norm: Tensor, least: float = 0.0) -> Tensor:
    norm = norm.clamp_min(least)
    return value / norm.masked_fill(norm == 0, EPSILON)
