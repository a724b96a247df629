"""Losses that leap far above those just before, by a measure that the leaps do not move.

    z = (x − m) / s,    m the median of the last losses, s = 1.4826 · median |x − m|

(s is the standard deviation of normal numbers, and not less than a hundredth of m).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import isfinite
from statistics import median

LEAST = 6.0  # from which z on a loss is flagged
_LOOKS_BACK = 50  # logged losses
_KNOWS = 10  # that are needed to judge one


class Spikes:
    """Watches logged losses.

    Args:
        losses: those so far, in order.
    """

    def __init__(self, losses: Iterable[float] = ()) -> None:
        self._recent = deque((x for x in losses if isfinite(x)), maxlen=_LOOKS_BACK)

    def see(self, loss: float) -> float | None:
        """z of the next loss, if it is a spike."""
        if not isfinite(loss):
            return None
        z = self._z(loss) if len(self._recent) >= _KNOWS else 0.0
        self._recent.append(loss)
        return z if z > LEAST else None

    def _z(self, loss: float) -> float:
        middle = median(self._recent)
        spread = 1.4826 * median(abs(x - middle) for x in self._recent)
        return (loss - middle) / max(spread, 0.01 * abs(middle), 1e-12)
