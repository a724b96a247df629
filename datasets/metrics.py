"""Measures of a prediction against the truth, in the fields' physical units.

Tensors are (..., C, *S); `ndim` is the number of space axes *S. A metric reduces over space only:
it returns one value per channel and leading index, (..., C). Averages over channels, time and
samples are the caller's, who should say in which order. NaN in, NaN out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Field = Float[Tensor, "..."]  # (..., C, *S)
EPSILON = 1e-12  # smallest divisor: zero error over zero truth is 0, not NaN


def rmse(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """Root mean square error over space, √⟨(p − y)²⟩."""
    return root(_mean_square(_error(prediction, truth, ndim), ndim))


def nrmse(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """Root mean square error over that of the truth, ‖p − y‖₂ / max(‖y‖₂, ε), norms √⟨·²⟩.

    The same number as `relative_l2`; ε = 1e-12.
    """
    return _ratio(rmse(prediction, truth, ndim), root(_mean_square(truth, ndim)))


def vrmse(
    prediction: Field, truth: Field, ndim: int, epsilon: float = 1e-7
) -> Float[Tensor, "..."]:
    """√(⟨(p − y)²⟩ / (⟨(y − ⟨y⟩)²⟩ + ε)): the RMSE in standard deviations of the truth over space.

    The Well's VRMSE, with the population variance; predicting the mean scores 1. Its ε = 1e-7
    is absolute, in squared units of the field: it hides errors in fields of tiny amplitude.
    """
    error = _mean_square(_error(prediction, truth, ndim), ndim)
    return root(error / (_mean_square(_centred(truth, ndim), ndim) + epsilon))


def relative_l1(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """‖p − y‖₁ / max(‖y‖₁, ε), norms ⟨|·|⟩ over space, ε = 1e-12."""
    space = _space(truth, ndim)
    error = _error(prediction, truth, ndim).abs().mean(space)
    return _ratio(error, truth.abs().mean(space))


def relative_l2(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """‖p − y‖₂ / max(‖y‖₂, ε); the same number as `nrmse`, under its other name."""
    return nrmse(prediction, truth, ndim)


def correlation(prediction: Field, truth: Field, ndim: int) -> Float[Tensor, "..."]:
    """Pearson correlation over space; 0 where either field is constant."""
    _error(prediction, truth, ndim)
    one, two = _centred(prediction, ndim), _centred(truth, ndim)
    covariance = (one * two).mean(_space(truth, ndim))
    scaled = _ratio(covariance, root(_mean_square(one, ndim)))
    return _ratio(scaled, root(_mean_square(two, ndim)))


def energy_spectrum(field: Field, ndim: int) -> Float[Tensor, "..."]:
    """Energy per shell of wave numbers, E_k = Σ |û_κ|² over k − ½ ≤ |κ| < k + ½; (..., C, n/2 + 1).

    û is the Fourier transform over n points per axis divided by their number, κ counts periods
    per domain, and k = 0 … n/2 with n the smallest axis. So Σ_k E_k = ⟨u²⟩ (Parseval) for a field
    without modes in the corners |κ| ≥ n/2 + ½, which belong to no shell; in 1D there are none.
    """
    _check_space(field, ndim)
    space = _space(field, ndim)
    shape = field.shape[-ndim:]
    if field.dtype in (torch.float16, torch.bfloat16):
        field = field.float()
    power = torch.fft.fftn(field, dim=space, norm="forward").abs().square()
    axes = [torch.fft.fftfreq(n, 1 / n, device=field.device) for n in shape]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
    shell = (radius + 0.5).floor().long().flatten()
    count = min(shape) // 2 + 1
    shell = shell.clamp_max(count)  # the corners go to one shell more, which is dropped
    spectrum = power.new_zeros(*field.shape[:-ndim], count + 1)
    return spectrum.index_add_(-1, shell, power.flatten(-ndim))[..., :count]


def valid_time(
    prediction: Field,
    truth: Field,
    lead_times: Float[Tensor, " T"],
    ndim: int,
    threshold: float = 0.8,
    metric: str = "correlation",
) -> Float[Tensor, "..."]:
    """Lead time of the first frame that fails; the last lead time where none does.

    A frame fails when its `correlation` is below the threshold or, with `metric="nrmse"`, when
    its error is above it; NaN fails. Where no frame fails, the value is a lower bound.

    Raises:
        ValueError: unknown metric.
    """
    if metric == "correlation":
        passed = correlation(prediction, truth, ndim) >= threshold
    elif metric == "nrmse":
        passed = nrmse(prediction, truth, ndim) <= threshold
    else:
        raise ValueError(f"metric must be 'correlation' or 'nrmse'; got {metric!r}")
    failed = ~passed.movedim(-2, -1)
    first = failed.int().argmax(-1)
    return torch.where(failed.any(-1), lead_times[first], lead_times[-1])


def root(square: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """√x with the gradient 0 at x = 0, a minimum of errors; its own, ∞, would turn to NaN."""
    zero = square == 0
    return square.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)


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


def _ratio(value: Tensor, norm: Tensor) -> Tensor:
    return value / norm.clamp_min(EPSILON)
