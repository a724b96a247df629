"""Equations that are solved by finite volumes: hyperbolic systems with their shocks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.finite_volume import FiniteVolume
from ..solvers.riemann import Euler, ShallowWater
from .equation import BlowUp, Equation, Parameters


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
        if values.shape[channel] != len(self.fields):  # constant fields
            return super().coarsened(values, factor)
        moving = [i for i, name in enumerate(self.fields) if name.startswith("velocity")]
        index = torch.tensor(moving, dtype=torch.long, device=values.device)
        velocity, weight = values.index_select(channel, index), values.narrow(channel, 0, 1)
        momentum = super().coarsened(weight * velocity, factor)
        out = super().coarsened(values, factor)
        return out.index_copy(channel, index, momentum / out.narrow(channel, 0, 1))

    def solve(
        self,
        initial: Float[Tensor, "B V *S"],
        parameters: Mapping[str, Float[Tensor, " B"]],
        grid: Grid,
        dt: float,
        *,
        constants: Float[Tensor, "B K *S"] | None = None,
        warm_up: float = 0.0,
        solver_step: float | None = None,
    ) -> Iterator[Float[Tensor, "B C *S"]]:
        """Endless frames at times 0, dt, 2 dt, … after the warm-up, in `initial`'s dtype, device.

        Args:
            initial: primitive states at the start of the warm-up.
            parameters: one value per trajectory, by name.
            grid: the grid of cell centres.
            dt: time between frames.
            constants: constant fields; needed if the equation has any.
            warm_up: time before the first frame.
            solver_step: must be None; the steps follow from the Courant number.

        Raises:
            BlowUp: a trajectory lost positive density, depth or pressure, or is not finite.
        """
        assert solver_step is None
        values = {name: value.to(initial) for name, value in self.broadcast(parameters).items()}
        scheme = self.scheme(values, constants, grid)
        system, time = scheme.system, 0.0
        u = system.conserved(initial)
        for interval in self._intervals(warm_up, dt):
            u, sound = scheme.advance(u, interval)
            time += interval
            if not bool(sound.all()):
                positive = " and ".join(self._positive_names())
                failed = (~sound).nonzero().flatten().tolist()
                what = f"lost a finite, positive {positive} by time {time - warm_up:g}"
                raise BlowUp(dict.fromkeys(failed, what))
            yield self.observe(system.primitive(u), values, grid)

    @staticmethod
    def _intervals(warm_up: float, dt: float) -> Iterator[float]:
        yield warm_up
        while True:
            yield dt

    def _positive_names(self) -> list[str]:
        known = ("density", "height", "pressure")
        return [name for name in known if name in self.fields]
