"""Windows of steps that an evaluation sums up on their own, as benchmarks do (6:12, 13:30).

Without torch, so that help is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LeadWindow:
    """Steps first … last, counted from 1, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}:{self.last}"

    @property
    def steps(self) -> slice:
        """Their indices."""
        return slice(self.first - 1, self.last)


def lead_windows(text: str) -> tuple[LeadWindow, ...]:
    """The windows of a text such as "6:12,13:30".

    Raises:
        ValueError: it is no such text.
    """
    found = []
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        if not (colon and first.isdecimal() and last.isdecimal()):
            raise ValueError(f"needs windows of steps, as in 6:12,13:30; got {text!r}")
        window = LeadWindow(int(first), int(last))
        if not 1 <= window.first <= window.last:
            raise ValueError(
                f"a window counts from 1, its first step not after its last; got {part}"
            )
        found.append(window)
    return tuple(found)


def require_within(windows: Sequence[LeadWindow], steps: int) -> None:
    """Refuse windows beyond the predicted steps.

    Raises:
        ValueError: one ends later.
    """
    for window in windows:
        if window.last > steps:
            raise ValueError(
                f"the window {window} ends after the {steps} predicted step(s); ask for more "
                "(--steps), or for earlier windows"
            )
