"""The semilinear observer: prediction and data assimilation in one operator, in 1D, 2D and 3D.

For u_t = A u + G(u) measured as y = C u + noise (arXiv 2402.15656), a step is

    exponential:  û^f = e^{hA} û + h φ₁(hA) G_θ(û)   (order 1; see `exponential` for order 2),
    residual:     û^f = û + W_θ(û)                    (the paper's form as implemented),
    correction:   û = û^f + K_θ(û^f, mask, noise)[y − C û^f]   (see `correction`).

A is diagonal in Fourier space: known (a polynomial in i k whose coefficients may be parameters of
the data), learned, or both. It acts on physical values, so no normalisation changes it; the network
N_θ sees scaled fields v = (u − shift)/scale, and G_θ = scale / time_scale · N_θ(v) is a physical
rate, W_θ = scale · N_θ(v) a change. Where A has a constant term, A(shift) is part of A û as well,
and N_θ does not see it.

N_θ is evaluated on v clamped to the range of the data, and so bounded: an estimate that overshoots
between sensors grows by what the data know, not by an extrapolated power of itself. A is unbounded.

The learned part of A is, per field, Σ_p [ a_p (−κ²)^p + Σ_axis b_p,axis (i κ_axis)^{2p+1} ] over
the time scale, p = 0, 1, 2 (odd: 0, 1), κ the wavenumber over that of the mode `modes` of the
training grid. It starts at zero, and may become unstable: Kuramoto–Sivashinsky is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ...datasets.base.annotations import AtLeastOne, Axes, Odd
from ...datasets.base.config import Checked
from ...datasets.fields.normalization import Scaling
from ...datasets.fields.window import Context
from ..core.description import Description
from ..core.parts import Parts
from ..core.state import FieldAxis, State
from .correction import Correction, CorrectionConfig
from .exponential import Derivative, exponential_step, monomial, symbol, wavenumbers
from .exponential_real import (
    Pair,
    exponential_step_real,
    monomial_parts,
    symbol_parts,
    wavenumber_arrays,
)
from .operator import AssimilatingOperator, require_time
from .tendency import Tendency

_NO_BOUND = 1e30  # before any data are known; a checkpoint holds finite numbers only
_MARGIN = 0.1  # of the range of the data, beyond it


@dataclass(frozen=True)
class ObserverConfig(Checked):
    """Architecture of a semilinear observer.

    Attributes:
        ndim: space axes (1, 2 or 3).
        dynamics: "exponential" (any time step) or "residual" (one trained time step).
        order: of the exponential step, 1 or 2; 2 evaluates the network twice.
        linear: the known terms of A; empty: none.
        learn_linear: whether A has a learned part.
        hidden, layers, modes, kernel_size: of the network; see `tendency`.
        coordinates: whether the network sees sin and cos of 2π x / length along every axis, for
            forces that depend on the place; without, it commutes with translations.
        correction: of the gain.
    """

    ndim: Axes
    dynamics: Literal["exponential", "residual"] = "exponential"
    order: Literal[1, 2] = 1
    linear: tuple[Derivative, ...] = ()
    learn_linear: bool = False
    hidden: AtLeastOne = 32
    layers: AtLeastOne = 3
    modes: AtLeastOne = 12
    kernel_size: Odd = 3
    coordinates: bool = False
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(len(term.orders) != self.ndim for term in self.linear):
            raise ValueError(f"observer.linear needs {self.ndim} orders per term, one per axis")
        if self.dynamics == "residual" and (self.linear or self.learn_linear or self.order != 1):
            raise ValueError(
                "residual dynamics has no linear part and no order; leave out linear, "
                "learn_linear and order, or use dynamics: exponential"
            )


class Observer(AssimilatingOperator):
    """The semilinear observer; see the module's docstring for the equations.

    It sees one frame, and the constant fields, parameters and prescribed fields (at both ends of a
    step) that its description names. With exponential dynamics a step takes any dt > 0, also
    irregular from step to step, and warns outside the trained range. Fourier space means periodic
    axes: others are treated as if they were.
    """

    name = "observer"
    Config = ObserverConfig
    conditioned = driven = True
    bounds: Tensor

    def __init__(self, config: ObserverConfig, description: Description) -> None:
        super().__init__(config, description)
        require_time(self.name, description)
        fields, ndim = len(description.fields), config.ndim
        unknown = {term.field for term in config.linear} - {"", *description.fields}
        if unknown:
            raise ValueError(
                f"observer.linear acts on the field(s) {', '.join(sorted(unknown))}; the operator "
                f"maps {', '.join(description.fields)}"
            )
        inputs = fields + len(description.extra)
        inputs += 2 * ndim if config.coordinates else 0
        self.tendency = Tendency(
            ndim, inputs, fields, config.hidden, config.layers, config.modes, config.kernel_size
        )
        self.register_buffer("bounds", torch.tensor([[-_NO_BOUND, _NO_BOUND]]).repeat(fields, 1))
        self.even = self.odd = None
        if config.learn_linear:
            self.even = nn.Parameter(torch.empty(fields, 3))
            self.odd = nn.Parameter(torch.empty(fields, 2, ndim))
        self.correction = Correction(ndim, fields, config.correction)

    @property
    def history(self) -> int:
        """One frame: the state of the observer."""
        return 1

    @property
    def continuous(self) -> bool:
        """Exponential dynamics takes any time step."""
        return self.config.dynamics == "exponential"

    @property
    def further_parameters(self) -> tuple[str, ...]:
        """Of the known linear part."""
        names = dict.fromkeys(term.parameter for term in self.config.linear if term.parameter)
        return tuple(name for name in names if name not in self.description.parameters)

    def blocks(self) -> list[nn.Module]:
        """The layers of the tendency."""
        return [*self.tendency.layers]

    def parts(self) -> Parts:
        """The tendency's; the linear part and the gain are of the fields, and no backbone."""
        layers = tuple((f"tendency.layers.{i}",) for i in range(self.config.layers))
        return Parts(("tendency.lift",), layers, ("tendency.project", "even", "odd", "correction"))

    def field_axes(self) -> dict[str, FieldAxis | tuple[FieldAxis, ...]]:
        """Every parameter that has an axis over fields, and the lifting's conditions."""
        fields = self.description.fields
        extra = self.description.extra
        axes: dict[str, FieldAxis | tuple[FieldAxis, ...]] = {
            "tendency.lift.weight": FieldAxis(1, fields, extra=extra),
            "tendency.project.weight": FieldAxis(0, fields),
            "tendency.project.bias": FieldAxis(0, fields),
            "bounds": FieldAxis(0, fields),
        }
        if self.config.learn_linear:
            axes |= {"even": FieldAxis(0, fields), "odd": FieldAxis(0, fields)}
        return axes | correction_axes(self.correction, fields)

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Fresh weights; the learned part of A is zero."""
        self.tendency.reset(generator)
        self.correction.reset(generator)
        for parameter in (self.even, self.odd):
            if parameter is not None:
                parameter.zero_()

    @torch.no_grad()
    def widen(self, frames: Float[Tensor, "N C *S"], dataset: str = "") -> None:
        """Extend the bounds of what the network sees to these data."""
        each = self._scaled(frames, dataset).transpose(0, 1).flatten(1)
        low, high = each.amin(1), each.amax(1)
        margin = _MARGIN * (high - low)
        low, high = low - margin, high + margin
        known = (self.bounds.abs() < _NO_BOUND).all(1)
        low = torch.where(known, torch.minimum(low, self.bounds[:, 0]), low)
        high = torch.where(known, torch.maximum(high, self.bounds[:, 1]), high)
        self.bounds.copy_(torch.stack((low, high), 1))

    def forecast(
        self, state: State, dt: Float[Tensor, " B"]
    ) -> tuple[State, Float[Tensor, "B C *S"]]:
        """û^f, a time `dt` later.

        Raises:
            ValueError: `dt` is not positive, residual dynamics was not trained at it, or the data
                lack a parameter or constant field.
        """
        self.check_step(state, dt)
        scaling, last = self.scaling(state), state.history[:, -1]
        extra = self._extra(state, last, dt)
        if self.config.dynamics == "residual":
            fields = last + scaling.scale * self._network(last, scaling, extra)
        else:
            rate = scaling.scale / self.description.time_scale_of(state.context.dataset)

            def tendency(u: Tensor) -> Tensor:
                return rate * self._network(u, scaling, extra)

            order = self.config.order
            if torch.compiler.is_exporting():
                symbol = _symbol_parts(self, state.context)
                fields = exponential_step_real(last, dt, symbol, tendency, order)
            else:
                symbol = self.symbol(state.context, last.device)
                fields = exponential_step(last, dt, symbol, tendency, order)
        fields = scaling.keep(fields, last)
        return state.advance(fields, dt), fields

    def _network(self, fields: Tensor, scaling: Scaling, extra: Sequence[Tensor]) -> Tensor:
        """N_θ of physical fields."""
        scaled = (fields - scaling.shift) / scaling.scale
        low, high = self.bounds.to(scaled).reshape(-1, 2, *(1,) * self.ndim).unbind(1)
        scaled = scaled.clamp(low, high)
        return self.tendency(torch.cat((scaled, *extra), 1))

    def symbol(
        self, context: Context, device: torch.device | str = "cpu"
    ) -> Complex[Tensor, "b C *K"]:
        """λ(k) of A, known and learned, on the real-FFT modes of the context's grid, complex128.

        Raises:
            ValueError: the data lack a parameter on which A depends.
        """
        total = symbol(self.config.linear, context, device)
        if self.even is not None and self.odd is not None:
            total = total + self._learned(context, device)
        return total

    def _learned(self, context: Context, device: torch.device | str) -> Tensor:
        assert self.even is not None
        assert self.odd is not None
        grid, shape = context.grid, (-1, *(1,) * self.ndim)
        reference = self._reference_wavenumber(context)
        square = sum(k.square() for k in wavenumbers(grid, device))
        ratio = -torch.as_tensor(square) / reference**2
        even, odd = self.even.double(), self.odd.double()
        total = torch.zeros((), dtype=torch.complex128, device=device)
        for p in range(even.shape[1]):
            total = total + even[:, p].reshape(shape) * ratio**p
        for p in range(odd.shape[1]):
            for axis in range(self.ndim):
                orders = [0] * self.ndim
                orders[axis] = 2 * p + 1
                term = monomial(grid, orders, device) / reference ** (2 * p + 1)
                total = total + odd[:, p, axis].reshape(shape) * term
        return total[None] / self.description.time_scale_of(context.dataset)

    def _reference_wavenumber(self, context: Context) -> float:
        """Of the mode `modes` along the longest axis of the training grid."""
        grid = self.description.grid or context.grid
        return 2 * math.pi * self.config.modes / max(grid.lengths)

    def _extra(
        self, state: State, like: Float[Tensor, "B C *S"], dt: Float[Tensor, " B"]
    ) -> list[Tensor]:
        """What the network sees beside the fields: the extra inputs of the step, coordinates."""
        batch, space = like.shape[0], tuple(like.shape[2:])
        extra = list(state.channels(like, dt))
        if self.config.coordinates:
            angles = [2 * math.pi * torch.arange(n).to(like) / n for n in space]
            mesh = torch.stack(torch.meshgrid(*angles, indexing="ij"))
            waves = torch.cat((mesh.sin(), mesh.cos()))
            extra.append(waves.expand(batch, *waves.shape))
        return extra


def _symbol_parts(observer: Observer, context: Context) -> Pair:
    """`Observer.symbol` as real and imaginary part, on the CPU."""
    real, imaginary = symbol_parts(observer.config.linear, context)
    if observer.even is None or observer.odd is None:
        return real, imaginary
    grid, shape = context.grid, (-1, *(1,) * observer.ndim)
    unit, time = (
        observer._reference_wavenumber(context),
        observer.description.time_scale_of(context.dataset),
    )
    squares = sum(((k / unit) ** 2 for k in wavenumber_arrays(grid)), np.zeros(()))
    ratio = -torch.tensor(squares.tolist(), dtype=torch.float64)
    for p in range(observer.even.shape[1]):
        real = real + observer.even[:, p].double().reshape(shape) * ratio**p / time
    for p, axis in itertools.product(range(observer.odd.shape[1]), range(observer.ndim)):
        orders = [2 * p + 1 if i == axis else 0 for i in range(observer.ndim)]
        wave = monomial_parts(grid, orders, unit)[1]
        imaginary = imaginary + observer.odd[:, p, axis].double().reshape(shape) * wave / time
    return real, imaginary


def correction_axes(
    correction: Correction, fields: tuple[str, ...], prefix: str = "correction."
) -> dict[str, FieldAxis | tuple[FieldAxis, ...]]:
    """Where the parameters of a correction have axes over fields."""
    axes: dict[str, FieldAxis | tuple[FieldAxis, ...]] = {
        f"{prefix}amplitude": (FieldAxis(1, fields), FieldAxis(2, fields)),
        f"{prefix}spread.weight": (FieldAxis(0, fields), FieldAxis(1, fields)),
        f"{prefix}modulation.inner.weight": FieldAxis(1, fields, repeats=3),
        f"{prefix}modulation.outer.weight": FieldAxis(0, fields, repeats=2),
        f"{prefix}modulation.outer.bias": FieldAxis(0, fields, repeats=2),
    }
    for name in ("growth", "model_error", "fraction", "unknown", "extra", "pattern"):
        axes[prefix + name] = FieldAxis(0, fields)
    if correction.observer is not None:
        axes[f"{prefix}observer.inner.weight"] = FieldAxis(1, fields)
        axes[f"{prefix}observer.outer.weight"] = FieldAxis(0, fields)
        axes[f"{prefix}observer.outer.bias"] = FieldAxis(0, fields)
    return axes
