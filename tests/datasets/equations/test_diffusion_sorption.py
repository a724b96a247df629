"""Diffusion–sorption: closed forms, the balance of content, order, the tridiagonal solver."""

import math
from dataclasses import replace

import pytest
import torch

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.initial import trajectory_generator
from pelagos.datasets.solvers.blow_up import BlowUp

EQUATION = equations.get("diffusion_sorption_1d")
CHOSEN = {name: p.low for name, p in EQUATION.parameters.items()}


def fixed(**changes):
    values = CHOSEN | changes
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}


@pytest.mark.parametrize("retardation", [1.0, 4.0])
def test_linear_sorption_diffuses_into_a_half_space(retardation):
    """With n = 1, R is constant and u = erfc(x / 2 √(D t / R)) while the right end is far."""
    grid = EQUATION.grid((200,))
    (x,) = grid.coordinates()
    kappa = (1 - 0.29) / 0.29 * 2880.0
    chosen = fixed(exponent=1.0, freundlich=(retardation - 1) / kappa)
    solved = frames(
        EQUATION, Problem(torch.zeros(1, 1, 200).double(), chosen, grid, 20.0, solver_step=0.5)
    )
    next(solved)
    for time in (20.0, 40.0):
        want = torch.erfc(x / (2 * math.sqrt(5e-4 * time / retardation)))
        torch.testing.assert_close(next(solved)[0, 0], want, atol=4e-4, rtol=0)


def test_steady_profile_is_a_straight_line_to_the_right_end():
    """u = 1 − x / (1 + D): the flux D / (1 + D) leaves through u + D u_x = 0."""
    grid = EQUATION.grid((50,))
    (x,) = grid.coordinates()
    start = torch.full((1, 1, 50), 0.5, dtype=torch.float64)
    solved = frames(EQUATION, Problem(start, fixed(diffusivity=0.5), grid, 200.0, solver_step=2.0))
    next(solved)
    got = next(solved)[0, 0]
    torch.testing.assert_close(got, 1 - x / 1.5, atol=1e-9, rtol=0)


def test_content_balance_over_many_steps_is_that_of_the_trapezoidal_fluxes():
    grid = EQUATION.grid((64,))
    h, d = grid.spacing[0], CHOSEN["diffusivity"]
    chosen = fixed()
    values = EQUATION.broadcast(chosen)
    start = torch.full((1, 1, 64), 0.1, dtype=torch.float64)
    solved = frames(EQUATION, Problem(start, chosen, grid, 0.5, warm_up=20.0))
    states = torch.cat([next(solved) for _ in range(101)])
    left = d * (1 - states[:, 0, 0]) / (h / 2)
    right = 2 * d / (h + 2 * d) * states[:, 0, -1]
    flow = 0.5 * torch.trapezoid(left - right)
    content = [EQUATION.content(state[None], values)[0].sum() * h for state in states[[0, -1]]]
    assert (content[1] - content[0]).item() == pytest.approx(flow.item(), rel=1e-5)


def test_time_stepping_is_second_order():
    grid = EQUATION.grid((32,))
    start = torch.full((1, 1, 64), 0.1, dtype=torch.float64)
    warm = next(frames(EQUATION, Problem(start, fixed(), grid, 1.0, warm_up=20.0, solver_step=0.5)))

    def end(step):
        solved = frames(EQUATION, Problem(warm, fixed(), grid, 20.0, solver_step=step))
        next(solved)
        return next(solved)

    reference = end(0.625)
    coarse, fine = ((end(step) - reference).norm() for step in (5.0, 2.5))
    assert 1.7 < math.log2(coarse / fine) < 2.4


def test_sorption_slows_the_front_and_keeps_concentrations_in_range():
    grid = EQUATION.grid((128,))
    start = torch.full((2, 1, 128), 0.05, dtype=torch.float64)
    chosen = {name: value.repeat(2) for name, value in fixed().items()}
    chosen["freundlich"] = torch.tensor([0.0, 3.5e-4]).double()
    solved = frames(EQUATION, Problem(start, chosen, grid, 100.0))
    next(solved)
    free, held = next(solved)
    assert (free - held)[0, 4:60].min() > 0
    assert held.min() >= 0
    assert held.max() <= 1


def test_a_trajectory_does_not_depend_on_its_batch():
    grid = EQUATION.grid((64,))
    draws = [
        EQUATION.draw(trajectory_generator(0, EQUATION.name, "train", i), grid) for i in range(3)
    ]
    states = torch.stack([draw.initial for draw in draws])
    chosen = {name: value.repeat(3) for name, value in fixed().items()}
    together = frames(EQUATION, Problem(states, chosen, grid, 5.0))
    alone = frames(EQUATION, Problem(states[1:2], fixed(), grid, 5.0))
    for _ in range(3):
        torch.testing.assert_close(next(together)[1:2], next(alone), atol=1e-9, rtol=0)


def test_a_step_that_cannot_be_solved_is_named():
    equation = replace(EQUATION, inflow=math.nan)
    grid = equation.grid((16,))
    solved = frames(equation, Problem(torch.zeros(1, 1, 16).double(), fixed(), grid, 1.0))
    next(solved)
    with pytest.raises(BlowUp, match="trajectory 0 could not be stepped"):
        next(solved)
