"""Trained updates of weights that stay as they are: of low rank, or by band of wave numbers.

An update is a parametrization (`torch.nn.utils.parametrize`) of one weight W: whoever uses the
weight sees W + ΔW. It starts at ΔW = 0, and merging adds it to the weight.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Update(nn.Module, ABC):
    """W + ΔW in place of a weight W.

    Attributes:
        kind: its name in adapters.
    """

    kind: ClassVar[str]

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What it is made from beside the weight, ready for JSON."""

    @abstractmethod
    def forward(self, weight: Tensor) -> Tensor:
        """W + ΔW; in full precision under autocast, since it stands for a weight."""


class LowRank(Update):
    """ΔW = scale · B A, with A (rank, columns) and B (rows, rank).

    Args:
        weight: what is updated.
        stacked: leading axes over which the weight is a stack of matrices; of each matrix the
            first axis is its rows, the others its columns.
        rank: of the update.
        scale: factor on it.
        generator: draws A uniform in ±1/√columns; B is zero. None: A is zero, too.
    """

    kind = "low_rank"

    def __init__(
        self,
        weight: Tensor,
        stacked: int,
        rank: int,
        scale: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.stacked, self.rank, self.scale = stacked, rank, scale
        stack, rows, columns = matrices(weight, stacked)
        down = torch.zeros(*stack, rank, columns, dtype=weight.dtype)
        if generator is not None:
            nn.init.uniform_(down, -(columns**-0.5), columns**-0.5, generator=generator)
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(weight.new_zeros(*stack, rows, rank))

    def settings(self) -> dict[str, Any]:
        """Stack, rank and scale."""
        return {"stacked": self.stacked, "rank": self.rank, "scale": self.scale}

    def forward(self, weight: Float[Tensor, "*weight"]) -> Float[Tensor, "*weight"]:
        """W + scale · B A."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.up @ self.down).reshape(weight.shape)


class Banded(Update):
    """ΔW_k = scale · A_b S_k B_b for every mode k of a band b, of a spectral convolution's weight.

    Bands are octaves of the largest wave number along an axis: 0 and 1, 2 and 3, 4 to 7, …. A band
    has a space of its own of `ranks[b]` channels, into which A_b leads and out of which B_b, and
    each of its modes a matrix S_k in it: wide spaces where the energy is, narrow ones above.

    Args:
        weight: (2·modes, …, modes, inputs, outputs, 2), real and imaginary parts last.
        ranks: per band, from low to high wave numbers.
        scale: factor on the update.
        generator: draws A uniform in ±1/√inputs; S is the identity, and B is zero. None: A is zero.
    """

    kind = "banded"

    def __init__(
        self,
        weight: Tensor,
        ranks: Sequence[int],
        scale: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.ranks, self.scale = [*ranks], scale
        inputs, outputs, _ = weight.shape[-3:]
        self.members = _members(tuple(weight.shape[:-3]))
        assert len(self.members) == len(self.ranks)
        inner, cores, outer = [], [], []
        for rank, modes in zip(self.ranks, self.members, strict=True):
            start = torch.zeros(inputs, rank, 2, dtype=weight.dtype)
            if generator is not None:
                nn.init.uniform_(start, -(inputs**-0.5), inputs**-0.5, generator=generator)
            one = torch.stack((torch.eye(rank), torch.zeros(rank, rank)), -1).to(weight)
            inner.append(nn.Parameter(start.to(weight.device)))
            cores.append(nn.Parameter(one.repeat(len(modes), 1, 1, 1)))
            outer.append(nn.Parameter(weight.new_zeros(rank, outputs, 2)))
        self.inner, self.cores = nn.ParameterList(inner), nn.ParameterList(cores)
        self.outer = nn.ParameterList(outer)

    def settings(self) -> dict[str, Any]:
        """Ranks and scale."""
        return {"ranks": self.ranks, "scale": self.scale}

    def forward(self, weight: Float[Tensor, "*K I O 2"]) -> Float[Tensor, "*K I O 2"]:
        """W + ΔW."""
        with torch.autocast(weight.device.type, enabled=False):
            bands = [
                torch.view_as_real(
                    torch.view_as_complex(inner)
                    @ torch.view_as_complex(core)
                    @ torch.view_as_complex(outer)
                )
                for inner, core, outer in zip(self.inner, self.cores, self.outer, strict=True)
            ]
            order = torch.tensor([k for modes in self.members for k in modes]).argsort()
            change = torch.cat(bands)[order.to(weight.device)]
            return weight + self.scale * change.reshape(weight.shape)


def bands(kept: tuple[int, ...]) -> int:
    """Number of bands of a spectral convolution that keeps so many modes along the axes."""
    return len(_members(kept))


def _members(kept: tuple[int, ...]) -> list[list[int]]:
    """Flat indices of the modes of every band, (2·modes, …, modes) being kept."""
    modes = kept[-1]
    signed = torch.cat((torch.arange(modes), torch.arange(modes, 0, -1)))
    axes = [signed[:count] for count in kept]
    largest = torch.stack(torch.meshgrid(*axes, indexing="ij")).amax(0).flatten()
    octave = largest.clamp_min(1).log2().floor().long()
    found = [(octave == band).nonzero().flatten().tolist() for band in range(int(octave.max()) + 1)]
    return [each for each in found if each]


KINDS: Mapping[str, type[LowRank | Banded]] = {cls.kind: cls for cls in (LowRank, Banded)}


class Updated(NamedTuple):
    """A weight with an update: the module that owns it, its name there, and the update."""

    module: nn.Module
    leaf: str
    update: Update


def put(root: nn.Module, name: str, update: Update) -> None:
    """Update the parameter of this name."""
    module, leaf = owner(root, name)
    parametrize.register_parametrization(module, leaf, update)


def merge(root: nn.Module) -> None:
    """Add every update to its weight, which is a plain parameter again."""
    for found in list(updated(root).values()):
        parametrize.remove_parametrizations(found.module, found.leaf, leave_parametrized=True)


def updated(root: nn.Module) -> dict[str, Updated]:
    """The weights that have an update, by the name that they have without one."""
    return {
        name: found for path, module in root.named_modules() for name, found in _own(path, module)
    }


def _own(path: str, module: nn.Module) -> Iterator[tuple[str, Updated]]:
    if not parametrize.is_parametrized(module):
        return
    parametrizations = module.parametrizations
    assert isinstance(parametrizations, nn.ModuleDict)
    for leaf, parts in parametrizations.items():
        assert isinstance(parts, nn.ModuleList)
        for part in parts:
            if isinstance(part, Update):
                yield f"{path}.{leaf}" if path else leaf, Updated(module, leaf, part)


def owner(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that a parameter belongs to, and its name there."""
    path, _, leaf = name.rpartition(".")
    return root.get_submodule(path), leaf


def matrices(weight: Tensor, stacked: int) -> tuple[tuple[int, ...], int, int]:
    """Shape of the stack, rows and columns of each matrix."""
    stack, (rows, *columns) = tuple(weight.shape[:stacked]), weight.shape[stacked:]
    return stack, rows, math.prod(columns)
