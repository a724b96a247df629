"""all2all training data: every ordered pair of frames of a trajectory (arXiv 2405.19101)."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..fields.window import Window
from ..stores.store import Store
from .windows import Selection, Windows


class Pairs(Windows):
    """The frame at i·stride → the frame at j·stride, for all 0 ≤ i ≤ j ≤ n and every trajectory.

    (n + 1)(n + 2) / 2 pairs per trajectory, identity pairs (i = j, lead time 0) included, or
    n (n + 1) / 2 without them. An operator that is continuous in time sees every lead time, and a
    trajectory gives many more windows than it has steps.

    Args:
        store: where the trajectories are.
        steps: n, the longest lead time in strides.
        stride: stored frames between snapshots.
        identity: whether identity pairs belong to it.
        selection: as for `Windows`.

    Raises:
        ValueError: a trajectory is too short, or a number is impossible.
    """

    def __init__(
        self,
        store: Store,
        steps: int,
        stride: int = 1,
        identity: bool = True,
        selection: Selection | None = None,
    ) -> None:
        if store.steady:
            raise ValueError(
                f"{store.name!r} is a steady problem and has no pairs of frames; "
                "use objective.kind: rollout"
            )
        first = 0 if identity else 1
        self.pairs = [(i, j) for i in range(steps + 1) for j in range(i + first, steps + 1)]
        super().__init__(store, 1, steps, stride, selection=selection)

    def _window(self, trajectory: int, number: int) -> Window:
        i, j = self.pairs[number]
        start = self._start(trajectory, number)
        if j > i:
            return self.store.window(trajectory, start, 1, 1, (j - i) * self.stride)
        window = self.store.window(trajectory, start, 1, 0)
        context, given = window.context, window.context.prescribed
        if given is not None:  # at both ends, as of other pairs
            context = replace(
                context, prescribed=given.map(lambda value: value.repeat_interleave(2, 0))
            )
        target = window.history.clone()
        return replace(window, target=target, lead_times=torch.zeros(1), context=context)

    def _start(self, trajectory: int, number: int) -> int:
        first = next(part for part in self.store.stretches(trajectory) if self._fitting(part) > 0)
        return first.start + self.pairs[number][0] * self.stride

    def _frames(self, trajectory: int, number: int) -> range:
        i, j = self.pairs[number]
        start, lead = self._start(trajectory, number), (j - i) * self.stride
        return range(start, start + lead + 1, max(1, lead))

    def _count(self, trajectory: int) -> int:
        super()._count(trajectory)  # refuses a trajectory that is too short
        return len(self.pairs)
