"""What an objective learns itself, beside the operator: a few numbers, from notes on micro-batches.

While a process computes its losses it notes a row of numbers for each micro-batch. After that all
processes have the rows of all micro-batches, in the order of their numbers, and learn the same from
them, whatever their number is. The state is kept in training states, so that resuming is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Float64
from torch import Tensor


class Learner(ABC):
    """Numbers that are learned from rows of notes.

    Attributes:
        width: of a row.
        state: all that there is to keep, double precision.

    Args:
        width: see above.
        state: at the start.
    """

    def __init__(self, width: int, state: Float64[Tensor, " N"]) -> None:
        self.width, self.state = width, state
        self._rows: list[Tensor] = []

    def note(self, row: Float[Tensor, " W"]) -> None:
        """Note a row about a micro-batch."""
        self._rows.append(row.detach().double())

    def take(self) -> Float64[Tensor, "M W"]:
        """The rows since the last call."""
        rows, self._rows = self._rows, []
        return torch.stack(rows)

    def learn(self, rows: Float64[Tensor, "M W"]) -> None:
        """Learn from the rows of all micro-batches of a step; what is not finite says nothing."""
        self.state = self.learned(self.state.to(rows.device), rows)

    @abstractmethod
    def learned(
        self, state: Float64[Tensor, " N"], rows: Float64[Tensor, "M W"]
    ) -> Float64[Tensor, " N"]:
        """The state after these rows."""


class Means(Learner):
    """Means of several quantities over the last micro-batches; older ones fade.

        sum ← d sum + Σ rows,    count ← d count + Σ counts,    mean = sum / count

    Args:
        size: number of quantities.
        decay: d, per optimizer step.
    """

    def __init__(self, size: int, decay: float) -> None:
        super().__init__(2 * size, torch.zeros(2 * size, dtype=torch.float64))
        self.decay = decay

    def note_sums(self, sums: Float[Tensor, " N"], counts: Float[Tensor, " N"]) -> None:
        """Note the sums of the quantities over a micro-batch, and of how many values they are."""
        self.note(torch.cat((sums, counts.to(sums))))

    def learned(
        self, state: Float64[Tensor, " N"], rows: Float64[Tensor, "M W"]
    ) -> Float64[Tensor, " N"]:
        """The sums and counts after these."""
        finite = rows.isfinite().all(1, keepdim=True)
        return self.decay * state + torch.where(finite, rows, 0.0).sum(0)

    def mean(self, otherwise: float, like: Tensor) -> Float[Tensor, " N"]:
        """The means, on the device of `like` and in its type; `otherwise`, before any is known."""
        sums, counts = self.state.to(like.device).chunk(2)
        means = torch.where(counts > 0, sums / counts.clamp_min(1e-300), otherwise)
        return means.to(like.dtype)
