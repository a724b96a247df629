"""Equations u_t = L u + N(u) on boxes: Fourier in space, ETDRK4 in time.

L is given by its symbol, N by a term in spectral space. Axes are periodic, or end in walls without
flux: there the state is continued evenly to a periodic box of twice the length, of which symbols
and terms that commute with reflections keep the symmetry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.etdrk import ETDRK4, Spectral, Term, substeps
from .equation import Equation, Parameters, Problem


@dataclass(frozen=True, kw_only=True)
class SemilinearEquation(Equation):
    """u_t = L u + N(u) on a box, with L diagonal in Fourier space.

    Attributes:
        linear: (spectral, parameters) → symbol of L, broadcastable to (B, C, *K), real or complex.
        nonlinear: (spectral, parameters) → N as a term of the spectral state; None if linear.
        dealias: drop the modes that the 2/3 rule removes. Terms without derivatives, of states
            that diffusion smooths, need no such filter.
        encode: (spectral, spectra of the fields) → spectral state that L and N act on, and
        decode: back, where that state is not the fields themselves.
    """

    linear: Callable[[Spectral, Parameters], Tensor]
    nonlinear: Callable[[Spectral, Parameters], Term] | None = None
    dealias: bool = True
    encode: Callable[[Spectral, Tensor], Tensor] = lambda spectral, fields: fields
    decode: Callable[[Spectral, Tensor], Tensor] = lambda spectral, state: state
    solver: str = "ETDRK4, Fourier pseudo-spectral, 2/3 dealiasing"

    def __post_init__(self) -> None:
        super().__post_init__()
        walls = [kind for kind in self.boundary if kind != "periodic"]
        assert all(kind == "wall" for kind in walls), self.name
        assert not walls or self.cell_centred, self.name  # so that the mirror lies on faces
        if self.nonlinear is None:  # a step of any length is exact
            object.__setattr__(self, "solver_step", math.inf)
            object.__setattr__(self, "step_control", "exact")

    def symbol(
        self, grid: Grid, parameters: Mapping[str, Float[Tensor, " B"]]
    ) -> Inexact[Tensor, "#B #C *#K"]:
        """Symbol λ(k) of L on the real-FFT modes of `grid`: L alone evolves û(k) by e^{λ(k) t}.

        Args:
            grid: a periodic grid.
            parameters: one value per trajectory, by name.

        Returns:
            Double precision, real or complex, broadcastable to (B, C, *K).
        """
        symbol = self.symbol_on(Spectral(grid.shape, grid.lengths), parameters)
        return symbol.permute(0, 1, *reversed(range(2, symbol.ndim)))

    def symbol_on(
        self, spectral: Spectral, parameters: Mapping[str, Float[Tensor, " B"]]
    ) -> Inexact[Tensor, "#B #C *#K"]:
        """As `symbol`, on the modes of the solver's grid, in its order."""
        grid = replace(spectral, dtype=torch.float64, device="cpu")
        symbol = self.linear(grid, self.broadcast(parameters))
        return symbol.reshape(*(1,) * (2 + self.ndim - symbol.ndim), *symbol.shape)

    def march(self, problem: Problem) -> _Exponential:
        """As `Equation.march`; steps between frames are equal and no longer than `solver_step`.

        For a nonlinear equation the modes that the 2/3 rule removes are dropped from the start.
        """
        return _Exponential(self, problem)


class _Exponential:
    """A solution under way, as its spectral state."""

    def __init__(self, equation: SemilinearEquation, problem: Problem) -> None:
        grid, initial = problem.grid, problem.initial
        box = _mirrored(grid)
        dealias = equation.dealias and equation.nonlinear is not None
        spectral = Spectral(box.shape, box.lengths, initial.dtype, initial.device, dealias)
        walls = [axis for axis, kind in enumerate(grid.boundary) if kind == "wall"]
        self._inside = (..., *map(slice, grid.shape)) if walls else (...,)
        self._equation, self._spectral = equation, spectral
        self._v = equation.encode(spectral, spectral.forward(_mirror(initial, walls)))
        self._symbol = equation.symbol_on(spectral, problem.parameters)
        self._term, self._largest, self._interval = None, math.inf, 0.0
        if equation.nonlinear is not None:
            parameters = equation.broadcast(problem.parameters)
            values = {k: p.to(initial) for k, p in parameters.items()}
            self._term = equation.nonlinear(spectral, values)
            self._v = self._v * spectral.resolved
            self._largest = equation.largest_step(problem)

    def advance(self, interval: float) -> Float[Tensor, "B C *S"]:
        """As `March.advance`."""
        if interval > 0:
            if interval != self._interval:
                self._prepare(interval)
            for _ in range(self._count):
                self._v = self._stepper.step(self._v)
        return self._spectral.inverse(self._equation.decode(self._spectral, self._v))[self._inside]

    def _prepare(self, interval: float) -> None:
        """The stepper for an interval, which further ones of its length share."""
        self._interval, self._count = interval, substeps(interval, self._largest)
        step = interval / self._count
        self._stepper = ETDRK4(self._symbol, self._term, step, self._spectral)


def _mirrored(grid: Grid) -> Grid:
    """The periodic box of twice the length along axes with walls."""
    factors = [2 if kind == "wall" else 1 for kind in grid.boundary]
    return Grid(
        tuple(n * factor for n, factor in zip(grid.shape, factors, strict=True)),
        tuple(length * factor for length, factor in zip(grid.lengths, factors, strict=True)),
        ("periodic",) * grid.ndim,
    )


def _mirror(values: Tensor, axes: Sequence[int]) -> Tensor:
    """States (B, C, *S) continued evenly along some space axes."""
    for axis in axes:
        values = torch.cat((values, values.flip(2 + axis)), 2 + axis)
    return values


def diffusion(name: str) -> Callable[[Spectral, Parameters], Tensor]:
    """Symbol −ν |k|² of ν Δ, ν being the parameter `name`."""
    return lambda s, p: -p[name] * s.k2


def constant(s: Spectral, spectra: Tensor, value: Tensor) -> Tensor:
    """Adds a constant in space, (B, 1, *1), to the first component of spectra (B, C, *K)."""
    spectra[(slice(None), 0, *(0,) * len(s.shape))] += math.prod(s.shape) * value.flatten()
    return spectra
