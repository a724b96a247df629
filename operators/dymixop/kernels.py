"""The convolutions into which a mixing layer of DyMixOp collapses."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Kernels(NamedTuple):
    """All that is linear in a mixing layer, on one grid; the letters are those of `mixing_1d`.

    Attributes:
        local, local_bias: the local branches S, side by side.
        linear: weight K of the sum of the linear branches; None if there are none.
        bias: the sum b of all biases behind the product.
        mixing: weight of A.
    """

    local: Tensor
    local_bias: Tensor
    linear: Tensor | None
    bias: Tensor
    mixing: Tensor
