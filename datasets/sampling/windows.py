"""The windows of a store, numbered: a map-style dataset for training and evaluation."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch.utils.data import Dataset

from ..fields.window import Window, without
from ..stores.choosing import choose
from ..stores.store import Store


@dataclass(frozen=True)
class Selection:
    """What is kept of a store.

    Attributes:
        trajectories: use only this many, chosen by `seed`; a larger number, with the same seed,
            contains a smaller one. None for all.
        seed: of that choice.
        fields: keep only these fields, in this order. None for all.
        inputs: likewise for the input fields of a steady problem.
        fill: values of fields and inputs that the store lacks; see `Window.filled`.
        constant: fields that are not predicted, as they never vary.
    """

    trajectories: int | None = None
    seed: int = 0
    fields: Sequence[str] | None = None
    inputs: Sequence[str] | None = None
    fill: Mapping[str, float] = field(default_factory=dict)
    constant: Collection[str] = ()


class Windows(Dataset[Window]):
    """Every window of `history` → `horizon` frames at a stride, trajectory by trajectory.

    A trajectory of T frames has T − stride·(history + horizon − 1) windows, one per first frame
    (from `store.first` on); only every `every`-th of them is kept, and none that touches a hole
    where the store skips them. In epoch e an endless dataset gives those of `store.epoch(e)`.

    Args:
        store: where the trajectories are.
        history, horizon: frames given and frames to predict.
        stride: distance between the frames of a window.
        every: distance between the first frames of consecutive windows.
        selection: what is kept of the store; all by default.

    Raises:
        ValueError: a trajectory is too short for one window, a number is impossible, or a field is
            unknown.
    """

    def __init__(
        self,
        store: Store,
        history: int,
        horizon: int,
        stride: int = 1,
        every: int = 1,
        selection: Selection | None = None,
    ) -> None:
        chosen = selection or Selection()
        for name, value in (("history", history), ("horizon", horizon)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1 frame; got {value}")
        if stride < 1 or every < 1:
            raise ValueError(f"stride and every must be at least 1; got {stride} and {every}")
        self.fill, self.constant = dict(chosen.fill), frozenset(chosen.constant)
        require_channels(store, chosen.fields or (), chosen.inputs or (), self.fill)
        self.store, self.history, self.horizon = store, history, horizon
        self.stride, self.every = stride, every
        self.fields = store.fields if chosen.fields is None else tuple(chosen.fields)
        self.inputs = store.inputs if chosen.inputs is None else tuple(chosen.inputs)
        self.trajectories = choose(store, chosen.trajectories, chosen.seed)
        # Numbers of the windows that touch no hole, of trajectories that have some.
        self._kept: dict[int, list[int]] = {}
        self._count_all()
        if not len(self):
            raise ValueError(
                f"all windows of {store.name!r} touch frames with missing values; use shorter "
                "ones, or fill these values"
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Window:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.store.name!r} has {len(self)} windows; got index {index}")
        window = self._window(*self._locate(index))
        window = window.filled(self.fill, self.inputs).select(self.fields, self.inputs)
        if not self.constant:
            return window
        return replace(window, context=without(window.context, self.constant))

    def origin(self, index: int) -> str:
        """Where a window comes from, in words: dataset, file, trajectory and time."""
        trajectory, number = self._locate(index)
        path, local = self.store.origin(trajectory)
        time = self.store.trajectory_times(trajectory)[self._start(trajectory, number)]
        return f"{self.store.name}: {path}, trajectory {local}, from time {time:g}"

    def in_epoch(self, epoch: int, streams: int = 1) -> Windows:
        """The windows of an epoch: the same in each, unless the store is endless.

        Args:
            epoch: its number.
            streams: in which the epochs are used; see `Store.epoch`.
        """
        store = self.store.epoch(epoch, streams)
        if store is self.store:
            return self
        windows = copy.copy(self)
        windows.store = store
        return windows

    def by_step(self) -> list[Windows]:
        """The windows of trajectories of one time step each, in the order of the steps' places.

        Windows of one batch share their time step: these fit one, whatever the trajectories are.
        """
        if self.store.steady or self.store.dt is not None:
            return [self]
        groups: dict[float | None, list[int]] = {}
        for i in self.trajectories:
            groups.setdefault(self.store.timeline(i).step, []).append(i)
        parts = []
        for chosen in groups.values():
            part = copy.copy(self)
            part.trajectories = chosen
            part._count_all()
            parts.append(part)
        return [part for part in parts if len(part)]  # of some, all windows may touch holes

    @property
    def dt(self) -> float | None:
        """Time between frames where all trajectories share it, else None."""
        if self.store.steady or self.store.dt is not None:
            return self.store.dt
        steps = {self.store.timeline(i).step for i in self.trajectories}
        return steps.pop() if len(steps) == 1 else None

    def _count_all(self) -> None:
        self._ends = np.cumsum([self._count_whole(i) for i in self.trajectories])

    def _locate(self, index: int) -> tuple[int, int]:
        """The trajectory of a window, and the window's number in it."""
        position = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[position - 1]) if position else 0
        trajectory, number = self.trajectories[position], index - before
        kept = self._kept.get(trajectory)
        return trajectory, number if kept is None else kept[number]

    def _window(self, trajectory: int, number: int) -> Window:
        """Window `number` of a trajectory."""
        start = self._start(trajectory, number)
        return self.store.window(trajectory, start, self.history, self.horizon, self.stride)

    def _start(self, trajectory: int, number: int) -> int:
        """First frame of a trajectory's window `number`."""
        if self.store.steady:
            return 0
        first, *others = self.store.stretches(trajectory)
        while number >= self._fitting(first):
            number -= max(0, self._fitting(first))
            first = others.pop(0)
        return first.start + number * self.every

    def _frames(self, trajectory: int, number: int) -> range:
        """The stored frames of a trajectory's window `number`."""
        start = self._start(trajectory, number)
        return range(start, start + (0 if self.store.steady else self._reach) + 1, self.stride)

    def _require_steady(self) -> None:
        got = (self.history, self.horizon, self.stride, self.every)
        if got != (1, 1, 1, 1):
            raise ValueError(
                f"{self.store.name!r} is a steady problem, with one history and one target frame, "
                f"stride and every 1; got {', '.join(map(str, got))}"
            )

    def _count_whole(self, trajectory: int) -> int:
        """Windows of a trajectory that touch no hole."""
        count, whole = self._count(trajectory), self.store.whole_frames(trajectory)
        if whole is None or whole.all():
            return count
        kept = [
            k for k in range(count) if all(whole[frame] for frame in self._frames(trajectory, k))
        ]
        self._kept[trajectory] = kept
        return len(kept)

    def _count(self, trajectory: int) -> int:
        if self.store.steady:
            self._require_steady()
            return 1
        stretches = self.store.stretches(trajectory)
        counts = [max(0, self._fitting(stretch)) for stretch in stretches]
        if not any(counts):
            frames = max(map(len, stretches))
            where = " in a row, without a gap" * (len(stretches) > 1)
            raise ValueError(
                f"a window of {self.history} history and {self.horizon} target frames at stride "
                f"{self.stride} spans {self._reach + 1} frames, but trajectory {trajectory} of "
                f"{self.store.name!r} has {frames}{where}; shorten the window"
            )
        return sum(counts)

    @property
    def _reach(self) -> int:
        """From the first frame of a window to its last."""
        return self.stride * (self.history + self.horizon - 1)

    def _fitting(self, stretch: range) -> int:
        """How many windows lie within frames that follow each other; negative for too few."""
        return -(-(len(stretch) - self._reach) // self.every)


def require_channels(
    store: Store,
    fields: Sequence[str],
    inputs: Sequence[str] = (),
    fill: Collection[str] = (),
) -> None:
    """Refuse fields, or input fields of a steady problem, that a store has not; `fill` are given.

    Raises:
        ValueError: one is missing, or the problem is steady and should not be, or the reverse.
    """
    missing = [name for name in fields if name not in store.fields and name not in fill]
    if missing:
        raise ValueError(
            f"dataset {store.name!r} has no field {', '.join(missing)}; "
            f"it has {', '.join(store.fields)}"
        )
    if fields and not any(name in store.fields for name in fields):
        raise ValueError(
            f"dataset {store.name!r} has none of the fields {', '.join(fields)}, all of which "
            f"would be filled; it has {', '.join(store.fields)}"
        )
    _require_inputs(store, inputs, fill)


def _require_inputs(store: Store, inputs: Sequence[str], fill: Collection[str]) -> None:
    known = ", ".join(store.inputs) if store.steady else "none, as it is no steady problem"
    absent = [name for name in inputs if name not in store.inputs and name not in fill]
    if absent:
        raise ValueError(
            f"dataset {store.name!r} has no input field {', '.join(absent)}; it has {known}"
        )
    if inputs and not any(name in store.inputs for name in inputs):
        raise ValueError(
            f"dataset {store.name!r} has none of the input fields {', '.join(inputs)}, all of "
            f"which would be filled; it has {known}"
        )
