"""Spectral solvers against an independent library: solutions by exponax 0.2.0.

Its ETDRK4 in double precision, from the initial states below and with the same points, step,
parameters and dealiasing. (Korteweg–de Vries is left out: there exponax is of first order.)
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Problem, frames

GOLDEN = Path(__file__).parents[2] / "golden" / "exponax" / "solutions.safetensors"


class Case(NamedTuple):
    points: int
    steps: int
    step: float
    parameters: dict[str, float]
    mean: float
    amplitude: float


CASES = {
    "burgers_1d": Case(64, 40, 0.01, {"viscosity": 0.02}, 0.0, 0.5),
    "kuramoto_sivashinsky_1d": Case(128, 40, 0.05, {}, 0.0, 1.0),
    "fisher_1d": Case(64, 40, 0.02, {"diffusivity": 0.002, "rate": 4.0}, 0.4, 0.2),
    "allen_cahn_1d": Case(64, 40, 0.05, {"diffusivity": 0.002}, 0.0, 0.6),
    "burgers_2d": Case(32, 20, 0.02, {"viscosity": 0.03}, 0.0, 0.3),
    "navier_stokes_2d": Case(32, 20, 0.05, {"viscosity": 0.01}, 0.0, 1.0),
    "gray_scott_2d": Case(
        32,
        20,
        0.5,
        {"diffusivity_u": 8e-5, "diffusivity_v": 4e-5, "feed": 0.04, "kill": 0.06},
        0.4,
        0.1,
    ),
}


def initial(case: Case, fields: int, ndim: int) -> Float[Tensor, "1 C *S"]:
    """A few long waves, another phase for every field."""
    axis = 2 * math.pi * torch.arange(case.points, dtype=torch.float64) / case.points
    axes = torch.meshgrid(*[axis] * ndim, indexing="ij")
    states = []
    for c in range(fields):
        waves = sum(torch.sin((k + 1) * x + c + k) / (k + 1) for k, x in enumerate(axes))
        across = torch.sin(axes[1]) if ndim == 2 else 1
        states.append(waves + 0.5 * torch.cos(2 * axes[0] + 1 + c) * across)
    return (case.mean + case.amplitude * torch.stack(states))[None]


@pytest.mark.parametrize("name", CASES)
def test_solutions_are_those_of_an_independent_library(name: str) -> None:
    case, equation = CASES[name], equations.get(name)
    expected = load_file(GOLDEN)[name]
    grid = equation.grid((case.points,) * (expected.ndim - 1))
    states = initial(case, len(equation.fields), grid.ndim)
    parameters = {k: torch.tensor([v], dtype=torch.float64) for k, v in case.parameters.items()}
    solved = frames(
        equation, Problem(states, parameters, grid, case.steps * case.step, solver_step=case.step)
    )
    next(solved)
    found = next(solved)[0]
    size = expected.abs().max()
    assert (found - states[0]).abs().max() > 0.1 * size  # there was something to solve
    assert (found - expected).abs().max() < 1e-5 * size
