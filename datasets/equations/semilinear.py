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
from ..solvers.collocation import Collocation
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

    def balance(self, problem: Problem, order: int) -> _Balanced:
        """As `Equation.balance`; L exactly, N to the given order (`solvers.collocation`)."""
        return _Balanced(self, problem, order)


class _Discretised:
    """L and N of some trajectories on a grid, and the way to spectral states and back."""

    def __init__(self, equation: SemilinearEquation, problem: Problem) -> None:
        grid, initial = problem.grid, problem.initial
        box = _mirrored(grid)
        dealias = equation.dealias and equation.nonlinear is not None
        spectral = Spectral(box.shape, box.lengths, initial.dtype, initial.device, dealias)
        self._walls = [axis for axis, kind in enumerate(grid.boundary) if kind == "wall"]
        self._inside = (..., *map(slice, grid.shape)) if self._walls else (...,)
        self._equation, self.spectral = equation, spectral
        self.symbol = equation.symbol_on(spectral, problem.parameters)
        self.term: Term | None = None
        if equation.nonlinear is not None:
            parameters = equation.broadcast(problem.parameters)
            values = {k: p.to(initial) for k, p in parameters.items()}
            self.term = equation.nonlinear(spectral, values)

    def encode(self, fields: Float[Tensor, "B C *S"]) -> Tensor:
        """The spectral state of fields; for a nonlinear equation, of the modes that it keeps."""
        spectral = self.spectral
        v = self._equation.encode(spectral, spectral.forward(_mirror(fields, self._walls)))
        return v if self.term is None else v * spectral.resolved

    def decode(self, v: Tensor) -> Float[Tensor, "B C *S"]:
        """Back."""
        return self.spectral.inverse(self._equation.decode(self.spectral, v))[self._inside]


class _Exponential:
    """A solution under way, as its spectral state."""

    def __init__(self, equation: SemilinearEquation, problem: Problem) -> None:
        self._on = _Discretised(equation, problem)
        self._v = self._on.encode(problem.initial)
        linear = self._on.term is None
        self._largest = math.inf if linear else equation.largest_step(problem)
        self._interval = 0.0

    def advance(self, interval: float) -> Float[Tensor, "B C *S"]:
        """As `March.advance`."""
        if interval > 0:
            if interval != self._interval:
                self._prepare(interval)
            for _ in range(self._count):
                self._v = self._stepper.step(self._v)
        return self._on.decode(self._v)

    def _prepare(self, interval: float) -> None:
        """The stepper for an interval, which further ones of its length share."""
        self._interval, self._count = interval, substeps(interval, self._largest)
        step = interval / self._count
        self._stepper = ETDRK4(self._on.symbol, self._on.term, step, self._on.spectral)


class _Balanced:
    """What frames one time step apart leave of the equation."""

    def __init__(self, equation: SemilinearEquation, problem: Problem, order: int) -> None:
        self._on, self._order = _Discretised(equation, problem), order

    def residual(
        self,
        before: Float[Tensor, "B T C *S"],
        after: Float[Tensor, "B T C *S"],
        increments: Float[Tensor, "B T"],
    ) -> Float[Tensor, "B T C *S"]:
        """As `Balance.residual`."""
        on, times, found = self._on, increments.double().cpu(), []
        step: Collocation | None = None
        for k, dt in enumerate(times.unbind(1)):
            if step is None or not torch.equal(dt, times[:, k - 1]):
                step = Collocation(on.symbol, on.term, dt, on.spectral, self._order)
            start, end = on.encode(before[:, k]), on.encode(after[:, k])
            found.append(after[:, k] - on.decode(step.end(start, end)))
        return torch.stack(found, 1)


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
