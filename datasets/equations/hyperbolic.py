"""Equations that are solved by finite volumes: hyperbolic systems with their shocks."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.blow_up import refuse
from ..solvers.finite_volume import FiniteVolume
from ..solvers.riemann import Euler, ShallowWater
from .equation import Equation, Parameters, Problem


@dataclass(frozen=True, kw_only=True)
class HyperbolicEquation(Equation):
    """A hyperbolic system, from and to cell averages.

    Initial states hold the primitive variables (V, *S) of the system: density or depth, one
    velocity per axis, pressure if there is one. The fields are those, or others made from them.
    """

    cell_centred: bool = True
    step_control: str = "Courant number 0.8, each trajectory its own"

    @abstractmethod
    def system(self, parameters: Parameters) -> Euler | ShallowWater:
        """The system with these parameters."""

    def observe(
        self, w: Float[Tensor, "B V *S"], parameters: Parameters, grid: Grid
    ) -> Float[Tensor, "B C *S"]:
        """The fields of primitive states."""
        return w

    def scheme(self, parameters: Parameters, constants: Tensor | None, grid: Grid) -> FiniteVolume:
        """The solver on a grid."""
        return FiniteVolume(self.system(parameters), grid.spacing, grid.boundary)

    def coarsened(self, values: Float[Tensor, "... C *S"], factor: int) -> Tensor:
        """Means over blocks of cells; for states, of the velocity weighted by density (by depth).

        So mass and momentum of a coarse cell are those of its cells.
        """
        channel = values.ndim - self.ndim - 1
        if values.shape[channel] not in (len(self.fields), len(self._state)):  # constant fields
            return super().coarsened(values, factor)
        names = self.fields[: values.shape[channel]]
        moving = [i for i, name in enumerate(names) if name.startswith("velocity")]
        index = torch.tensor(moving, dtype=torch.long, device=values.device)
        velocity, weight = values.index_select(channel, index), values.narrow(channel, 0, 1)
        momentum = super().coarsened(weight * velocity, factor)
        out = super().coarsened(values, factor)
        return out.index_copy(channel, index, momentum / out.narrow(channel, 0, 1))

    def restarted(
        self, fields: Float[Tensor, "B C *S"], *, first: bool
    ) -> Float[Tensor, "B V *S"] | None:
        """The primitive variables among the fields; None if one is missing."""
        index = [self.fields.index(name) for name in self._state]
        needed = self.ndim + (2 if "density" in self.fields else 1)
        return fields[:, index] if len(index) == needed else None

    @property
    def _state(self) -> list[str]:
        """The primitive variables among the fields."""
        variables = ("density", "height", "velocity_x", "velocity_y", "velocity_z", "pressure")
        return [name for name in variables if name in self.fields]

    def march(self, problem: Problem) -> _Cells:
        """As `Equation.march`, from primitive states; steps follow from the Courant number."""
        assert problem.solver_step is None
        return _Cells(self, problem)

    def positive_names(self) -> list[str]:
        """Names of the fields that a state cannot go on without."""
        known = ("density", "height", "pressure")
        return [name for name in known if name in self.fields]


class _Cells:
    """A solution under way, as its conserved state."""

    def __init__(self, equation: HyperbolicEquation, problem: Problem) -> None:
        parameters = equation.broadcast(problem.parameters)
        self._values = {name: value.to(problem.initial) for name, value in parameters.items()}
        self._scheme = equation.scheme(self._values, problem.constants, problem.grid)
        self._u = self._scheme.system.conserved(problem.initial)
        self._equation, self._grid = equation, problem.grid
        self._time = -problem.warm_up

    def advance(self, interval: float) -> Float[Tensor, "B C *S"]:
        """As `March.advance`.

        Raises:
            BlowUp: a trajectory lost positive density, depth or pressure, or is not finite.
        """
        self._u, sound = self._scheme.advance(self._u, interval)
        self._time += interval
        positive = " and ".join(self._equation.positive_names())
        refuse(~sound, f"lost a finite, positive {positive} by time {self._time:g}")
        w = self._scheme.system.primitive(self._u)
        return self._equation.observe(w, self._values, self._grid)
