"""The wave equation in media of varying speed: fourth order in space and time.

The medium may be periodic, end in walls (u_n = 0), or be open: then the grid goes on beyond its
ends in a perfectly matched layer, in which the medium continues as it is at the edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.leapfrog import Leapfrog
from .equation import Equation, Problem


@dataclass(frozen=True, kw_only=True)
class WaveEquation(Equation):
    """u_tt = c(x)² Δu, at rest at first; c is the constant field.

    Attributes:
        fastest: largest speed that the medium may have; the time step follows from it.
    """

    fastest: float
    formula: str = "u_tt = c(x)² Δu"
    fields: tuple[str, ...] = ("u",)
    constant_fields: tuple[str, ...] = ("wave_speed",)
    cell_centred: bool = True
    step_control: str = "Courant number 1, from the largest speed of the family"
    solver: str = "fourth-order differences, modified-equation leapfrog, matched layers"

    def restarted(
        self, fields: Float[Tensor, "B C *S"], *, first: bool
    ) -> Float[Tensor, "B V *S"] | None:
        """A frame does not tell u_t, but at first, where it is zero."""
        return fields if first else None

    def march(self, problem: Problem) -> Leapfrog:
        """As `Equation.march`, from rest: without warm-up, and with no `solver_step` to choose.

        Raises:
            ValueError: the medium is faster than `fastest`, or not positive.
        """
        grid, speed = problem.grid, problem.constants
        if problem.warm_up:
            raise ValueError(f"{self.name} starts from rest; leave out warm_up")
        assert problem.solver_step is None
        assert speed is not None
        if not 0 < speed.amin().item() <= speed.amax().item() <= self.fastest:
            raise ValueError(
                f"{self.name} needs speeds above 0 and at most {self.fastest:g}; got "
                f"{speed.amin():g} to {speed.amax():g}"
            )
        if grid.ndim == 3 and any("open" in kind for kind in grid.boundary):
            raise ValueError("open boundaries need 1 or 2 axes; use walls or a periodic box in 3")
        return Leapfrog(problem.initial, speed, grid, problem.dt, self.fastest)


# --------------------------------------------------------------------- media and initial states

_SPEEDS = (1.0, 2.5)


def bumps(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 *S"]:
    """Two to six Gaussian bumps at rest, 0.5 to 1 high and 0.03 to 0.06 of the box wide."""
    count = int(torch.randint(2, 7, (), generator=generator))
    return _bumps(generator, grid, count, (0.5, 1.0), (0.03, 0.06), 0.2)


def layers(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 *S"]:
    """Three to six layers of constant speed in [1, 2.5], stacked along the second axis."""
    count = int(torch.randint(3, 7, (), generator=generator))
    draw = torch.rand((2, 6), generator=generator, dtype=torch.float64)
    thickness = 0.4 + draw[0, :count]
    border = thickness.cumsum(0)[:-1] / thickness.sum()
    low, high = _SPEEDS
    speed = low + (high - low) * draw[1]
    y = _positions(grid)[1]
    return speed[(y[..., None] > border).sum(-1)][None]


def lenses(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 *S"]:
    """A speed of 1.5, faster or slower in four smooth lenses; kept within [1, 2.5]."""
    lens = _bumps(generator, grid, 4, (-0.6, 1.0), (0.1, 0.2), 0.1)
    low, high = _SPEEDS
    return (1.5 + lens).clamp(low, high)


def _bumps(
    generator: torch.Generator,
    grid: Grid,
    count: int,
    heights: tuple[float, float],
    widths: tuple[float, float],
    margin: float,
) -> Tensor:
    """A sum of Gaussians with random centres at least `margin` from the boundary."""
    draw = torch.rand((count, 2 + grid.ndim), generator=generator, dtype=torch.float64)
    total = torch.zeros(grid.shape, dtype=torch.float64)
    axes = _positions(grid)
    for a, b, *centre in draw.tolist():
        height = heights[0] + (heights[1] - heights[0]) * a
        width = widths[0] + (widths[1] - widths[0]) * b
        places = [margin + (1 - 2 * margin) * c for c in centre]
        r2 = torch.stack([(x - p) ** 2 for x, p in zip(axes, places, strict=True)]).sum(0)
        total += height * torch.exp(-0.5 * r2 / width**2)
    return total[None]


def _positions(grid: Grid) -> list[Tensor]:
    """Cell centres per axis in units of the box, broadcast over *S."""
    centres = [(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in grid.shape]
    return list(torch.meshgrid(*centres, indexing="ij"))


# --------------------------------------------------------------------------------- equations

_VALIDATION = (
    "standing waves, to 2e-3 with order 4; energy, to 1 %; open boundaries, which reflect less "
    "than 0.2 % of the initial height"
)

WAVE_LAYERS_2D = WaveEquation(
    name="wave_layers_2d",
    title="Waves in a layered medium",
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    boundary=("open", "open"),
    dt=0.015,
    frames=21,
    fastest=_SPEEDS[1],
    initial=bumps,
    constants=layers,
    validation=_VALIDATION,
    source="after Poseidon (arXiv 2405.19101), Wave-Layer; speeds scaled, shapes our own",
)

WAVE_LENSES_2D = WaveEquation(
    name="wave_lenses_2d",
    title="Waves through smooth lenses",
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    boundary=("open", "open"),
    dt=0.015,
    frames=21,
    fastest=_SPEEDS[1],
    initial=bumps,
    constants=lenses,
    validation=_VALIDATION,
    source="after Poseidon (arXiv 2405.19101), Wave-Gauss; speeds scaled, shapes our own",
)

EQUATIONS = (WAVE_LAYERS_2D, WAVE_LENSES_2D)
