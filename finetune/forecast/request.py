"""What a forecast is asked for: the one list of what functions and the command line take.

Without torch, so that help is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Mode = Literal["autoregressive", "direct"]


@dataclass(frozen=True)
class Request:
    """What to predict of a store, and where to compute it; `make_plan` checks it against both.

    Attributes:
        trajectories: indices into the store, or the number of trajectories from the first; None
            for all.
        start: first frame of the history; not before the store's first.
        steps: frames to predict; None for as many as are stored in every chosen trajectory.
        lead_times: predict at these physical times after the last given frame instead of `steps`,
            for operators that are continuous in time.
        mode: "autoregressive": each frame from the prediction before; "direct": each from the given
            frames alone, for operators that are continuous in time.
        batch: trajectories computed at a time.
        device: where to compute: cpu, cuda, ….
    """

    trajectories: int | Sequence[int] | None = None
    start: int = 0
    steps: int | None = None
    lead_times: Sequence[float] | None = None
    mode: Mode = "autoregressive"
    batch: int = 16
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1; got {self.batch}")
        if self.mode not in ("autoregressive", "direct"):
            raise ValueError(f"mode is autoregressive or direct; got {self.mode!r}")
