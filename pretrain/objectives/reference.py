"""The solver by which a dataset was made, as one that goes on from any state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...datasets.equations import BlowUp, Equation, Problem, get, require_driven
from ...datasets.fields.prescribed import Prescribed
from ...datasets.fields.window import Context
from ...datasets.stores.store import Store

# Of the change over a step: what storing in single precision and other internal steps may make.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Reference:
    """An equation with the settings of a dataset.

    Attributes:
        equation: what is solved.
        solver_step: largest internal step; None: the equation's.
        fixed: values of parameters that the dataset does not hold.
    """

    equation: Equation
    solver_step: float | None
    fixed: dict[str, float]

    @torch.no_grad()
    def after(
        self, frame: Float[Tensor, "B C *S"], context: Context, dt: float
    ) -> tuple[Float[Tensor, "B C *S"], Bool[Tensor, " B"]]:
        """The frames `dt` later, and of which trajectories they could be had; others are zero.

        Args:
            frame: any states, in physical units.
            context: names of their fields, and parameters, constant fields and what is prescribed
                of each trajectory, from the states on.
            dt: physical time.

        Raises:
            ValueError: what is prescribed is not given until then.
        """
        order, back = self._orders(context)
        state = frame[:, order].double()
        good = state.flatten(1).isfinite().all(1)
        while good.any():
            chosen = good.nonzero().flatten()
            try:
                march = self.equation.march(self._problem(state[chosen], context, chosen, dt))
                march.advance(0.0)
                found = march.advance(dt)[:, self._evolving]
            except BlowUp as failure:
                good[chosen[[*failure.reasons]]] = False
                continue
            result = torch.zeros_like(state).index_copy(0, chosen, found.to(state))
            good = good & result.flatten(1).isfinite().all(1)
            result = torch.where(good.reshape(-1, *(1,) * (state.ndim - 1)), result, 0.0)
            return result[:, back].to(frame.dtype), good
        return torch.zeros_like(frame), good

    def residual(
        self,
        before: Float[Tensor, "B T C *S"],
        after: Float[Tensor, "B T C *S"],
        context: Context,
        increments: Float[Tensor, "B T"],
        order: int,
    ) -> Float[Tensor, "B T C *S"]:
        """By how much frames miss where the equation leads from those before, differentiable.

        Args:
            before, after: frames in physical units, each pair `increments` apart.
            context: as for `after`.
            increments: physical time.
            order: of the time step, 2 to 4.
        """
        places, back = self._orders(context)
        everyone = torch.arange(len(before), device=before.device)
        problem = self._problem(before[:, 0, places], context, everyone, 0.0)
        balance = self.equation.balance(problem, order)
        return balance.residual(before[:, :, places], after[:, :, places], increments)[:, :, back]

    @property
    def _evolving(self) -> list[int]:
        """Which of the equation's fields are solved for."""
        names = self.equation.evolving
        return [k for k, name in enumerate(self.equation.fields) if name in names]

    def _orders(self, context: Context) -> tuple[list[int], list[int]]:
        """The context's fields in the equation's order, and back."""
        names = self.equation.evolving
        order = [context.fields.index(name) for name in names]
        return order, [names.index(name) for name in context.fields]

    def _problem(self, state: Tensor, context: Context, chosen: Tensor, dt: float) -> Problem:
        """The problem of some trajectories of a batch."""
        parameters = {
            name: torch.full((len(state),), value, dtype=torch.float64)
            for name, value in self.fixed.items()
        }
        if context.parameters is not None:
            values = context.parameters[chosen.to(context.parameters.device)].double().cpu()
            named = dict(zip(context.parameter_names, values.unbind(1), strict=True))
            parameters |= {k: v for k, v in named.items() if k in self.equation.parameters}
        constants = state.new_zeros(len(state), 0, *state.shape[2:])
        if self.equation.constant_fields:
            assert context.constants is not None, "the dataset has them"
            places = [context.constant_fields.index(k) for k in self.equation.constant_fields]
            constants = context.constants[chosen.to(context.constants.device)][:, places].to(state)
        given = None
        if self.equation.prescribed:
            assert context.prescribed is not None, "the dataset has them"
            given = _of(context.prescribed, chosen).to(state.device)
        grid, step = self.equation.grid(context.grid.shape, context.grid.lengths), self.solver_step
        return Problem(state, parameters, grid, dt, constants, solver_step=step, prescribed=given)


def _of(given: Prescribed, chosen: Tensor) -> Prescribed:
    """What is prescribed for some trajectories of a batch."""
    return given.map(lambda value: value[chosen.to(value.device)])


def require_fields(reference: Reference, fields: tuple[str, ...]) -> None:
    """Refuse an operator that does not predict just the fields of an equation.

    Raises:
        ValueError: it predicts others.
    """
    needed = reference.equation.evolving
    if {*fields} != {*needed}:
        raise ValueError(
            f"the solver of {reference.equation.name} goes on from {', '.join(sorted(needed))};"
            f" the operator predicts {', '.join(sorted(fields))}. Name these in `fields`"
        )


def reference_of(store: Store, instead: str = "use another objective (pushforward)") -> Reference:
    """The solver that made a dataset, from what the dataset says of it.

    Args:
        store: the dataset.
        instead: what people can do where there is none.

    Raises:
        ValueError: it does not say, no equation of that name is known, or it lacks what the solver
            needs.
    """
    said: dict[str, Any] = store.provenance
    name = said.get("equation")
    if not isinstance(name, str):
        raise ValueError(
            f"dataset {store.name} does not say which equation made it, so no solver can go on "
            f"from a prediction; take data that `pelagos data simulate` made, or {instead}"
        )
    equation = get(name)
    if equation.steady:
        raise ValueError(
            f"{name} of dataset {store.name} is steady: there is no time to go on in; {instead}"
        )
    ranges: dict[str, Any] = said.get("parameters", {})
    absent = [key for key in equation.parameters if key not in store.parameter_names]
    fixed = {key: float(ranges[key][0]) for key in absent if len({*ranges.get(key, (0, 1))}) == 1}
    lacking = [key for key in absent if key not in fixed]
    lacking += [key for key in equation.constant_fields if key not in store.constant_fields]
    lacking += [key for key in equation.evolving if key not in store.fields]
    if lacking:
        raise ValueError(
            f"the solver of {name} needs {', '.join(lacking)}, which dataset {store.name} has not "
            f"under this name; leave data.rename out, or {instead}"
        )
    given = () if store.prescribed is None else store.prescribed.fields
    require_driven(equation, store.name, given, instead)
    return Reference(equation, said.get("solver_step"), fixed)
