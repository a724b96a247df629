"""Simulators: trajectories per second, cost against grid size, and exponax on equal problems.

    python benchmarks/simulators.py rates          every equation at its defaults
    python benchmarks/simulators.py growth         time per step against points, one thread
    python benchmarks/simulators.py exponax        interleaved with exponax (`pip install exponax`)

exponax runs in double precision; both are pinned to one core (its transforms ignore the settings
for threads): same equation, grid, order (ETDRK4), step and initial states; results are compared
before times are. All times are CPU times, which other jobs hardly change.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ["XLA_FLAGS"] = (
    "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1 "
    "--xla_force_host_platform_device_count=1"
)

import numpy as np
import torch

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Equation, Problem, frames
from pelagos.datasets.equations.initial import trajectory_generator
from pelagos.datasets.simulation.resolved import resolve
from pelagos.datasets.simulation.settings import Settings
from pelagos.datasets.simulation.trajectories import Block, solve


def draws(equation: Equation, count: int, shape: tuple[int, ...] | None = None):
    """Initial states, parameters and constant fields of the first trajectories, and their grid."""
    grid = equation.grid(shape)
    found = [
        equation.draw(trajectory_generator(0, equation.name, "train", i), grid)
        for i in range(count)
    ]
    parameters = {
        name: torch.tensor([draw.parameters[name] for draw in found], dtype=torch.float64)
        for name in equation.parameters
    }
    states = torch.stack([draw.initial for draw in found])
    return states, parameters, torch.stack([draw.constants for draw in found]), grid


# ------------------------------------------------------------------------------------- rates


def rates(only: str) -> None:
    print(
        "| equation | stored points × frames | CPU seconds per trajectory | on two cores, per s |"
    )
    print("|---|---|---|---|")
    for name in equations.names():
        if not name.startswith(only):
            continue
        equation = equations.get(name)
        seconds = cost(equation)
        size = " × ".join(map(str, equation.resolution))
        row = f"`{name}` | {size} × {equation.frames} | {seconds:.3g} | {2 / seconds:.3g}"
        print(f"| {row} |", flush=True)


def cost(equation: Equation) -> float:
    """CPU seconds per trajectory at the defaults; from a few frames where it takes long."""
    points = math.prod(equation.resolution) * equation.subsample**equation.ndim
    count = max(1, min(32, 2**15 // (points * len(equation.fields))))
    warm = 0.0 if equation.warm_up else None

    def seconds(frames: int | None) -> float:
        settings = Settings(frames=frames, warm_up=warm if frames else None)
        simulation = resolve(equation, settings)
        start = time.process_time()
        solve(simulation, Block("train", 0, count))
        return (time.process_time() - start) / count

    if equation.steady:
        seconds(None)
        return seconds(None)
    seconds(2)
    short, long = seconds(2), seconds(4)
    intervals = equation.frames - 1 + equation.warm_up / equation.dt
    if short * intervals * count < 20:
        return seconds(None)
    return short + (intervals - 1) * (long - short) / 2


# ------------------------------------------------------------------------------------ growth

GROWTH = {
    "burgers_1d": [(2**k,) for k in (8, 9, 10, 11, 12)],
    "kuramoto_sivashinsky_1d": [(2**k,) for k in (8, 9, 10, 11, 12)],
    "klein_gordon_1d": [(2**k,) for k in (8, 9, 10, 11, 12)],
    "diffusion_sorption_1d": [(2**k,) for k in (8, 9, 10, 11, 12)],
    "navier_stokes_2d": [(n, n) for n in (64, 128, 256, 512)],
    "gray_scott_2d": [(n, n) for n in (64, 128, 256, 512)],
    "fitzhugh_nagumo_2d": [(n, n) for n in (64, 128, 256)],
    "darcy_2d": [(n, n) for n in (64, 128, 256, 512)],
    "poisson_2d": [(n, n) for n in (64, 128, 256, 512)],
    "helmholtz_2d": [(n, n) for n in (32, 64, 128, 256)],
    "brusselator_3d": [(n, n, n) for n in (32, 64, 128)],
    "burgers_3d": [(n, n, n) for n in (32, 64, 128)],
    "klein_gordon_3d": [(n, n, n) for n in (32, 64, 128)],
    "euler_riemann_2d": [(n, n) for n in (64, 128, 256, 512)],
    "shallow_water_2d": [(n, n) for n in (64, 128, 256, 512)],
    "wave_lenses_2d": [(n, n) for n in (64, 128, 256, 512)],
}


def growth(only: str) -> None:
    """CPU time of four steps (of the solution if steady) against points N: 16 lines, or one box."""
    torch.set_num_threads(1)
    print("| equation | points | seconds | slope in N log N |")
    print("|---|---|---|---|")
    for name, shapes in GROWTH.items():
        if not name.startswith(only):
            continue
        times = [min(four_steps(name, shape) for _ in range(5)) for shape in shapes]
        work = [math.prod(shape) * math.log(math.prod(shape)) for shape in shapes]
        slope = np.polyfit(np.log(work), np.log(times), 1)[0]
        sizes = ", ".join("×".join(map(str, shape)) for shape in shapes)
        seconds = ", ".join(f"{t:.3g}" for t in times)
        print(f"| `{name}` | {sizes} | {seconds} | {slope:.2f} |", flush=True)


def four_steps(name: str, shape: tuple[int, ...]) -> float:
    equation = equations.get(name)
    count = 16 if len(shape) == 1 else 1
    states, parameters, constants, grid = draws(equation, count, shape)
    step = 1e-3 * (equation.solver_step or 0.1)  # shorter than what any solver chooses itself
    solved = frames(
        equation,
        Problem(
            states,
            parameters,
            grid,
            step if not equation.steady else 1.0,
            constants=constants,
            solver_step=step if equation.solver_step else None,
        ),
    )
    if not equation.steady:
        next(solved)
        next(solved)  # coefficients are made before the first step
    start = time.process_time()
    for _ in range(1 if equation.steady else 4):
        next(solved)
    return time.process_time() - start


# ----------------------------------------------------------------------------------- exponax


@dataclass(frozen=True)
class Case:
    """An equation that exponax knows too.

    Attributes:
        stepper: (exponax, dimensions, length, points, step, parameters) → its stepper.
        steps: steps that are compared and timed.
        batch: trajectories at once: as many as the simulator steps on a core.
    """

    name: str
    stepper: Callable
    steps: int
    batch: int
    shape: tuple[int, ...]


CASES = (
    Case(
        "burgers_1d",
        lambda ex, d, length, n, h, p: ex.stepper.Burgers(
            d, length, n, h, diffusivity=p["viscosity"], conservative=True, order=4
        ),
        100,
        128,
        (256,),
    ),
    Case(
        "kuramoto_sivashinsky_1d",
        lambda ex, d, length, n, h, p: ex.stepper.KuramotoSivashinskyConservative(
            d, length, n, h, order=4
        ),
        100,
        256,
        (128,),
    ),
    Case(
        "korteweg_de_vries_1d",
        lambda ex, d, length, n, h, p: ex.stepper.KortewegDeVries(
            d,
            length,
            n,
            h,
            convection_scale=6.0,
            hyper_diffusivity=0.0,
            conservative=True,
            order=4,
        ),
        100,
        128,
        (256,),
    ),
    Case(
        "fisher_1d",
        lambda ex, d, length, n, h, p: ex.stepper.reaction.FisherKPP(
            d,
            length,
            n,
            h,
            diffusivity=p["diffusivity"],
            reactivity=p["rate"],
            dealiasing_fraction=1.0,
            order=4,
        ),
        100,
        128,
        (256,),
    ),
    Case(
        "burgers_2d",
        lambda ex, d, length, n, h, p: ex.stepper.Burgers(
            d, length, n, h, diffusivity=p["viscosity"], order=4
        ),
        20,
        4,
        (64, 64),
    ),
    Case(
        "navier_stokes_2d",
        lambda ex, d, length, n, h, p: ex.stepper.NavierStokesVorticity(
            d,
            length,
            n,
            h,
            diffusivity=p["viscosity"],
            vorticity_convection_scale=-1.0,
            order=4,
        ),
        20,
        8,
        (64, 64),
    ),
    Case(
        "allen_cahn_1d",
        lambda ex, d, length, n, h, p: ex.stepper.reaction.AllenCahn(
            d,
            length,
            n,
            h,
            diffusivity=p["diffusivity"],
            dealiasing_fraction=1.0,
            order=4,
        ),
        100,
        128,
        (256,),
    ),
    Case(
        "gray_scott_2d",
        lambda ex, d, length, n, h, p: ex.stepper.reaction.GrayScott(
            d,
            length,
            n,
            h,
            feed_rate=p["feed"],
            kill_rate=p["kill"],
            dealiasing_fraction=1.0,
            order=4,
        ),
        10,
        1,
        (256, 256),
    ),
)


def against_exponax(only: str, rounds: int) -> None:
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print("| equation | batch, points, steps | exponax / ours, ms | ratio | difference |")
    print("|---|---|---|---|---|")
    for case in CASES:
        if case.name.startswith(only):
            print(f"| {compare(case, rounds)} |", flush=True)


def compare(case: Case, rounds: int) -> str:
    import exponax
    import jax

    jax.config.update("jax_enable_x64", True)
    base = equations.get(case.name)
    middle = {
        name: math.sqrt(p.low * p.high) if p.log else (p.low + p.high) / 2
        for name, p in base.parameters.items()
    }
    equation = base.restricted(middle)
    states, parameters, _, grid = draws(equation, case.batch, case.shape)
    assert equation.solver_step is not None
    step, points = equation.solver_step, case.shape[0]
    # Both start from a smooth state: they treat the highest modes differently.
    warm = frames(
        equation, Problem(states, parameters, grid, step, warm_up=50 * step, solver_step=step)
    )
    states = next(warm)
    stepper = case.stepper(exponax, grid.ndim, grid.lengths[0], points, step, middle)
    theirs = jax.jit(jax.vmap(exponax.repeat(stepper, case.steps)))
    given = jax.numpy.asarray(states.numpy())
    solved = frames(
        equation, Problem(states, parameters, grid, case.steps * step, solver_step=step)
    )
    next(solved)
    ours = next(solved).numpy()
    difference = np.abs(ours - np.asarray(theirs(given))).max() / np.abs(ours).max()
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        start = time.process_time()
        theirs(given).block_until_ready()
        middle_time = time.process_time()
        next(solved)
        times.append((middle_time - start, time.process_time() - middle_time))
    peer, mine = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    ratios = sorted(a / b for a, b in times)
    size = f"{case.batch}, {'×'.join(map(str, case.shape))}, {case.steps}"
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return f"`{case.name}` | {size} | {peer:.1f} / {mine:.1f} | {spread} | {difference:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("rates", "growth", "exponax"))
    parser.add_argument("--only", default="", help="equations whose name starts so")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    if given.what == "rates":
        rates(given.only)
    elif given.what == "growth":
        growth(given.only)
    else:
        against_exponax(given.only, given.rounds)


if __name__ == "__main__":
    main()
