"""DyMixOp: local–global mixing on an inertial manifold (arXiv 2508.13490), in 1D, 2D and 3D.

The last T frames and the coordinates are lifted to h channels c₀ (two linear convolutions). Then

    F_i = GELU( Σ [conv(c) + FD(c)] + A( Σ G(c) ⊙ S(c) ) ),     c ← c + σ(λτ) F_i,
    c_out = c₀ + Σ_i w_i F_i + b,

with G a spectral (global) and S a local convolution, FD a finite-difference stencil, A two linear
convolutions, τ the structure-change coefficient, and two linear convolutions lead back to fields.

Linear chains and sums are collapsed into one convolution per call: the parameters, the function
and its gradients are those of the paper, the cost is not. Between the lift and the last convolution
fields are channels-last (B, *S, C), in which no step needs a copy into another layout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...datasets.base.annotations import AtLeastOne, Axes, Count, Odd
from ...datasets.base.config import Checked
from ...datasets.fields.normalization import Scaling
from ...datasets.fields.window import Context, Window
from ..core.conditions import everywhere
from ..core.description import Description
from ..core.observation import Observation, Sensors
from ..core.operator import Operator
from ..core.parts import Parts
from ..core.state import FieldAxis, State
from ..core.time_steps import same_step
from ..core.weight_cache import WeightCache
from ..layers.convolution import Convolution, FiniteDifference, compose, convolution
from ..layers.spectral import SpectralConvolution
from ..layers.stretching import Scale, stretched
from .kernels import Kernels
from .mixing import MixingLayer, evolved, plus


@dataclass(frozen=True)
class DyMixOpConfig(Checked):
    """Architecture of a DyMixOp.

    Attributes:
        ndim: space axes (1, 2 or 3).
        history: frames that it sees.
        hidden: channels h of the inertial manifold.
        layers: local–global mixing layers.
        modes: kept Fourier modes per axis and sign.
        kernel_size: width of the lifting, projecting and local convolutions (odd).
        mixing_kernel_size: width of the convolutions in A (odd).
        nonlinear_branches: (G, S) pairs per layer.
        linear_branches: (conv, FD) pairs per layer.
        structure_change: τ, how fast the frames change: 1 − mean cosine similarity of consecutive
            training frames (computed from the data where a recipe gives none); 1 by default.
        resolution: points per axis of the grid on which local weights have their meaning. Empty:
            they act on neighbouring points of every grid.
        kernels: what they do on another grid: "physical": convolutions and finite differences reach
            as far in space as on that grid; "points": they see neighbouring points, and finite
            differences are divided by the width resolution / points, as published and in
            checkpoints from before this key. A recipe that says nothing has "physical" where its
            data share one grid, and "points" where they do not.
        padding: "boundary": an axis wraps around where the grid says that it is periodic, and has
            ends elsewhere; "periodic": every axis wraps around, as published.
        time_input: whether the logarithm of the time step (over the time scale) is one more input
            channel, for training at several time steps.
    """

    ndim: Axes
    history: AtLeastOne = 1
    hidden: AtLeastOne = 64
    layers: AtLeastOne = 4
    modes: AtLeastOne = 12
    kernel_size: Odd = 1
    mixing_kernel_size: Odd = 1
    nonlinear_branches: AtLeastOne = 1
    linear_branches: Count = 1
    structure_change: float = 1.0
    resolution: tuple[int, ...] = ()
    kernels: Literal["physical", "points"] = "physical"
    padding: Literal["boundary", "periodic"] = "boundary"
    time_input: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resolution and len(self.resolution) != self.ndim:
            raise ValueError(
                f"dymixop.resolution needs {self.ndim} entries or none; got {self.resolution}"
            )


class DyMixOp(Operator):
    """The dynamics-mixing operator; see the module's docstring for the equations.

    Boundaries: a periodic axis wraps around. Beyond the end of another one, convolutions and finite
    differences see the value at that end, and the spectral convolution a smooth transition to the
    value at the other end over a quarter of the axis (see `spectral`). Published weights wrap
    around everywhere (`padding="periodic"`). At k times the points of `resolution` along axes with
    ends, every k-th point has what it has on that grid (`kernels="physical"`).

    Time: trained at one time step, it refuses others. Trained at several, it should see which one
    it takes (`time_input`), and refuses all others.

    Constant fields, parameters and what is prescribed, at the beginning and the end of the step,
    are further input channels, scaled; a parameter is the same at every point. Constant fields
    named `coordinate_x`, `coordinate_y`, `coordinate_z` replace the default coordinates j/n in
    [0, 1).

    Raises:
        ValueError: several time steps and no `time_input`, or `time_input` in a steady problem.
    """

    name = "dymixop"
    Config = DyMixOpConfig
    conditioned = driven = True
    measured = ("resolution", "kernels", "structure_change", "time_input")
    earlier = MappingProxyType({"kernels": "points"})
    timeless = MappingProxyType({"history": 1, "time_input": False})

    def __init__(self, config: DyMixOpConfig, description: Description) -> None:
        super().__init__(config, description)
        _check_time_input(config, description)
        channels = len(description.fields)
        n, h, k = config.ndim, config.hidden, config.kernel_size
        conditions = len(description.extra)
        inputs = config.history * len(description.channels) + conditions + n + config.time_input
        self.lift = Convolution(n, inputs, 2 * h, k)
        self.reduce = Convolution(n, 2 * h, h, k)
        branches = config.nonlinear_branches, config.linear_branches
        sizes = n, h, config.modes, *branches, k, config.mixing_kernel_size
        self.mixing = nn.ModuleList(MixingLayer(*sizes) for _ in range(config.layers))
        # Shape (1,), as FSDP2 shards no scalars. A single layer has no update to gate, and a
        # parameter that never gets a gradient would stop DDP.
        self.gate = nn.Parameter(torch.empty(1), requires_grad=config.layers > 1)
        self.evolution = nn.Parameter(torch.empty(config.layers))
        self.evolution_bias = nn.Parameter(torch.empty(1))
        self.unreduce = Convolution(n, h, 2 * h, k)
        self.unlift = Convolution(n, 2 * h, channels, k)
        self.collapsed = WeightCache()

    @property
    def sees_time(self) -> bool:
        """Whether the time step is one of its inputs."""
        return self.config.time_input

    def blocks(self) -> list[nn.Module]:
        """The mixing layers."""
        return [*self.mixing]

    def parts(self) -> Parts:
        """Two convolutions lead in and two out; gate and evolution weigh what layers give."""
        return Parts(
            embedding=("lift", "reduce"),
            blocks=tuple((f"mixing.{i}",) for i in range(self.config.layers)),
            recovery=("unreduce", "unlift"),
            norms=("gate", "evolution", "evolution_bias"),
        )

    def field_axes(self) -> dict[str, FieldAxis]:
        """The lifting sees fields in every frame, then conditions; the un-lifting gives fields."""
        description = self.description
        frames, extra = self.config.history, description.extra
        return {
            "lift.weight": FieldAxis(1, description.channels, frames, extra),
            "unlift.weight": FieldAxis(0, description.fields),
            "unlift.bias": FieldAxis(0, description.fields),
        }

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Fresh weights: the published initialisation."""
        for module in self.modules():
            if isinstance(module, (Convolution, FiniteDifference, SpectralConvolution)):
                module.reset(generator)
        bound = 1 / math.sqrt(self.config.layers)
        nn.init.uniform_(self.evolution, -bound, bound, generator=generator)
        nn.init.uniform_(self.evolution_bias, -bound, bound, generator=generator)
        self.gate.fill_(float(self.config.hidden))

    def step(
        self,
        state: State,
        dt: Float[Tensor, " B"],
        observation: Observation | Sensors | None = None,
    ) -> tuple[State, Float[Tensor, "B C *S"]]:
        """One frame further.

        Raises:
            ValueError: an observation was given, or `dt` is not one it was trained at.
        """
        self.check_step(state, dt, observation)
        scaling = self.scaling(state)
        periodic = tuple(
            kind == "periodic" or self.config.padding == "periodic"
            for kind in state.context.grid.boundary
        )
        output = self.network(self.inputs(state, scaling, dt), periodic)
        fields = scaling.decode(output, state.history[:, -1])
        return state.advance(fields, dt), fields

    def inputs(
        self, state: State, scaling: Scaling, dt: Float[Tensor, " B"]
    ) -> Float[Tensor, "B I *S"]:
        """Scaled frames, conditions, coordinates and the time step as channels."""
        history, shape = state.history, state.context.grid.shape
        channels = [scaling.encode(history).flatten(1, 2)]
        channels += state.channels(history[:, 0], dt)
        channels.append(coordinates(history, state.context))
        if self.config.time_input:
            scale = self.description.time_scale_of(state.context.dataset)
            time = torch.log(dt / scale)[:, None].to(history.device, non_blocking=True)
            channels.append(everywhere(time, shape))
        return torch.cat([c.to(history.device, history.dtype, True) for c in channels], 1)

    def network(
        self, inputs: Float[Tensor, "B I *S"], periodic: tuple[bool, ...]
    ) -> Float[Tensor, "B C *S"]:
        """The published network: scaled input channels to the next scaled frame."""
        x = inputs.movedim(1, -1)
        scale = self._scale(tuple(x.shape[1:-1]))
        first, kernels, last = self._collapsed(scale)
        latent = convolution(x, *first, periodic, scale.dilation)
        latent = latent.to(self.evolution.dtype)  # autocast gives half precision
        gate = torch.sigmoid(self.gate * self.config.structure_change)
        total = latent + self.evolution_bias
        *weights, last_weight = self.evolution.split(1)
        for layer, weight, kernel in zip(self.mixing, weights, kernels, strict=False):
            change = layer(latent, scale, periodic, kernel)
            total, latent = evolved(total, latent, change, weight, gate)
        change = self.mixing[-1](latent, scale, periodic, kernels[-1])
        total = plus(total, change, last_weight)
        return convolution(total, *last, periodic, scale.dilation).movedim(-1, 1)

    def forward(self, window: Window) -> Float[Tensor, "B T C *S"]:
        """Prediction at the window's lead times; layers collapse once for all steps."""
        with self.collapsed.shared():
            return super().forward(window)

    def _collapsed(self, scale: Scale) -> Collapsed:
        layers = [*self.mixing]
        # Whoever wraps a layer (sharding, say) wants its parameters used in its own forward only.
        if any(type(layer) is not MixingLayer for layer in layers):
            return self._collapse([None] * len(layers), scale)
        own = cast(list[MixingLayer], layers)
        ends = self.lift, self.reduce, self.unreduce, self.unlift
        inner = [part for layer in own for part in layer.collapsing()]
        return self.collapsed.get(
            (*ends, *inner),
            scale,
            lambda: self._collapse([each.kernels(scale) for each in own], scale),
        )

    def _collapse(self, layers: list[Kernels | None], scale: Scale) -> Collapsed:
        ends = compose(self.reduce, self.lift), compose(self.unlift, self.unreduce)
        first, last = ((stretched(weight, scale.stretch), bias) for weight, bias in ends)
        return Collapsed(first, layers, last)

    def _scale(self, shape: tuple[int, ...]) -> Scale:
        """How weights act on a grid of these points."""
        known = self.config.resolution
        if not known or known == shape:
            return Scale()
        if self.config.kernels == "physical":
            return Scale(stretch=tuple(zip(shape, known, strict=True)))
        # The grid spacing relative to the known one, the geometric mean over the axes.
        return Scale(width=(math.prod(known) / math.prod(shape)) ** (1 / len(shape)))


class Collapsed(NamedTuple):
    """The convolutions of the network; layers without kernels make their own."""

    first: tuple[Tensor, Tensor]
    layers: list[Kernels | None]
    last: tuple[Tensor, Tensor]


def _check_time_input(config: DyMixOpConfig, description: Description) -> None:
    steps = description.time_steps
    several = bool(steps) and not same_step(min(steps), max(steps))
    if several and not config.time_input:
        raise ValueError(
            f"dymixop at several time steps ({', '.join(f'{dt:g}' for dt in steps)}) needs "
            "time_input: true, or it cannot tell them apart"
        )
    if config.time_input and description.inputs:
        raise ValueError("dymixop.time_input has no meaning for a steady problem; leave it out")


def coordinates(history: Float[Tensor, "B T C *S"], context: Context) -> Float[Tensor, "B D *S"]:
    """Coordinates j/n in [0, 1) per axis, or the context's constant fields `coordinate_x` ….

    Raises:
        ValueError: some but not all axes have a coordinate field.
    """
    shape = context.grid.shape
    names = [f"coordinate_{axis}" for axis in "xyz"[: len(shape)]]
    given = [name for name in names if name in context.constant_fields]
    if given and len(given) < len(names):
        raise ValueError(f"coordinates need all of {', '.join(names)}; got {', '.join(given)}")
    if given and context.constants is not None:
        index = [context.constant_fields.index(name) for name in names]
        return context.constants[:, index].to(history.dtype)
    axes = [torch.arange(n, device=history.device, dtype=history.dtype) / n for n in shape]
    mesh = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return mesh.expand(history.shape[0], *mesh.shape)
