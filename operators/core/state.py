"""What a step needs and gives, and how an operator's parameters relate to fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.normalization import Scaling
from ...datasets.fields.window import Context
from .conditions import Conditions


@dataclass(frozen=True)
class State:
    """Everything that a step needs and gives: no operator keeps anything between steps.

    Attributes:
        history: (B, T, C, *S) latest frames in physical units, oldest first; of a steady problem,
            the input fields.
        context: what stays the same along the trajectory.
        time: (B,) physical time since the last frame that `init` was given.
        first: scaling of the history that `init` was given.
        conditions: the operator's extra inputs, scaled.
        variance: (B, C, *S) or broadcastable variance of the error of the latest frame, in units
            of the fields' scale squared, for operators that assimilate; None: the frame is exact.
    """

    history: Tensor
    context: Context
    time: Tensor
    first: Scaling
    conditions: Conditions
    variance: Tensor | None = None

    def channels(
        self, like: Float[Tensor, "B _ *S"], dt: Float[Tensor, " B"]
    ) -> Iterator[Float[Tensor, "B _ *S"]]:
        """The extra inputs of a step of `dt`, in the order of `description.extra`.

        Args:
            like: fields on the same grid; the channels get their type and device.
            dt: physical time of the step.

        Raises:
            ValueError: what is prescribed is not given until its end.
        """
        yield from self.conditions.channels(like)
        yield from self.conditions.ends(self.time, dt, like)

    def advance(self, fields: Float[Tensor, "B C *S"], dt: Float[Tensor, " B"]) -> State:
        """The state after a step: drop the oldest frame, append `fields`.

        The inputs of a steady problem stay.
        """
        history = self.history
        if not self.context.steady:
            history = torch.cat((history[:, 1:], fields.unsqueeze(1)), 1)
        return replace(self, history=history, time=self.time + dt.to(self.time.device))

    def corrected(self, fields: Float[Tensor, "B C *S"]) -> State:
        """The same state with another latest frame."""
        history = torch.cat((self.history[:, :-1], fields.unsqueeze(1)), 1)
        return replace(self, history=history)


@dataclass(frozen=True)
class FieldAxis:
    """Where a parameter's axis runs over named channels: index `t · len(names) + c`, t < repeats.

    Fine-tuning uses it to carry the weights of a channel over by name.

    Attributes:
        axis: the parameter's axis.
        names: the channels: fields, or the inputs of a steady problem.
        repeats: frames of them, oldest first.
        extra: names of what follows once, such as constant fields. What follows these (coordinates,
            say) has no name and is kept in order.
    """

    axis: int
    names: tuple[str, ...]
    repeats: int = 1
    extra: tuple[str, ...] = ()
