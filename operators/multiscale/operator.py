"""The multiscale operator transformer (scOT, arXiv 2405.19101) in 1D, 2D and 3D.

The last frame u and a lead time t go to the frame at that lead time: patches become tokens, which
pass an encoder of L levels (each half as fine and twice as wide as the one before), and a decoder
back up; the encoder's states join the decoder through residual blocks. With E, D the stages,

    x₀ = embed(u),          y_i = E_i(x_i),     x_{i+1} = merge(y_i + x_i),
    z_L = R_L(y_L),         z_i = R_i(y_i) + unmerge(D_{i+1}(z_{i+1})),
    u(t) ≈ recover(D₀(z₀))   [+ u],

and every norm has a gain and a shift affine in t. Continuous in time: any t is one evaluation.
Constant fields and parameters of the description are further input channels.

On square 2D grids with the options of the published configs this is the published function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...datasets.fields.window import Context, Window
from ..core.description import Description
from ..core.observation import Observation, Sensors
from ..core.operator import Operator
from ..core.parts import Parts
from ..core.state import FieldAxis, State
from ..core.weight_cache import WeightCache
from ..layers.resampling import fourier_resample
from .attention import Prepared, WindowAttention
from .blocks import (
    Block,
    TransformerBlock,
    placed,
    prepare_blocks,
    residual_blocks,
    transformer_blocks,
)
from .conditioning import Affine, Conditioning
from .config import MultiscaleConfig
from .order import blocks_in_order
from .resizing import Embedding, Merging, Recovery, Unmerging
from .tiling import WindowGrid, pyramid

# Grids are resampled to the operator's resolution if their axes change by about the same factor.
MOST_STRETCH = 1.05


@runtime_checkable
class _Drawn(Protocol):
    """A part of the network that draws its own weights."""

    def reset(self, generator: torch.Generator) -> None:
        """Fresh weights."""


class MultiscaleTransformer(Operator):
    """The multiscale operator transformer; see the module's docstring for the equations.

    It sees one frame, and what is prescribed at it and at the lead time. `step` takes any dt > 0
    and warns outside the range of `description.time_steps`; `forward` predicts every lead time
    directly from the last history frame, all of them in one evaluation, while `rollout` feeds
    predictions back.
    """

    name = "multiscale"
    Config = MultiscaleConfig
    direct = True
    conditioned = driven = True
    timeless = MappingProxyType({"learn_residual": False})
    measured = ("resolution",)
    resamples = True

    def __init__(self, config: MultiscaleConfig, description: Description) -> None:
        super().__init__(config, description)
        n, fields = config.ndim, len(description.fields)
        if config.learn_residual and description.inputs:
            raise ValueError(
                "multiscale.learn_residual needs frames; a steady problem has inputs instead"
            )
        norms: dict[str, int] = {}
        tokens = math.prod(-(-size // config.patch) for size in config.resolution)
        self.embedding = Embedding(
            n,
            len(description.channels) + len(description.extra),
            config.width,
            config.patch,
            tokens if config.absolute_positions else 0,
            norms,
        )
        levels = range(len(config.depths))
        self.encoder, self.decoder = (
            nn.ModuleList(transformer_blocks(config, part, i, norms) for i in levels)
            for part in ("encoder", "decoder")
        )
        self.merging = nn.ModuleList(
            Merging(f"merging.{i}", n, config.channels(i), norms) for i in levels[:-1]
        )
        self.unmerging = nn.ModuleList(
            Unmerging(f"unmerging.{i}", n, config.channels(i + 1), norms) for i in levels[:-1]
        )
        self.skips = nn.ModuleList(residual_blocks(config, i, norms) for i in levels)
        self.recovery = Recovery(n, config.width, fields, config.patch)
        self.conditioning = Conditioning(norms, config.conditional)
        self.prepared = WeightCache()

    @property
    def history(self) -> int:
        """Number of history frames that it sees: one."""
        return 1

    def blocks(self) -> list[nn.Module]:
        """Blocks of all levels, down, up and across."""
        stages = (*self.encoder, *self.decoder, *self.skips)
        return [block for stage in stages for block in stage.children()]

    def lets_masked_through(self) -> bool:
        """Whether "cut" and "masked" `edges` differ, as an attention is very sharp."""
        parts = (part for part in self.modules() if isinstance(part, WindowAttention))
        return any([part.lets_masked_through() for part in parts])

    def parts(self) -> Parts:
        """All gains and shifts of norms lie in the conditioning."""
        blocks = blocks_in_order(self.config)
        return Parts(("embedding",), blocks, ("recovery",), ("conditioning",))

    def field_axes(self) -> dict[str, tuple[FieldAxis, ...]]:
        """The embedding sees every field, then conditions; recovery and mixing give the fields."""
        channels, fields = self.description.channels, self.description.fields
        extra = self.description.extra
        return {
            "embedding.projection.weight": (FieldAxis(1, channels, extra=extra),),
            "recovery.weight": (FieldAxis(1, fields),),
            "recovery.bias": (FieldAxis(0, fields),),
            "recovery.mixing.weight": (FieldAxis(0, fields), FieldAxis(1, fields)),
        }

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Fresh weights: the published initialisation."""
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_parameters()
            elif module is not self and isinstance(module, _Drawn):
                module.reset(generator)

    def forward(self, window: Window) -> Float[Tensor, "B T C *S"]:
        """Direct prediction at every lead time (≥ 0), each from the last history frame.

        Raises:
            ValueError: a lead time is negative or not finite, or the window does not fit.
        """
        state = self.init(window.history, window.context)
        self._time_steps().check_leads(window.lead_times)
        return self._predict(state, window.lead_times)

    def step(
        self,
        state: State,
        dt: Float[Tensor, " B"],
        observation: Observation | Sensors | None = None,
    ) -> tuple[State, Float[Tensor, "B C *S"]]:
        """The fields `dt` later, for any dt > 0; warns outside the trained range.

        Raises:
            ValueError: an observation was given, or `dt` is not positive and finite.
        """
        self.check_step(state, dt, observation)
        fields = self._predict(state, dt[:, None])[:, 0]
        return state.advance(fields, dt), fields

    def network(
        self,
        fields: Float[Tensor, "B C *S"],
        time: Float[Tensor, " B"],
        periodic: tuple[bool, ...] | None = None,
    ) -> Float[Tensor, "B D *S"]:
        """The published network: scaled fields (and conditions) to scaled fields at `time`.

        Args:
            fields: input channels.
            time: lead time in units of the time scale.
            periodic: axes that wrap around; none if not given.
        """
        points = tuple(fields.shape[2:])
        periodic = periodic or (False,) * len(points)
        working = self.config.resolution or points
        x = fourier_resample(fields, working)
        config = self.config
        levels, masked = len(config.depths), config.edges == "masked"
        grids = pyramid(working, periodic, config.patch, config.window, levels, masked)
        output = self._levels(x, grids, self.conditioning(time))
        if self.config.learn_residual:
            output = output + x[:, : output.shape[1]]
        return fourier_resample(output, points)

    def _levels(
        self, x: Float[Tensor, "B C *S"], grids: list[list[WindowGrid]], affines: dict[str, Affine]
    ) -> Float[Tensor, "B D *S"]:
        """Encoder down, decoder up; `grids` has the plain and the shifted windows per level."""
        points, states = tuple(x.shape[2:]), []
        windows = [_alternate(*each) for each in zip(grids, self.config.depths, strict=True)]
        down = placed(self.encoder, windows)
        # The last block of a decoder stage has plain windows, counting back from there.
        up = placed(self.decoder, [each[::-1] for each in windows])
        prepared = self._prepared([*chain(*down, *up)])
        tokens = self.embedding(x, affines)
        for i, stage in enumerate(down):
            state = _run_blocks(self, stage, tokens, affines, prepared)
            if i + 1 < len(grids):
                tokens = self.merging[i](state + tokens, grids[i][0].shape, affines)
            skips = placed([self.skips[i]], [[grids[i][0]] * self.config.skips[i]])
            states.append(_run_blocks(self, skips[0], state, affines))
        tokens = states[-1]
        for i in reversed(range(len(grids))):
            tokens = _run_blocks(self, up[i], tokens, affines, prepared)
            if i > 0:
                shape, finer = grids[i][0].shape, grids[i - 1][0].shape
                tokens = self.unmerging[i - 1](tokens, shape, finer, affines) + states[i - 1]
        return self.recovery(tokens, grids[0][0].shape, points, grids[0][0].periodic)

    def _prepared(self, blocks: list[tuple[Block, WindowGrid]]) -> dict[Block, Prepared]:
        """What follows from the weights of transformer blocks, of those that are alike at once.

        Nothing where someone wraps blocks (sharding, say) and wants their parameters used in their
        own forward only: there they prepare it themselves.
        """
        if any(type(block) is not TransformerBlock for block, _ in blocks):
            return {}
        own = cast(list[tuple[TransformerBlock, WindowGrid]], blocks)
        weights = [part for block, _ in own for part in block.attention.preparing()]
        grids = tuple(grid for _, grid in own)
        return self.prepared.get(weights, grids, lambda: prepare_blocks(own))

    def _predict(self, state: State, leads: Float[Tensor, "B T"]) -> Float[Tensor, "B T C *S"]:
        """Direct prediction at lead times (B, T) from the state's last frame."""
        context, last = state.context, state.history[:, -1]
        scaling = self.scaling(state)
        inputs = scaling.encode(state.history)[:, -1]
        inputs = torch.cat((inputs, *state.conditions.channels(inputs)), 1)
        batch, count = leads.shape
        scale = self.description.time_scale_of(context.dataset)
        time = (leads / scale).to(inputs.device, inputs.dtype, True)
        periodic = tuple(self.config.periodic and k == "periodic" for k in context.grid.boundary)
        like = inputs
        inputs = inputs.repeat_interleave(count, 0) if count > 1 else inputs
        if self.description.prescribed:
            ends = (state.conditions.ends(state.time, lead, like) for lead in leads.unbind(1))
            given = torch.stack([torch.cat([*each], 1) for each in ends], 1)
            inputs = torch.cat((inputs, given.flatten(0, 1)), 1)
        output = self.network(inputs, time.flatten(), periodic).unflatten(0, (batch, count))
        return torch.stack([scaling.decode(frame, last) for frame in output.unbind(1)], 1)

    def _check_history(self, history: Tensor, context: Context) -> None:
        super()._check_history(history, context)
        _require_like(context.grid.shape, self.config.resolution)


def _require_like(shape: tuple[int, ...], resolution: Sequence[int]) -> None:
    """Refuse points that the operator would have to stretch in one direction."""
    stretch = [n / m for n, m in zip(shape, resolution, strict=False)]
    if stretch and max(stretch) > MOST_STRETCH * min(stretch):
        found, own = ("×".join(map(str, s)) for s in (shape, resolution))
        raise ValueError(
            f"this operator works on {own} points and resamples grids of that shape to it; got "
            f"{found}. Resample the data, or train an operator without `resolution`"
        )


def _run_blocks(
    operator: MultiscaleTransformer,
    blocks: Sequence[tuple[Block, WindowGrid]],
    x: Float[Tensor, "B T D"],
    affines: dict[str, Affine],
    prepared: Mapping[Block, Prepared] = MappingProxyType({}),
) -> Float[Tensor, "B T D"]:
    """Blocks in sequence, recomputed in the backward pass if so configured."""
    keep = not (operator.config.checkpoint_activations and torch.is_grad_enabled())
    random = operator.training and operator.config.drop_path > 0
    for block, grid in blocks:
        norms = [affines[name] for name in block.norms]
        arguments = (x, grid, norms, *([prepared[block]] if block in prepared else []))
        if keep:
            x = block(*arguments)
        else:
            x = checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=random)
    return x


def _alternate(grids: list[WindowGrid], depth: int) -> list[WindowGrid]:
    """Plain, shifted, plain, … windows for `depth` blocks."""
    return [grids[j % 2] for j in range(depth)]
