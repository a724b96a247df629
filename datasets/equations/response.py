"""The response in space–time of a forced equation, as a steady problem: from f(t, x) to u(t, x)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.etdrk import ETDRK4, Spectral, substeps
from .equation import Draw, Equation, Problem, Steady
from .initial import Sampler, describe
from .semilinear import SemilinearEquation


@dataclass(frozen=True, kw_only=True)
class ResponseEquation(Equation):
    """The response in space–time of a forced equation: from f(t, x) to u(t, x), as one field.

    The first axis is time. f is the constant field: added to the first component of the flow's
    equation, linear in time between the grid's points. u is the flow's first component, from a
    start that all trajectories share.

    Attributes:
        flow: the equation without forcing, in the other axes.
        start: sampler of the flow's initial state.
    """

    flow: SemilinearEquation
    start: Sampler

    def draw(self, generator: torch.Generator, grid: Grid) -> Draw:
        """As `Equation.draw`, of a grid that holds the start too."""
        self.start(torch.Generator().manual_seed(0), self.space(grid))
        return super().draw(generator, grid)

    def starts(self) -> str:
        """As `Equation.starts`, with the start that all trajectories share."""
        return f"one state for all trajectories, {describe(self.start)}; {super().starts()}"

    def space(self, grid: Grid) -> Grid:
        """The flow's grid."""
        return self.flow.grid(grid.shape[1:], grid.lengths[1:])

    def march(self, problem: Problem) -> Steady:
        """As `Equation.march`: one frame; steps are no longer than the flow's `solver_step`."""
        constants, initial, grid = problem.constants, problem.initial, problem.grid
        assert constants is not None, self.name
        assert self.flow.nonlinear is not None, self.name
        space = self.space(grid)
        spectral = Spectral(space.shape, space.lengths, initial.dtype, initial.device)
        interval = grid.spacing[0]
        count = substeps(interval, self.flow.solver_step or interval)
        values = {k: p.to(initial) for k, p in self.flow.broadcast(problem.parameters).items()}
        term = self.flow.nonlinear(spectral, values)
        stepper = ETDRK4(
            self.flow.symbol_on(spectral, problem.parameters), term, interval / count, spectral
        )
        start = self.start(torch.Generator().manual_seed(0), space).to(initial)
        v = spectral.forward(start.expand(len(initial), *start.shape))
        forcing = spectral.forward(constants[:, 0].to(initial))  # (B, T, *K)
        planes = [spectral.inverse(v[:, :1])]
        for before, after in zip(forcing.unbind(1)[:-1], forcing.unbind(1)[1:], strict=True):
            for step in range(count):
                source = [
                    _in_first_component(torch.lerp(before, after, (step + part) / count), v)
                    for part in (0.0, 0.5, 1.0)
                ]
                v = stepper.forced_step(v, source)
            planes.append(spectral.inverse(v[:, :1]))
        return Steady(torch.stack(planes, 2))


def _in_first_component(values: Tensor, like: Tensor) -> Tensor:
    """(B, *K) as the first of the components of a state (B, C, *K), the others being zero."""
    out = torch.zeros_like(like)
    out[:, 0] = values
    return out


@dataclass(frozen=True)
class RandomForcing:
    """f(t) = Σ_j a_j cos(π j t / T) + b_j sin(π j t / T), j = 1 … modes, constant in space.

    Coefficients are normal; f is scaled to a root mean square over time, uniform in `rms`.
    """

    modes: int
    rms: tuple[float, float]

    def __str__(self) -> str:
        return f"random Fourier series of up to {self.modes} half-periods in time"

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 *S"]:
        """One forcing on a grid whose first axis is time, in double precision."""
        a, b = torch.randn(2, self.modes, generator=generator, dtype=torch.float64)
        low, high = self.rms
        target = low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64)
        j = torch.arange(1, self.modes + 1)
        # The root mean square over [0, T] is, but for the ends, that of the coefficients.
        scale = target / ((a.square() + b.square()).sum() / 2).sqrt()
        phase = torch.pi * grid.coordinates()[0][:, None] * j / grid.lengths[0]
        f = scale * (phase.cos() @ a + phase.sin() @ b)
        return f.reshape(1, -1, *(1,) * (grid.ndim - 1)).expand(1, *grid.shape).clone()
