"""The correction û = û^f + K(û^f, mask, noise)[y − C û^f], with the gain of optimal interpolation.

The errors of the forecast are modelled as P = B Bᵀ + V, in units of the fields' scale:

    B = D Φ S   smooth: Fourier modes Φ up to a wavenumber, learned amplitudes S (fields mixed per
                mode), and the standard deviation D(x) = √v(x) · e^{μ(x)};
    V           the rest: a learned fraction of the variance, uncorrelated from point to point.

With the precision w and information b of the measurement (see `measurement`), the global part of
the correction is exact for errors B Bᵀ, and the local part acts on what it leaves:

    δ₁ = B (I + Bᵀ w B)⁻¹ Bᵀ b = B Bᵀ Cᵀ (C B Bᵀ Cᵀ + R)⁻¹ [y − C û^f],
    δ₂ = D₂ κ ∗ [D₂ (b − w δ₁) / (1 + D₂² w)],        κ a learned kernel around the identity.

Both are linear in the innovation, and exactly zero where it is zero or where nothing is measured.
What is learned: S, κ, the fraction, the modulation μ (a network of û^f, coverage and v), the
variance of measurements whose noise is not given, and how the variance v grows between them:

    v ← min(v e^{g h} + q h, 2),
    v ← v · diag(B (I + Bᵀ w B)⁻¹ Bᵀ) / diag(B Bᵀ)        at a measurement,

of whose pattern in space a learned part is kept, and the rest replaced by the mean: the errors left
between sensors are not correlated like those before, and a gain that took them for such would
magnify small innovations.

Bᵀ w B needs no matrix B: its entries are Fourier coefficients of D² w.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...datasets.base.annotations import AtLeastOne, Odd
from ...datasets.base.config import Checked
from ...datasets.fields.window import Context
from ..core.observation import Observation, Sensors
from ..layers.convolution import Convolution
from .fourier_basis import flat_index, half_modes, spectrum_of, synthesised
from .measurement import Information, NoiseModel, information
from .smoothing import SMALLEST, smooth_apart, smooth_coupled

LARGEST = 2.0  # of the variance, in units of the scale squared: two unrelated states
_ROUGH = -6.0  # logarithm of the rough fraction where the spectrum is known
_MODEL_ERROR = math.log(0.03)  # a smaller one trusts the forecast between sensors too soon
_RATE = 20.0  # largest exponent of growth in one step


@dataclass(frozen=True)
class CorrectionConfig(Checked):
    """What the gain can express.

    Attributes:
        modes: wavenumbers of smooth errors per axis, below this number.
        hidden: channels of the networks that see the forecast.
        kernel_size: width of the local spread (odd).
        fields: "coupled": errors of different fields are correlated, as the modes' amplitudes say;
            "apart": they are not, which is cheaper with many modes.
        observation: "true": the innovation is y − C û^f; "learned": y − C E(û^f) with a network E
            (an ablation: a perfect estimate does not stay perfect).
    """

    modes: AtLeastOne = 8
    hidden: AtLeastOne = 16
    kernel_size: Odd = 5
    fields: Literal["coupled", "apart"] = "coupled"
    observation: Literal["true", "learned"] = "true"


class Correction(nn.Module):
    """Gain and error model; see the module's docstring.

    Attributes:
        modes: (R, ndim) wavenumbers of smooth errors, one of each pair ±k, the mean first.

    Args:
        ndim: space axes.
        fields: channels C.
        config: its settings.
    """

    modes: Tensor
    observer: _Network | None

    def __init__(self, ndim: int, fields: int, config: CorrectionConfig) -> None:
        super().__init__()
        self.config, self.ndim = config, ndim
        self.register_buffer("modes", half_modes(ndim, config.modes), persistent=False)
        self.amplitude = nn.Parameter(torch.empty(len(self.modes), fields, fields))
        self.growth = nn.Parameter(torch.empty(fields))
        self.model_error = nn.Parameter(torch.empty(fields))
        self.fraction = nn.Parameter(torch.empty(fields))
        self.unknown = nn.Parameter(torch.empty(fields))
        self.extra = nn.Parameter(torch.empty(fields))
        self.pattern = nn.Parameter(torch.empty(fields))
        self.spread = Convolution(ndim, fields, fields, config.kernel_size, bias=False)
        self.modulation = _Network(ndim, 3 * fields, config.hidden, 2 * fields)
        learned = config.observation == "learned"
        self.observer = _Network(ndim, fields, config.hidden, fields) if learned else None

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """A sensible gain before any training: smooth isotropic errors, no modulation."""
        fields = self.amplitude.shape[1]
        smooth = (1 + self.modes.double().square().sum(1) / (self.config.modes / 2) ** 2) ** -1
        weight = torch.where(self.modes.any(1), 2.0, 1.0)
        smooth = smooth / (weight * smooth.square()).sum().sqrt()
        self.amplitude.copy_(smooth[:, None, None] * torch.eye(fields))
        self.growth.fill_(0.1)
        self.pattern.fill_(-2.0)
        for parameter, value in (
            (self.model_error, 1e-3),
            (self.fraction, 0.05),
            (self.unknown, 1e-2),
            (self.extra, 1e-4),
        ):
            parameter.fill_(math.log(value))
        self.spread.weight.zero_()
        centre = (slice(None), slice(None), *(self.config.kernel_size // 2,) * self.ndim)
        self.spread.weight[centre] = torch.eye(fields)
        self.modulation.reset(generator)
        if self.observer is not None:
            self.observer.reset(generator)

    @torch.no_grad()
    def fit(self, fields: Float[Tensor, "N C *S"]) -> None:
        """Amplitudes S from scaled fields: errors have the spectrum of the fields themselves.

        That is what the error of the mean is, and a good start: the length over which a measurement
        counts is that of the fields.
        """
        _require_grid(self.config.modes, tuple(fields.shape[2:]))
        points = math.prod(fields.shape[2:])
        chosen = spectrum_of(fields.double())[..., flat_index(self.modes, tuple(fields.shape[2:]))]
        power = (chosen / points).abs().square().mean(0).clamp_min(1e-8)
        self.amplitude.copy_(torch.diag_embed(power.sqrt().T))
        self.fraction.fill_(_ROUGH)
        self.model_error.fill_(_MODEL_ERROR)

    def expect(
        self, forecast: Float[Tensor, "B C *S"], shift: Tensor, scale: Tensor
    ) -> Float[Tensor, "B C *S"]:
        """The fields that C samples: the forecast, or E(û^f) where that is learned."""
        if self.observer is None:
            return forecast
        return forecast + scale * self.observer((forecast - shift) / scale)

    def grow(
        self, variance: Float[Tensor, "B C *S"], dt: Float[Tensor, " B"], time_scale: float
    ) -> Float[Tensor, "B C *S"]:
        """The variance of the error after a forecast over the physical time `dt`."""
        shape = (-1, *(1,) * self.ndim)
        h = (dt.to(variance) / time_scale).reshape(-1, *(1,) * (self.ndim + 1))
        factor = (h * self.growth.reshape(shape)).clamp(max=_RATE).exp()
        error = h * self.model_error.exp().reshape(shape)
        return (variance * factor + error).clamp(SMALLEST, LARGEST)

    @torch.no_grad()
    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "B C *S"]:
        """Smooth errors Φ S ξ of unit variance (at the start of training), ξ unit normal."""
        _require_grid(self.config.modes, shape[2:])
        mixing = self._mixing(self.amplitude.dtype)
        latent = torch.randn(shape[0], shape[1], len(mixing), generator=generator).to(mixing)
        mixed = torch.einsum("qcp,bpq->bcq", mixing, latent)
        return synthesised(mixed, self.modes, shape[2:])

    def forward(
        self,
        forecast: Float[Tensor, "B C *S"],
        observation: Observation | Sensors,
        context: Context,
        shift: Float[Tensor, "#B C *ones"],
        scale: Float[Tensor, "#B C *ones"],
        variance: Float[Tensor, "B C *V"],
    ) -> tuple[Float[Tensor, "B C *S"], Float[Tensor, "B C *S"]]:
        """The analysis, in physical units, and the variance of its error, in scaled ones.

        Raises:
            ValueError: the observation does not fit the fields or the grid, or the grid is too
                coarse for the modes.
        """
        _require_grid(self.config.modes, tuple(forecast.shape[2:]))
        with torch.autocast(forecast.device.type, enabled=False):
            single = torch.promote_types(forecast.dtype, torch.float32)
            forecast, shift, scale = (x.to(single) for x in (forecast, shift, scale))
            variance = variance.to(single).expand_as(forecast)
            measured = self.measure(forecast, observation, context, shift, scale)
            scaled = (forecast - shift) / scale
            rows = _measured_rows(measured)
            if rows is None:
                change, variance = self._change(scaled, measured, variance)
                return forecast + scale * change, variance
            variance = variance.clamp_min(SMALLEST)
            if not len(rows):
                return forecast, variance
            found, left = self._change(scaled[rows], measured.rows(rows), variance[rows])
            change = torch.zeros_like(forecast).index_copy(0, rows, found)
            return forecast + scale * change, variance.index_copy(0, rows, left)

    def _change(
        self, scaled: Tensor, measured: Information, variance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """δ₁ + δ₂, and the variance of the error that is left, in scaled units."""
        smooth, rough = self._deviations(scaled, measured, variance)
        solve = smooth_coupled if self.config.fields == "coupled" else smooth_apart
        change, left = solve(self._mixing(smooth.dtype), self.modes, smooth, measured)
        change = change + self._rough(rough, measured, change)
        return change, _levelled(variance * left, self.pattern, measured)

    def measure(
        self,
        forecast: Float[Tensor, "B C *S"],
        observation: Observation | Sensors,
        context: Context,
        shift: Tensor,
        scale: Tensor,
    ) -> Information:
        """Precision and weighted innovation of a measurement, in scaled units.

        Raises:
            ValueError: the observation does not fit the fields or the grid.
        """
        model = NoiseModel(self.unknown.exp(), self.extra.exp())
        expected = self.expect(forecast, shift, scale)
        return information(observation, expected, context, scale, model)

    @torch.no_grad()
    def correlation_length(self, lengths: Sequence[float]) -> float:
        """Of smooth errors: √ndim over their root mean square wavenumber; same unit as `lengths`.

        Args:
            lengths: of the domain along every axis.
        """
        power = self.amplitude.double().square().sum((1, 2))
        waves = 2 * math.pi * self.modes.double() / torch.tensor(lengths, dtype=torch.float64)
        square = (power * waves.square().sum(1).to(power)).sum() / power[1:].sum()
        return math.sqrt(self.ndim / square.item())

    def _deviations(
        self, scaled: Tensor, measured: Information, variance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Standard deviations D and D₂ of smooth and rough errors, (B, C, *S)."""
        signal = variance * measured.precision
        seen = torch.cat((scaled, signal / (1 + signal), variance.sqrt()), 1)
        # In the fields' own layout: mixed with the network's, every later step would be slower.
        modulation = self.modulation(seen).contiguous()
        smooth, rough = (2 * torch.tanh(modulation / 2)).chunk(2, 1)
        fraction = self.fraction.exp().reshape(-1, *(1,) * self.ndim)
        deviation = variance.sqrt()
        return deviation * smooth.exp(), deviation * fraction.sqrt() * rough.exp()

    def _rough(self, deviation: Tensor, measured: Information, change: Tensor) -> Tensor:
        """δ₂."""
        rest = measured.weighted - measured.precision * change
        damped = deviation * rest / (1 + deviation.square() * measured.precision)
        return deviation * self.spread(damped).contiguous()

    def _mixing(self, dtype: torch.dtype) -> Float[Tensor, "Q C C"]:
        """S for the real basis: cosines of all modes, then sines of all but the mean."""
        amplitude = self.amplitude.to(dtype)
        scale = torch.where(self.modes.any(1), math.sqrt(2), 1.0).to(dtype)
        amplitude = amplitude * scale[:, None, None]
        return torch.cat((amplitude, amplitude[1:]))


class _Network(nn.Module):
    """Two convolutions with a GELU between them; zero before training."""

    def __init__(self, ndim: int, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.inner = Convolution(ndim, inputs, hidden, 3)
        self.outer = Convolution(ndim, hidden, outputs, 1)

    def reset(self, generator: torch.Generator) -> None:
        """The outer convolution is zero."""
        self.inner.reset(generator)
        for parameter in self.outer.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "B C *S"]) -> Float[Tensor, "B D *S"]:
        """The network of x."""
        return self.outer(F.gelu(self.inner(x)))


def _measured_rows(measured: Information) -> Tensor | None:
    """Where anything was measured, if not everywhere; on the host only, which waits for nothing."""
    if measured.precision.device.type != "cpu":
        return None
    seen = measured.precision.detach().flatten(1).any(1)
    return None if seen.all() else seen.nonzero().flatten()


def _levelled(
    variance: Float[Tensor, "B C *S"], pattern: Float[Tensor, " C"], measured: Information
) -> Float[Tensor, "B C *S"]:
    """A part of the pattern of the variance, and its mean; as it is where nothing was seen."""
    axes = variance.ndim - 2
    part = torch.sigmoid(pattern).reshape(-1, *(1,) * axes)
    mean = variance.mean(tuple(range(2, variance.ndim)), keepdim=True)
    seen = measured.precision.flatten(1).any(1).reshape(-1, *(1,) * (axes + 1))
    return torch.where(seen, mean + part * (variance - mean), variance).clamp_min(SMALLEST)


def _require_grid(modes: int, space: tuple[int, ...]) -> None:
    if min(space) < 2 * modes - 1:
        raise ValueError(
            f"correction.modes = {modes} needs a grid of at least {2 * modes - 1} points per axis; "
            f"got {'×'.join(map(str, space))}. Use fewer modes or a finer grid"
        )
