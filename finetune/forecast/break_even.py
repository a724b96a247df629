"""Break-even: after how many solves an operator was cheaper than the solver, at equal error.

An operator costs the simulation of its training data, its training, and then each prediction. The
solver costs each solve, at its cheapest setting whose error is not larger. All is measured on this
machine, on one device, but for the training, whose time its log has.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...datasets.base.config import plain
from ...datasets.simulation.resolved import Simulation
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from .frames import forecast, truth
from .plan import Plan, make_plan
from .request import Request
from .solving import REPEATS, Solved, mean_vrmse, simulating, simulation_of, solver_table

MOST_TRAJECTORIES = 4  # that are solved at a time, by solver and operator
CONVENTION = (
    "n = (data + training) / (solver − operator), of seconds per trajectory up to the last lead "
    "time: data, the simulation of all training trajectories; training, as its log says; solver, "
    "the cheapest setting of the table whose mean VRMSE is not larger than the operator's. Null "
    "where the solver is not slower: there the operator never pays."
)


@dataclass(frozen=True)
class Spent:
    """What an operator has cost before its first prediction, where it does not say itself.

    Attributes:
        training_seconds: time of its training.
        training_trajectories: trajectories that were simulated for it.
    """

    training_seconds: float | None = None
    training_trajectories: int | None = None


@dataclass(frozen=True)
class BreakEven:
    """Costs in seconds, and the number of solves after which the operator was cheaper.

    Attributes:
        solves: that number; infinite where the solver is not slower at equal error.
        operator, solver: of one trajectory.
        vrmse: of the operator, which the solver's is not larger than.
        setting: the solver's, one of the table.
        data, training: before the first prediction.
        trajectories: simulated for training.
        table: every setting that was measured.
    """

    solves: float
    operator: float
    solver: float
    vrmse: float
    setting: Solved
    data: float
    training: float
    trajectories: int
    table: tuple[Solved, ...]

    def told(self) -> str:
        """In a sentence."""
        grid = "×".join(map(str, self.setting.resolution))
        step = self.setting.solver_step
        how = f"{grid} points" + ("" if step is None else f", steps of {step:g}")
        pair = (
            f"{self.solver:.3g} s by the solver ({how}) and {self.operator:.3g} s by the operator"
        )
        if math.isinf(self.solves):
            return f"the solver wins: at equal error a solve takes {pair}, which never pays"
        return f"the operator pays after {self.solves:,.0f} solves: at equal error {pair}"

    def to_json(self) -> dict[str, Any]:
        """For `evaluation.json`."""
        values = plain(self)
        solves = None if math.isinf(self.solves) else self.solves
        return values | {"solves": solves, "text": self.told(), "convention": CONVENTION}


def break_even(
    operator: Operator,
    store: Store,
    request: Request,
    spent: Spent,
    *,
    progress: bool = False,
) -> BreakEven:
    """Measure solver and operator on the first trajectories of a request.

    Args:
        operator: on its device.
        store: simulated by an equation of ours.
        request: what is predicted.
        spent: what the operator has cost.
        progress: show a bar on the error stream.

    Raises:
        ValueError: the data were not simulated by an equation of ours, the time of training is not
            known, or no setting of the solver is as exact as the operator.
    """
    if spent.training_seconds is None:
        raise ValueError(
            "how long training took is not known (it is in the log of a run); say it: "
            "--training-seconds"
        )
    simulation = simulation_of(store)
    trajectories = _simulated(operator, simulation, spent)
    whole = make_plan(operator, store, request)
    plan = replace(whole, trajectories=whole.trajectories[:MOST_TRAJECTORIES])
    table = solver_table(simulation, store, plan, prescribed=request.prescribed, progress=progress)
    seconds, error = _predicting(operator, store, plan, request)
    setting = cheapest(table, error)
    data = trajectories * simulating(simulation)
    once = data + spent.training_seconds
    gain = setting.seconds - seconds
    return BreakEven(
        solves=once / gain if gain > 0 else math.inf,
        operator=seconds,
        solver=setting.seconds,
        vrmse=error,
        setting=setting,
        data=data,
        training=spent.training_seconds,
        trajectories=trajectories,
        table=tuple(table),
    )


def cheapest(table: Sequence[Solved], error: float) -> Solved:
    """The fastest setting whose error is not larger.

    Raises:
        ValueError: there is none.
    """
    exact = [one for one in table if one.vrmse is not None and one.vrmse <= error]
    if not exact:
        least = min((one.vrmse for one in table if one.vrmse is not None), default=math.nan)
        raise ValueError(
            f"no setting of the solver that was tried has an error of at most {error:.3g}, the "
            f"operator's (the least is {least:.3g}): the data were solved more finely than they "
            "are stored, a stored frame does not tell the whole state, or what is prescribed is "
            "stored too rarely"
        )
    return min(exact, key=lambda one: one.seconds)


def _simulated(operator: Operator, simulation: Simulation, spent: Spent) -> int:
    """Trajectories that training has used."""
    if spent.training_trajectories is not None:
        return spent.training_trajectories
    recipe: Any = operator.description.provenance.get("recipe", {})
    data = recipe.get("data", []) if isinstance(recipe, dict) else []
    entries = [data] if isinstance(data, dict) else list(data)
    chosen = [entry.get("trajectories") for entry in entries if isinstance(entry, dict)]
    if len(chosen) > 1:
        raise ValueError(
            "the operator was trained on several datasets; say how many trajectories were "
            "simulated for it: --training-trajectories"
        )
    stored = simulation.record.trajectories["train"]
    return int(chosen[0]) if chosen and isinstance(chosen[0], int) else stored


def _predicting(
    operator: Operator, store: Store, plan: Plan, request: Request
) -> tuple[float, float]:
    """Seconds of a trajectory, the fastest of some, and mean VRMSE."""
    stored = torch.stack(
        [truth(store, plan, plan.trajectories, k) for k in range(plan.steps)], 1
    ).double()
    best, frames = math.inf, torch.empty(0)
    asked = replace(request, batch=len(plan.trajectories))
    for _ in range(REPEATS):
        began = time.perf_counter()
        steps = forecast(operator, store, plan, asked, title="", progress=False)
        frames = torch.stack([step.fields.cpu() for step in steps], 1)
        best = min(best, time.perf_counter() - began)
    return best / len(plan.trajectories), mean_vrmse(frames.double(), stored)
