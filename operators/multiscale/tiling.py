"""How an n-dimensional grid of tokens is cut into (shifted) windows.

Along every axis the windows start at `shift`, and the one that would reach around the edge is cut
there, unless the axis is periodic: tokens that are no neighbours never meet in a window. So windows
come in a few shapes (whole ones, and the pieces at the edges), and the windows of one shape are
computed together. Where a grid is `masked` the window reaches around instead, and a mask keeps the
two ends apart, as in the published code.

Rows are the tokens of a batch, (B·T, D); tiles are the windows of one shape.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..core.transforms import transformed
from ..layers.constants import constant

PADDING = -1


@dataclass(frozen=True)
class WindowGrid:
    """A grid of tokens and its windows.

    Attributes:
        shape: tokens per axis.
        window: tokens per axis of a window; the grid is zero-padded at its far ends to a multiple.
        shift: how far the windows are shifted along each axis.
        periodic: axes whose two ends are neighbours. A padded axis keeps its edge.
        masked: whether windows at edges hold both ends of an axis, for a mask to keep apart.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...]
    shift: tuple[int, ...]
    periodic: tuple[bool, ...]
    masked: bool = False

    @property
    def padded(self) -> tuple[int, ...]:
        """Tokens per axis with padding."""
        return tuple(-(-n // w) * w for n, w in zip(self.shape, self.window, strict=True))

    @property
    def single(self) -> bool:
        """Whether one window is the whole grid."""
        return self.padded == self.shape == self.window

    @property
    def tiles(self) -> tuple[tuple[tuple[int, ...], int], ...]:
        """Shapes of the windows, and how many there are of each in one sample."""
        kinds = itertools.product(*(_lengths(self, k) for k in range(len(self.shape))))
        axes = (zip(*kind, strict=True) for kind in kinds)
        return tuple((lengths, math.prod(counts)) for lengths, counts in axes)

    @property
    def edges(self) -> tuple[tuple[bool, ...], ...]:
        """For every shape of `tiles`: along which axes these windows hold both ends."""
        if not self.masked:
            return ((False,) * len(self.shape),) * len(self.tiles)
        ends = ([False] * (len(_lengths(self, k)) - 1) + [not _whole(self, k)]
                for k in range(len(self.shape)))  # fmt: skip
        return tuple(itertools.product(*ends))

    def partition(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "rows D"]:
        """The tokens window by window: for each shape, sample by sample."""
        if self.single:
            return x.flatten(0, 1)
        key = (self, x.shape[0], x.device)
        return _select(x.flatten(0, 1), _order(*key), _back(*key))

    def merge(self, rows: Float[Tensor, "rows D"]) -> Float[Tensor, "B T D"]:
        """The inverse of `partition`; padded tokens are dropped."""
        tokens = math.prod(self.shape)
        if not self.single:
            key = (self, rows.shape[0] // math.prod(self.padded), rows.device)
            rows = _select(rows, _back(*key), _order(*key))
        return rows.unflatten(0, (-1, tokens))


def pyramid(
    points: tuple[int, ...],
    periodic: tuple[bool, ...],
    patch: int,
    window: int,
    levels: int,
    masked: bool = False,
) -> list[list[WindowGrid]]:
    """Plain and shifted windows of every level; each is half as fine as the one before.

    A level smaller than the window shrinks it to its own size (rounded down) and does not shift. An
    axis wraps around only on levels that reached it without padding.

    Args:
        points: of the fields, per axis.
        periodic: axes that wrap around.
        patch: points per axis of a token.
        window: tokens per axis of a window.
        levels: how many there are.
        masked: whether windows at edges reach around, behind a mask.
    """
    shape = finest = tuple(-(-n // patch) for n in points)
    grids = []
    for level in range(levels):
        sizes = [max(1, n >> level) for n in finest]
        fitted = tuple(min(window, n) for n in sizes)
        shift = tuple(window // 2 if n > w else 0 for n, w in zip(sizes, fitted, strict=True))
        wraps = tuple(
            p and n == m * patch << level for p, n, m in zip(periodic, points, shape, strict=True)
        )
        plain = WindowGrid(shape, fitted, (0,) * len(shape), wraps)
        grids.append([plain, WindowGrid(shape, fitted, shift, wraps, masked and any(shift))])
        shape = tuple(-(-n // 2) for n in shape)
    return grids


def _lengths(grid: WindowGrid, axis: int) -> list[tuple[int, int]]:
    """Along an axis: the lengths of windows, and how many there are of each (see `_segments`)."""
    size, window, shift = grid.padded[axis], grid.window[axis], grid.shift[axis]
    if _whole(grid, axis):
        return [(window, size // window)]
    whole = [(window, size // window - 1)] if size > window else []
    if grid.masked:
        return [*whole, (window, 1)]
    ends = [(shift, 2)] if 2 * shift == window else [(shift, 1), (window - shift, 1)]
    return whole + ends


def _whole(grid: WindowGrid, axis: int) -> bool:
    """Whether no window reaches over an edge along an axis."""
    around = grid.periodic[axis] and grid.padded[axis] == grid.shape[axis]
    return grid.shift[axis] == 0 or around


def _segments(grid: WindowGrid, axis: int) -> list[Tensor]:
    """Along an axis: the positions in the windows of each length, (windows, length)."""
    size, window, shift = grid.padded[axis], grid.window[axis], grid.shift[axis]
    starts = torch.arange(shift, size + shift, window)[:, None]
    around = (starts + torch.arange(window)) % size
    if _whole(grid, axis):
        return [around]
    if grid.masked:
        return [around[:-1], around[-1:]] if len(around) > 1 else [around]
    whole = starts[:-1] + torch.arange(window)
    first, last = torch.arange(shift)[None], torch.arange(size - window + shift, size)[None]
    ends = [torch.cat((first, last))] if 2 * shift == window else [first, last]
    return [whole, *ends] if len(whole) else ends


@constant
def _order(grid: WindowGrid, batch: int, device: torch.device) -> Tensor:
    """Row of every window token; `PADDING` for a padded one."""
    n, tokens = len(grid.shape), math.prod(grid.shape)
    position = torch.full(grid.padded, PADDING)
    position[tuple(slice(size) for size in grid.shape)] = torch.arange(tokens).view(grid.shape)
    parts = []
    for axes in itertools.product(*(_segments(grid, k) for k in range(n))):
        index = position
        for k, x in enumerate(axes):
            index = index.index_select(2 * k, x.flatten()).unflatten(2 * k, tuple(x.shape))
        index = index.permute(*range(0, 2 * n, 2), *range(1, 2 * n, 2)).flatten()
        samples = tokens * torch.arange(batch)[:, None]
        parts.append(torch.where(index == PADDING, PADDING, index + samples).flatten())
    return torch.cat(parts).to(device)


@constant
def _back(grid: WindowGrid, batch: int, device: torch.device) -> Tensor:
    """The window token of every row."""
    order = _order(grid, batch, device)
    return order.argsort()[len(order) - batch * math.prod(grid.shape) :]  # padding sorts first


def _select(rows: Tensor, index: Tensor, back: Tensor) -> Tensor:
    """`rows[index]`, zero where the index is `PADDING`."""
    if rows.requires_grad and torch.is_grad_enabled() and not transformed(rows):
        return _Select.apply(rows, index, back)
    return _take(rows, index)


def _take(rows: Tensor, index: Tensor) -> Tensor:
    if rows.shape[0] >= index.shape[0]:  # as many rows as indices: nothing is padded
        return rows.index_select(0, index)
    taken = rows.index_select(0, index.clamp_min(0))
    return taken.masked_fill(index[:, None] == PADDING, 0.0)


class _Select(torch.autograd.Function):
    """`_take`, whose gradient takes by the inverse index: no scattered sums."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return _take(rows, index)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return _take(gradient, back), None, None
