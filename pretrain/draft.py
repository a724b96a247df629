"""A recipe for data that one has: what follows from them, and sizes to start from."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..datasets.base.config import build
from ..datasets.sampling.windows import Windows
from ..datasets.stores.opening import open_store
from ..datasets.stores.store import Store
from ..operators.core.registry import get
from .conserved import keeps_mean
from .recipe import TrainRecipe
from .untold import differing

_DIVIDED = {"by": "trajectory", "train": 0.8, "valid": 0.1, "test": 0.1}
_IN_TIME = {"by": "time", "train": 0.8, "valid": 0.1, "test": 0.1}
_PASSES = 20  # over the training windows,
_STEPS = (500, 20_000)  # but not fewer nor more steps than these
_ONE_FRAME = 0.8  # of the steps learn one frame ahead
_BRISK = ("dymixop",)  # operators that learn faster with large steps, and as soundly
_BOUND = 2.0  # times what the data are like: rollouts cannot blow up, and are free within


@dataclass(frozen=True)
class _Sizes:
    """Of an operator, by the number of space axes: for an hour on a few cores, not for the best."""

    hidden: int
    layers: int
    modes: int
    batch: int
    micro_batch: int


_SIZES = {1: _Sizes(32, 4, 16, 32, 16), 2: _Sizes(32, 4, 12, 16, 8), 3: _Sizes(16, 3, 6, 4, 2)}
_TRANSFORMER = {
    "width": 48,
    "depths": [2, 2, 2],
    "heads": [3, 6, 12],
    "skips": [1, 1, 0],
    "patch": 4,
    "window": 8,
}


def draft(paths: Sequence[str], operator: str = "dymixop") -> dict[str, Any]:
    """Plain data of a recipe that trains on these datasets.

    Args:
        paths: datasets in any layout.
        operator: registry name.

    Raises:
        ValueError: a dataset cannot be read, or has too few frames or trajectories to learn and
            validate anything, or there is no such operator.
    """
    known = {field.name for field in fields(get(operator).Config)}
    opened = [_open(path) for path in paths]
    stores = [train for train, _, _ in opened]
    first, sizes = stores[0], _SIZES[stores[0].grid.ndim]
    history = _history(stores) if "history" in known and not first.steady else 1
    shortest = min(_frames(store) for each in opened for store in each[:2])
    ahead = 1 if first.steady else min(5, shortest - history)
    if ahead < 1:
        raise ValueError(f"{paths[0]}: {shortest} frames are too few to learn from")
    steps = _steps(stores, history, ahead, sizes.batch)
    unrolls = ahead > 1 and not get(operator).direct
    values: dict[str, Any] = {
        "data": [
            {"path": path, **splits, **({} if train.steady else _clock(train))}
            for path, (train, _, splits) in zip(paths, opened, strict=True)
        ],
        "operator": {"name": operator, **_architecture(known, history, first, sizes)},
        **({"conditions": "all"} if _conditioned(stores, operator) else {}),
        **_held(stores),
        "normalizer": {"name": "statistics"},
        "objective": {
            "kind": "rollout",
            "horizon": ahead,
            "loss": "vrmse",
            **({"curriculum": _late(steps, ahead)} if unrolls else {}),
        },
        "optimizer": _optimizer(operator, first.grid.ndim),
        "steps": steps,
        "batch": sizes.batch,
        "micro_batch": sizes.micro_batch,
        "validation": {
            "every": 100,
            "trajectories": min(8, *(len(valid) for _, valid, _ in opened)),
            "horizon": 1 if first.steady else min(25, shortest - history),
        },
        "save_every": 100,
    }
    build(TrainRecipe, values)
    return values


def _held(stores: Sequence[Store]) -> dict[str, Any]:
    """What every step of a rollout is held to: means that all data keep, and a size."""
    if stores[0].steady:
        return {}
    names = [k for k in stores[0].fields if all(keeps_mean(store, k) for store in stores)]
    return {**({"conserved": names} if names else {}), "bounded": _BOUND}


def _late(steps: int, ahead: int) -> dict[str, int]:
    """One frame for most of the training, then all: steps of one are cheap, and teach most."""
    return {"every": max(1, round(_ONE_FRAME * steps)), "growth": ahead - 1}


def _optimizer(operator: str, ndim: int) -> dict[str, Any]:
    """Large steps, where they were measured to be better."""
    if operator in _BRISK and ndim < 3:
        return {"learning_rate": 5e-3, "betas": [0.9, 0.98]}
    return {"learning_rate": 1e-3 if ndim > 1 else 3e-3}


def _open(path: str) -> tuple[Store, Store, dict[str, Any]]:
    """Splits to train and to validate on, and the entry of the recipe that makes them, if any."""
    tried: list[ValueError] = []
    for splits in ({}, _DIVIDED, _IN_TIME):
        try:
            train, valid = (open_store(path, name, None, splits or None) for name in _WANTED)
        except ValueError as error:
            tried.append(error)
            continue
        return train, valid, {"splits": splits} if splits else {}
    raise tried[0]


_WANTED = ("train", "valid")


def _frames(store: Store) -> int:
    return min(max(map(len, store.stretches(i))) for i in range(len(store)))


def _history(stores: Sequence[Store]) -> int:
    return 4 if min(map(_frames, stores)) >= 12 else 2


def _clock(store: Store) -> dict[str, float]:
    """The frame spacing as the unit of time, where there is one."""
    return {} if store.dt is None else {"time_scale": float(f"{store.dt:.6g}")}


def _architecture(
    known: Collection[str], history: int, store: Store, sizes: _Sizes
) -> dict[str, Any]:
    """Those keys of an operator's config that depend on data, and sizes."""
    modes = max(1, min(sizes.modes, min(store.grid.shape) // 3))
    wanted = {"history": history, "hidden": sizes.hidden, "layers": sizes.layers, "modes": modes}
    wanted |= _TRANSFORMER
    return {key: value for key, value in wanted.items() if key in known}


def _conditioned(stores: Sequence[Store], operator: str) -> bool:
    """Whether the datasets have parameters that differ between trajectories, all the same ones."""
    names = {store.parameter_names for store in stores}
    return get(operator).conditioned and len(names) == 1 and bool(differing(stores))


def _steps(stores: Sequence[Store], history: int, ahead: int, batch: int) -> int:
    windows = sum(len(Windows(store, history=history, horizon=ahead)) for store in stores)
    wanted = _PASSES * windows / batch
    least, most = _STEPS
    return int(min(most, max(least, 100 * math.ceil(wanted / 100))))
