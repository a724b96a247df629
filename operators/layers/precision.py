"""Which weights stay in single precision where training computes with half-precision ones."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class SinglePrecision(nn.Module):
    """A module whose weights are used as they are, whatever precision its surroundings have.

    Sharded training makes units of such modules, and gathers their weights uncast.

    Attributes:
        entrances: methods beside `forward` that use the weights.
    """

    entrances: ClassVar[tuple[str, ...]] = ()


def single(weight: Tensor) -> Tensor:
    """A weight in at least single precision; blocks of sharded training may have it in half."""
    return weight.to(torch.promote_types(weight.dtype, torch.float32))
