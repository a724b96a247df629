"""What is validated: of each validation trajectory one long window, read by who scores it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..datasets.fields.window import Window, without
from ..datasets.stores.store import Store
from ..operators.core.operator import Operator
from .recipe import DataConfig, TrainRecipe


def held_out(
    recipe: TrainRecipe, stores: Sequence[Store], operator: Operator
) -> dict[str, LongWindows]:
    """Per dataset, its windows to validate on.

    Args:
        recipe: how many trajectories, and how many frames of them.
        stores: the valid split of each of the recipe's datasets.
        operator: whose fields and history they have.

    Raises:
        ValueError: a trajectory is too short, or has too few frames without missing values.
    """
    pairs = zip(stores, recipe.data, strict=True)
    return {store.name: LongWindows(store, data, recipe, operator) for store, data in pairs}


class LongWindows:
    """One long window of each of the first trajectories of a store, read when it is asked for.

    A window that was read is kept: it is asked for in every validation.

    Args:
        store: the valid split of a dataset.
        data: its entry in the recipe.
        recipe: how many trajectories, and how many frames of them.
        operator: whose fields and history they have.

    Raises:
        ValueError: a trajectory is too short, or has too few frames without missing values.
    """

    def __init__(
        self, store: Store, data: DataConfig, recipe: TrainRecipe, operator: Operator
    ) -> None:
        self.store, self.stride = store, data.stride
        self.about, self.history = operator.description, operator.history
        count = min(recipe.validation.trajectories, len(store))
        self.horizon = _horizon(recipe, store, data, self.history, count)
        length = 1 if store.steady else self.stride * (self.history + self.horizon - 1) + 1
        self._starts = [_start(store, i, length, self.stride) for i in range(count)]
        self._read: dict[int, Window] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> Window:
        if number not in self._read:
            self._read[number] = self._window(number)
        return self._read[number]

    @property
    def numbers(self) -> range:
        """Of its windows."""
        return range(len(self))

    @property
    def cost(self) -> int:
        """About what the prediction of one window costs, relative to other datasets: its points."""
        return self.horizon * math.prod(self.store.grid.shape)

    @property
    def alike(self) -> bool:
        """Whether all share their time step, so that several fit one batch."""
        steps = {self._step(i) for i in self.numbers}
        return self.store.steady or (len(steps) == 1 and None not in steps)

    def _step(self, i: int) -> float | None:
        """Time between the frames of window i as they are stored; None where it varies."""
        uniform = self.store.dt is not None and self._starts[i] >= self.store.first
        return self.store.dt if uniform else self.store.timeline(i).step

    def _window(self, i: int) -> Window:
        about, start = self.about, self._starts[i]
        window = self.store.window(i, start, self.history, self.horizon, self.stride)
        window = window.filled(about.channel_fill, about.inputs)
        window = window.select(about.fields, about.inputs)
        constant = about.normalizer.constants(self.store.name)
        return replace(window, context=without(window.context, constant))


def _start(store: Store, i: int, length: int, stride: int) -> int:
    """The first of `length` frames of trajectory i without gaps and holes; the longest run first.

    Raises:
        ValueError: it has no such frames.
    """
    whole = store.whole_frames(i)
    for part in sorted(store.stretches(i), key=len, reverse=True):
        for start in range(part.start, part.stop - length + 1):
            if whole is None or whole[start : start + length : stride].all():
                return start
    path, local = store.origin(i)
    raise ValueError(
        f"{path}: trajectory {local} has no {length} frames without missing values to validate "
        "on; use a shorter validation.horizon"
    )


def _horizon(recipe: TrainRecipe, store: Store, data: DataConfig, history: int, count: int) -> int:
    """Frames to roll out: as many as are wanted and stored."""
    if store.steady:
        return 1
    shortest = min(len(_longest(store, i)) for i in range(count))
    stored = (shortest - 1) // data.stride + 1
    horizon = min(recipe.validation.horizon, stored - history)
    if horizon < 1:
        raise ValueError(
            f"the validation trajectories of {store.name} have {stored} frames at stride "
            f"{data.stride}; needed are {history} + 1"
        )
    return horizon


def _longest(store: Store, i: int) -> range:
    """The most frames of a trajectory that follow each other without a gap."""
    return max(store.stretches(i), key=len)
