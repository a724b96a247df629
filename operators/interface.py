"""The one interface of every operator: init a state, step it, and nothing hidden.

state = operator.init(history, context)            # (B, T, C, *S) in physical units
state, fields = operator.step(state, dt)           # fields (B, C, *S) in physical units
prediction = operator(window)                      # (B, T_out, C, *S), what DDP/FSDP wraps
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..datasets.fields import Context, Grid, Window
from ..datasets.normalization import Scaling
from . import checkpoint
from .description import Description
from .rollout import rollout

OperatorT = TypeVar("OperatorT", bound="Operator")

# Relative difference below which two time steps are the same (times are often stored in float32).
SAME_STEP = 1e-3


@dataclass(frozen=True)
class State:
    """Everything that a step needs and gives: no operator keeps anything between steps.

    Attributes:
        history: (B, T, C, *S) latest frames in physical units, oldest first.
        context: what stays the same along the trajectory.
        time: (B,) physical time since the last frame that `init` was given.
        first: scaling of the history that `init` was given.
    """

    history: Tensor
    context: Context
    time: Tensor
    first: Scaling

    def advance(self, fields: Float[Tensor, "B C *S"], dt: Float[Tensor, " B"]) -> State:
        """The state after a step: drop the oldest frame, append `fields`."""
        history = torch.cat((self.history[:, 1:], fields.unsqueeze(1)), 1)
        return replace(self, history=history, time=self.time + dt)


@dataclass(frozen=True)
class Observation:
    """A measurement on the grid at one time.

    Attributes:
        values: (B, C_obs, *S) measured values in physical units; ignored where `mask` is False.
        mask: (B, C_obs, *S) bool, True where something was measured.
        fields: the C_obs field names.
        noise: standard deviation of the measurement error, same shape or broadcastable; None if
            unknown.
    """

    values: Tensor
    mask: Tensor
    fields: tuple[str, ...]
    noise: Tensor | None = None

    def __post_init__(self) -> None:
        if self.values.shape != self.mask.shape or self.values.shape[1] != len(self.fields):
            raise ValueError(
                f"observation values {tuple(self.values.shape)} and mask "
                f"{tuple(self.mask.shape)} must be (B, {len(self.fields)}, *S)"
            )


@dataclass(frozen=True)
class FieldAxis:
    """Where a parameter's axis runs over fields: index `t · C + c` for field c, t < repeats.

    Fine-tuning uses it to carry the weights of a field over by name. Entries past
    `repeats · C` (coordinates, say) belong to no field and are kept in order.
    """

    axis: int
    repeats: int = 1


class Operator(nn.Module, ABC):
    """A map from a history of fields to later fields. Subclass, name it, and register it.

    Attributes:
        name: name in the registry and in checkpoints.
        Config: dataclass of the architecture.
        assimilates: whether `step` can take an observation.
        direct: whether it is continuous in time: `step` takes any dt > 0 (and warns outside the
            trained range), and `forward` predicts every lead time directly from the history.
            Otherwise it steps by a dt that it was trained at, and `forward` is the rollout.
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    assimilates: ClassVar[bool] = False
    direct: ClassVar[bool] = False

    def __init__(self, config: Any, description: Description) -> None:
        super().__init__()
        self.config = config
        self.description = description

    @property
    @abstractmethod
    def history(self) -> int:
        """Number of history frames that `init` needs."""

    @property
    @abstractmethod
    def ndim(self) -> int:
        """Number of space axes."""

    @abstractmethod
    def reset(self, generator: torch.Generator) -> None:
        """Draw fresh initial weights."""

    @abstractmethod
    def step(
        self, state: State, dt: Float[Tensor, " B"], observation: Observation | None = None
    ) -> tuple[State, Float[Tensor, "B C *S"]]:
        """Advance by the physical time `dt`; returns the new state and its fields.

        Raises:
            ValueError: the operator cannot take this time step or this observation.
        """

    def field_axes(self) -> Mapping[str, FieldAxis | tuple[FieldAxis, ...]]:
        """Parameters that have an axis (or several) over fields, by parameter name."""
        return {}

    def init(self, history: Float[Tensor, "B T C *S"], context: Context | None = None) -> State:
        """The state after `history`; without a context, on the periodic unit box.

        Raises:
            ValueError: wrong rank, number of frames, fields or time step.
        """
        if history.ndim != 3 + self.ndim:
            raise ValueError(
                f"{self.name} works in {self.ndim}D and needs a history (B, T, C, *S) with "
                f"{self.ndim} space axes; got shape {tuple(history.shape)}"
            )
        if context is None:
            context = Context(self.description.fields, Grid.unit(tuple(history.shape[3:])))
        self._check_history(history, context)
        first = self.description.normalizer.scaling(history, context.fields, context.dataset)
        return State(history, context, torch.zeros(history.shape[0]), first)

    def forward(self, window: Window) -> Float[Tensor, "B T C *S"]:
        """Prediction at the window's lead times, in physical units."""
        state = self.init(window.history, window.context)
        steps = window.lead_times.diff(dim=1, prepend=torch.zeros_like(window.lead_times[:, :1]))
        return torch.stack(list(rollout(self, state, steps.unbind(1))), 1)

    def rollout(
        self,
        history: Float[Tensor, "B T C *S"],
        context: Context | None = None,
        *,
        dt: float,
        steps: int,
    ) -> Iterator[Float[Tensor, "B C *S"]]:
        """Predict `steps` frames, `dt` apart, one at a time and in constant memory."""
        return rollout(self, self.init(history, context), repeat(dt, steps))

    def save_pretrained(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a checkpoint directory (`config.json` + `model.safetensors`); see `checkpoint`."""
        return checkpoint.save(self, Path(path), overwrite=overwrite)

    @classmethod
    def from_pretrained(cls: type[OperatorT], path: str | Path) -> OperatorT:
        """Open a checkpoint of this operator; see `checkpoint.from_pretrained`."""
        operator = checkpoint.from_pretrained(path)
        if not isinstance(operator, cls):
            raise ValueError(f"{path} holds the operator {operator.name!r}, not {cls.name!r}")
        return operator

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Upload a checkpoint to the Hugging Face hub; returns its address."""
        return checkpoint.push_to_hub(self, repository, **options)

    def _scaling(self, state: State) -> Scaling:
        """The normaliser's scaling of a state."""
        context = state.context
        return self.description.normalizer.scaling(
            state.history, context.fields, context.dataset, state.first
        )

    def _check_history(self, history: Tensor, context: Context) -> None:
        expected = (self.history, len(self.description.fields), *context.grid.shape)
        if context.fields != self.description.fields:
            raise ValueError(
                f"this operator maps the fields {', '.join(self.description.fields)}; "
                f"got {', '.join(context.fields)}. Select fields by name, or fine-tune"
            )
        if tuple(history.shape[1:]) != expected:
            raise ValueError(
                f"history must have shape (B, {', '.join(map(str, expected))}): "
                f"{self.history} frame(s), {expected[1]} field(s); got {tuple(history.shape)}"
            )
        if context.dt is not None and not self.direct:
            self._check_trained_step(context.dt)

    def _check_step(self, state: State, dt: Tensor) -> None:
        """Refuse a dt that is not positive, not the history's spacing, or never trained at."""
        values = set(dt.tolist()) if dt.device.type == "cpu" else set()
        for value in values:
            if not value > 0:
                raise ValueError(f"dt must be positive; got {value}")
            if state.context.dt is not None and not _same(value, state.context.dt):
                raise ValueError(
                    f"the history is spaced by dt = {state.context.dt:g} but the step is "
                    f"{value:g}; {self.name} needs both to be the same"
                )
            self._check_trained_step(value)

    def _check_trained_step(self, dt: float) -> None:
        known = self.description.time_steps
        if known and not any(_same(dt, step) for step in known):
            raise ValueError(
                f"this {self.name} was trained at dt = {', '.join(f'{s:g}' for s in known)} "
                f"and cannot step by {dt:g}; use data at a trained dt (a stride changes it), "
                "or fine-tune"
            )

    def _refuse_observation(self, observation: Observation | None) -> None:
        if observation is not None:
            raise ValueError(f"{self.name} predicts but cannot assimilate: it takes no observation")


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME_STEP * max(abs(a), abs(b))
