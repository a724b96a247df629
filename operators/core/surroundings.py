"""The context of a history: the one that is given, or the training grid where none is."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...datasets.fields.grid import Grid
from ...datasets.fields.prescribed import Prescribed, shapes
from ...datasets.fields.window import Context
from .description import Description


def context_of(history: Tensor, description: Description) -> Context:
    """The context of a history of which nothing else is known: it lies on the training grid.

    Where the description has no grid, on the periodic unit box.

    Args:
        history: (B, T, C, *S).
        description: of the operator.

    Raises:
        ValueError: the history has other points than the training grid.
    """
    grid, points = description.grid, tuple(history.shape[3:])
    if grid is None:
        grid = Grid.unit(points)
        if description.provenance.get("datasets"):
            warnings.warn(
                "this operator was trained on several grids and the history says none: the "
                "periodic unit box is taken; give a Context with its grid, as window.context has",
                stacklevel=4,
            )
    elif grid.shape != points:
        own, other = ("×".join(map(str, shape)) for shape in (points, grid.shape))
        raise ValueError(
            f"the history has {own} points, and this operator was trained on {other}: whether "
            "they lie on the same domain cannot be known. Give a Context with the history's "
            "fields and grid, as window.context of a store has"
        )
    return Context(description.fields, grid, inputs=description.inputs)


def with_batch(context: Context, batch: int) -> Context:
    """The same context with a batch axis in its tensors, which are repeated where they are one.

    Raises:
        ValueError: a tensor does not fit its names, the grid or the batch.
    """
    points = context.grid.shape
    shapes = {
        "constants": (len(context.constant_fields), *points),
        "parameters": (len(context.parameter_names),),
        "mask": (len(context.fields), *points),
    }
    values = {
        "constants": context.constants,
        "parameters": context.parameters,
        "mask": context.mask,
    }
    changed: dict[str, Any] = {}
    for name, value in values.items():
        expected = (batch, *shapes[name])
        if value is None or tuple(value.shape) == expected:
            continue
        if tuple(value.shape) not in (expected[1:], (1, *expected[1:])):
            raise ValueError(
                f"context.{name} must have shape {expected} for a history of {batch} "
                f"trajectories, or {expected[1:]} for all; got {tuple(value.shape)}"
            )
        changed[name] = value.expand(expected)
    given = context.prescribed
    if given is not None:
        changed["prescribed"] = _prescribed_of(given, batch, points)
    return replace(context, **changed) if changed else context


def _prescribed_of(given: Prescribed, batch: int, points: tuple[int, ...]) -> Prescribed:
    single = given.times.ndim == 1
    whole = given.map(lambda value: value.unsqueeze(0)) if single else given
    if len(whole.times) == 1 != batch:
        whole = whole.map(lambda value: value.expand(batch, *value.shape[1:]))
    for name, (value, shape) in shapes(whole, (batch,), points).items():
        if tuple(value.shape) != shape:
            raise ValueError(
                f"context.{name} must have shape {shape} for a history of {batch} "
                f"trajectories, or {shape[1:]} for all; got {tuple(value.shape)}"
            )
    return whole
