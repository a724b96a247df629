"""The residual of the equation: by how much predicted frames miss where the equation leads.

    r_k = û_{k+1} − Φ(û_k, û_{k+1}),    R = mean_k √⟨(r_k / scale)²⟩,    loss + weight · R

with Φ a time step of the equation seen from both of its ends: in Fourier space e^{hL} û_k plus the
integral of N over the step, by the values of N at both frames and (from order 3 on) in the middle
(`datasets/solvers/collocation`); ⟨·⟩ is the mean over fields and space, `scale` the normaliser's,
and û_0 the frame that the operator was given. No data are compared: R holds off the data too, where
rollouts go. Frames that lie one step apart have a residual of O(h^(order+1)); how much the stored
ones have is looked at before the start.

The equation, and each trajectory's parameters, are those of the dataset's provenance. Needs
equations u_t = L u + N(u) on a whole grid.

Cost per frame: `order` evaluations of N with gradient, of two (one dimension) to six Fourier
transforms each, and memory of about five frames for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.base.annotations import Positive
from ...datasets.base.config import Checked
from ...datasets.fields.metrics import root
from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.window import Window
from ...datasets.stores.store import Store
from .reference import Reference, reference_of, require_fields

# Residual of stored frames over their change: more, and what it asks for is not what is stored.
TOLERANCE = 0.1


@dataclass(frozen=True)
class ResidualConfig(Checked):
    """The residual of the equation over a time step.

    Attributes:
        weight: of the penalty.
        order: of the time step in which it is taken, 2 (trapezoidal) to 4.
    """

    weight: Positive = 0.1
    order: Literal[2, 3, 4] = 4


class ResidualPenalty:
    """The penalty at work."""

    def __init__(self, config: ResidualConfig) -> None:
        self.config = config
        self.references: dict[str, Reference] = {}

    def know(self, store: Store, fields: tuple[str, ...]) -> None:
        """Look up the equation of a dataset, of which an operator predicts these fields.

        Raises:
            ValueError: the dataset does not say which, or it has other fields.
        """
        reference = reference_of(store, "leave objective.residual out")
        require_fields(reference, fields)
        self.references[store.name] = reference

    def __call__(
        self,
        before: Float[Tensor, "B T C *S"],
        prediction: Float[Tensor, "B T C *S"],
        window: Window,
        normalizer: Normalizer,
    ) -> Float[Tensor, ""]:
        """R of predicted frames and of those that each was predicted from."""
        context = window.context
        scaling = normalizer.scaling(
            window.history, context.fields, context.dataset, inputs=context.inputs
        )
        found = self.residual(before, prediction, window) / scaling.scale.unsqueeze(1)
        return root(found.square().flatten(2).mean(2)).mean()

    def residual(self, before: Tensor, after: Tensor, window: Window) -> Tensor:
        """r of each pair of frames (B, T, C, *S), in physical units."""
        leads = window.lead_times[:, : after.shape[1]]
        increments = leads.diff(dim=1, prepend=torch.zeros_like(leads[:, :1]))
        reference = self.references[window.context.dataset]
        return reference.residual(before, after, window.context, increments, self.config.order)

    def try_out(self, window: Window) -> None:
        """Look at the stored frames of a window.

        Raises:
            ValueError: they have holes, miss the equation themselves, or it has no residual that
                can be differentiated.
        """
        name, order = window.context.dataset, self.config.order
        if window.context.mask is not None:
            raise ValueError(
                f"objective.residual: dataset {name} has points without values, where its "
                "equation says nothing; leave it out"
            )
        before = torch.cat((window.history[:, -1:], window.target[:, :-1]), 1)
        found = self._differentiated(before, window)
        change = (window.target - before).norm() + 1e-5 * window.target.norm()
        error = (found.norm() / change).item()
        if not error <= TOLERANCE:
            raise ValueError(
                f"objective.residual: stored frames of dataset {name} miss its equation by "
                f"{error:.2g} of their change (at most {TOLERANCE:g}) at order {order}: they lie "
                "too far apart in time or space; take objective.residual.order: 4, data with a "
                "smaller dt, or objective.kind: diverted"
            )

    def _differentiated(self, before: Tensor, window: Window) -> Tensor:
        """The residual of the target, once its gradient could be had."""
        target = window.target.detach().clone().requires_grad_()
        try:
            with torch.enable_grad():
                found = self.residual(before, target, window)
                torch.autograd.grad(found.square().sum(), target)
        except ValueError as error:
            raise ValueError(f"objective.residual: {error}; leave it out") from None
        except RuntimeError as error:  # PyTorch's: an operation without a derivative
            equation = self.references[window.context.dataset].equation.name
            said = str(error).splitlines()[0]
            raise ValueError(
                f"objective.residual: the terms of {equation} have no derivative ({said}); leave "
                "it out"
            ) from None
        return found.detach()
