"""Which weights stay in single precision where training computes with half-precision ones."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class SinglePrecision(nn.Module):
    """A module whose weights are used as they are, whatever precision its surroundings have.

    Sharded training makes units of such modules, and gathers their weights uncast.

    Attributes:
        entrances: methods beside `forward` that use the weights.
    """

    entrances: ClassVar[tuple[str, ...]] = ()
