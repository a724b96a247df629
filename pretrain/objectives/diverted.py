"""Solver in the loop: after each step of the operator, the true solver gives the next target.

    û_1 = F(u_0),  û_{k+1} = F(û_k),      target of û_{k+1}: S(û_k), S the solver over one time step

Each step is compared with what should have followed from the state the operator was in, also where
this is off the data ("diverted chain", arXiv 2411.00180). Targets are given: no gradient flows
through the solver, nor from a step into the one before it, so memory is that of `horizon` separate
steps. Cost: `horizon` evaluations with gradient, and horizon - 1 solves over one time step, in
double precision where the data are. Data need one frame after the history, whatever the horizon;
where something is prescribed, as many as it, along which operator and solver are driven alike.

The solver, its settings and each trajectory's parameters are those of the dataset's provenance; at
the start it must lead from a stored frame to the next one. A state from which it cannot go on (it
blows up) is held against the last target that it gave: away from there is the way back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.window import Window
from ...datasets.sampling.windows import Windows
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from .chain import following, later, part
from .reference import TOLERANCE, Reference, reference_of, require_fields
from .unrolled import Unrolled, UnrolledConfig, refuse_steady

if TYPE_CHECKING:
    from ..recipe import DataConfig


@dataclass(frozen=True)
class DivertedConfig(UnrolledConfig):
    """Steps of the operator, each held against the solver's from the same state.

    Attributes:
        kind: "diverted".
        horizon: frames to predict, in strides.
        loss: "vrmse", "relative_l1", "relative_l2", "relative_mse" or "grouped_relative_l1"; see
            `losses`.
        noise: standard deviation of noise on the history, over the field's scale in the normaliser.
        curriculum: how the horizon grows along training; null: it is the same at every step.
        leads: how lead times are weighted; null: all the same.
        jacobian: a penalty on the Jacobian of the one-step map; null: none.
        conservation: a penalty on means over the domain that move; null: none.
        residual: a penalty on what predictions leave of the equation; null: none.
        thin: not for this objective, whose solver knows one grid.
    """

    kind: Literal["diverted"] = "diverted"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.thin:
            raise ValueError(
                "objective.thin does not go with objective.kind: diverted, whose solver knows one "
                "grid; leave it out, or use another objective (pushforward)"
            )

    @property
    def reach(self) -> int:
        """Frames that a window needs after its history: later targets are solved for."""
        return 1


class Diverted(Unrolled[DivertedConfig]):
    """The loss of every step from a state that the operator led to."""

    Config = DivertedConfig

    def __init__(self, config: DivertedConfig) -> None:
        super().__init__(config)
        self.references: dict[str, Reference] = {}

    def windows(self, store: Store, data: DataConfig, operator: Operator) -> Windows:
        """A history and the next frame.

        Raises:
            ValueError: the dataset does not say by which solver it was made, the operator does not
                predict just that solver's fields, or a trajectory is too short.
        """
        refuse_steady(self.config.kind, store)
        reference = reference_of(store)
        require_fields(reference, operator.description.fields)
        self.references[store.name] = reference
        return super().windows(store, data, operator)

    def reach(self, store: Store) -> int:
        """One frame; as many as are predicted where something is prescribed, as far as that."""
        return self.config.reach if store.prescribed is None else self.config.horizon

    def lead_times(self, step: float, direct: bool) -> tuple[float, ...]:
        """One time step, also of an operator that could predict further."""
        return (step,)

    def try_out(self, operator: Operator, window: Window, normalizer: Normalizer) -> None:
        """Let the solver lead from a stored frame to the next one.

        Raises:
            ValueError: it arrives elsewhere.
        """
        super().try_out(operator, window, normalizer)
        last, truth, context = window.history[:, -1], window.target[:, 0], window.context
        reference = self.references[context.dataset]
        found, good = reference.after(last, context, window.lead_times[0, 0].item())
        size = (truth - last).norm() + 1e-5 * truth.norm()
        error = ((found - truth).norm() / size).item() if good.all() else float("nan")
        rarely = ", or what is prescribed changes between frames (a smaller stride, then)"
        rarely = rarely if reference.equation.prescribed else ""
        if not error <= TOLERANCE:
            raise ValueError(
                f"the solver of {reference.equation.name} does not lead from the first frame of "
                f"dataset {context.dataset} to the next one (an error of {error:.2g} of the change;"
                f" at most {TOLERANCE:g}): the data were solved on a finer grid, in other units or "
                f"with other settings{rarely}; use another objective (pushforward)"
            )

    def unroll(self, model: nn.Module, window: Window) -> tuple[Tensor, Window]:
        """One step after another, and what the solver says of each."""
        history, lead = window.history, window.lead_times[:, :1]
        reference, dt = self.references[window.context.dataset], lead[0, 0].item()
        window = part(window, history, 0, 1)
        steps, targets, shape = [model(window)], [window.target], (-1, *(1,) * history[:, 0].ndim)
        for k in range(1, self.horizon):
            history = following(history, steps[-1].detach())
            context = later(window.context, k * lead[:, 0])
            truth, good = reference.after(history[:, -1], context, dt)
            steps.append(model(replace(window, history=history, context=context)))
            target = torch.where(good.reshape(shape), truth.unsqueeze(1), targets[-1])
            targets.append(target)
        leads = lead * torch.arange(1, self.horizon + 1, dtype=lead.dtype)
        return torch.cat(steps, 1), replace(window, target=torch.cat(targets, 1), lead_times=leads)

    def starts(self, prediction: Tensor, window: Window) -> Tensor:
        """As `Unrolled.starts`; given, as they are to the operator."""
        return super().starts(prediction, window).detach()
