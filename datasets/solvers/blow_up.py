"""What a solver says of trajectories that it cannot integrate further."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Bool
from torch import Tensor


class BlowUp(ValueError):
    """Some trajectories of a batch cannot be integrated further.

    Args:
        reasons: what happened, by index within the batch, as in "got a negative pressure by time
            0.3".
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__("; ".join(f"trajectory {i} {what}" for i, what in reasons.items()))


def refuse(bad: Bool[Tensor, " B"], what: str) -> None:
    """Nothing, unless some trajectories are bad.

    Raises:
        BlowUp: some are; names them.
    """
    if bool(bad.any()):
        raise BlowUp(dict.fromkeys(bad.nonzero().flatten().tolist(), what))
