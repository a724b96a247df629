"""Several resolutions in training: micro-batches on every k-th point of the grid, k drawn anew.

What a network learns of one grid it may not know of another one. Seeing the same data on coarser
grids too, it learns what is the same on all of them. Costs less than training on the full grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...datasets.fields.grid import Grid
from ...datasets.fields.window import Window
from ...operators.core.operator import Operator
from .noise import generator_of

_THIN = 0x7468696E  # draws of its own, whatever else a micro-batch draws


def drawn(window: Window, choices: Sequence[int], seed: int) -> Window:
    """A batch on every k-th point, k one of the choices; as it is where there are none."""
    if not choices:
        return window
    number = torch.randint(len(choices), (), generator=generator_of(seed, _THIN)).item()
    return thinned(window, choices[int(number)])


def thinned(window: Window, every: int) -> Window:
    """A window on every `every`-th point along all axes, from the first one on.

    Raises:
        ValueError: this does not divide the points of an axis.
    """
    grid = window.grid
    if any(n % every for n in grid.shape):
        raise ValueError(
            f"every {every}th point of {'×'.join(map(str, grid.shape))} is no grid of the same "
            "lengths; use a divisor of the points of every axis"
        )
    if every == 1:
        return window
    keep = (..., *(slice(None, None, every),) * grid.ndim)

    def thin(values: Tensor) -> Tensor:
        return values[keep].contiguous()

    context, given = window.context, window.context.prescribed
    shape = tuple(n // every for n in grid.shape)
    return Window(
        thin(window.history),
        thin(window.target),
        window.lead_times,
        replace(
            context,
            grid=Grid(shape, grid.lengths, grid.boundary, grid.origin),
            constants=None if context.constants is None else thin(context.constants),
            mask=None if context.mask is None else thin(context.mask),
            prescribed=given and replace(given, values=thin(given.values)),
        ),
    )


@torch.no_grad()
def require_thinnable(operator: Operator, window: Window, choices: Sequence[int]) -> None:
    """Let the operator predict on every one of the grids.

    Raises:
        ValueError: there is no such grid, or it cannot (a grid has too few points for its modes).
    """
    for every in choices:
        try:
            operator(thinned(window, every))
        except ValueError as error:
            raise ValueError(
                f"objective.thin: {every} does not go with dataset {window.dataset}: {error}"
            ) from None
