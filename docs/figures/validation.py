"""Every family's solver against what is known: the vocabulary of its figure.

Problems are small, most of them those of the tests. Relative errors are the norm of the difference
over the norm of the solution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Equation, Problem, frames
from pelagos.datasets.equations.initial import trajectory_generator
from pelagos.datasets.fields.grid import Grid


@dataclass(frozen=True)
class Curve:
    """One series of points.

    Attributes:
        label: in the legend; "" for none.
        exact: whether it is a closed form, drawn as a line; points of a solution otherwise.
        order: of convergence, drawn as a slope below it; 0 for none.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    exact: bool = False
    order: int = 0


@dataclass(frozen=True)
class Panel:
    """One diagram.

    Attributes:
        x, y: labels of the axes.
        logarithmic: which axes are: "", "y" or "xy".
    """

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    logarithmic: str = ""


def relative(a: Tensor, b: Tensor) -> float:
    """‖a − b‖ / ‖b‖."""
    return ((a - b).norm() / b.norm()).item()


def box(shape: Sequence[int], length: float, kind: str = "periodic") -> Grid:
    """A square box, with points at the centres of cells unless it is periodic."""
    origin = tuple(0.0 if kind == "periodic" else length / n / 2 for n in shape)
    return Grid(tuple(shape), (length,) * len(shape), (kind,) * len(shape), origin)


def mesh(grid: Grid) -> tuple[Tensor, ...]:
    """Coordinates of every point, per axis."""
    return torch.meshgrid(*grid.coordinates(), indexing="ij")


def evolved(
    equation: Equation,
    start: Float[Tensor, "C *S"],
    grid: Grid,
    times: tuple[float, int],
    step: float | None = None,
    **parameters: float,
) -> Float[Tensor, "T C *S"]:
    """States from time 0 on.

    Args:
        times: interval between states, and how many there are after the first.
        step: of the solver.
        parameters: in the middle of their range where left out.
    """
    dt, count = times
    middle = {name: (p.low + p.high) / 2 for name, p in equation.parameters.items()}
    values = {
        name: torch.tensor([value], dtype=torch.float64)
        for name, value in (middle | parameters).items()
    }
    solved = frames(equation, Problem(start[None], values, grid, dt, solver_step=step))
    return torch.cat([frame.clone() for _, frame in zip(range(count + 1), solved, strict=False)])


def drawn(equation: Equation, *shape: int) -> tuple[Grid, Tensor, dict[str, float]]:
    """A grid, and initial state and parameters of the first trajectory on it."""
    grid = equation.grid(shape)
    draw = equation.draw(trajectory_generator(0, equation.name, "train", 0), grid)
    return grid, draw.initial, draw.parameters


def in_time(name: str, time: float, steps: int, points: int) -> Curve:
    """Errors of the first trajectory after 1, 2 and 4 times `steps`, against 16 times as many."""
    equation = equations.get(name)
    grid, start, parameters = drawn(equation, *(points,) * equation.ndim)

    def end(step: float) -> Tensor:
        return evolved(equation, start, grid, (time, 1), step, **parameters)[1]

    reference = end(time / (16 * steps))
    return halved(name, time / steps, lambda step: relative(end(step), reference))


def halved(label: str, step: float, error: Callable[[float], float]) -> Curve:
    """Errors with a step, half of it, and a quarter."""
    parts = (1.0, 0.5, 0.25)
    return Curve(label, parts, [error(part * step) for part in parts])


def refined(label: str, sizes: Sequence[int], error: Callable[[int], float]) -> Curve:
    """Errors on grids of so many points per axis of the box."""
    return Curve(label, [1 / n for n in sizes], [error(n) for n in sizes])


def time_panel(curves: Iterable[Curve], order: int = 4) -> Panel:
    """Errors against the step; the slope lies below the lowest curve."""
    found = sorted(curves, key=lambda curve: -curve.y[0])
    found[-1] = replace(found[-1], order=order)
    return Panel("Convergence in time", "step, of the longest", "relative error", found, "xy")


def profiles(
    title: str,
    exact: Sequence[tuple[Tensor, Tensor]],
    found: Sequence[tuple[Tensor, Tensor]],
    labels: tuple[str, str] = ("x", "u"),
    every: int = 1,
) -> Panel:
    """Closed forms as lines, solutions at every so many points; each as (x, values)."""
    curves = [Curve("closed form", x.tolist(), u.tolist(), exact=True) for x, u in exact]
    curves += [Curve("solution", x[::every].tolist(), u[::every].tolist()) for x, u in found]
    return Panel(title, *labels, curves)


def drift(label: str, times: Sequence[float], values: Float[Tensor, " T"]) -> Curve:
    """The relative change of a quantity since its first value, at every later time."""
    change = (values / values[0] - 1).abs().clamp_min(1e-17)  # seen on a logarithmic axis
    return Curve(label, times[1:], change[1:].tolist())
