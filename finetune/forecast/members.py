"""The members of an ensemble over stored trajectories: whose they are, and how each starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.window import Window
from ...datasets.stores.store import Store
from ...operators.assimilation.operator import AssimilatingOperator
from ...operators.core.operator import Operator
from ...operators.core.perturbing import Perturbation, members_of, perturbed
from ...operators.core.wishes import Wishes
from .plan import Plan, make_plan
from .request import Ensemble, Request


@dataclass(frozen=True)
class Team:
    """Operators that predict the same, and from how many states each.

    Attributes:
        operators: one after the other; the first is the one that is asked.
        each: members of each: the first starts from the state itself, others are perturbed.
        ensemble: whether there is a dimension of members.
    """

    operators: tuple[Operator, ...]
    each: int
    ensemble: bool

    @property
    def count(self) -> int:
        """All members; 1 where there is no ensemble."""
        return len(self.operators) * self.each

    def operator(self, member: int) -> Operator:
        """Whose a member is."""
        return self.operators[member // self.each]

    def number(self, member: int) -> int:
        """How a member's perturbation is drawn; 0: not at all."""
        return member % self.each


def team_of(
    operator: Operator, others: Sequence[Operator], store: Store, request: Request, plan: Plan
) -> Team:
    """The members that a request asks for.

    Raises:
        ValueError: another operator does not predict the same fields from as many frames at the
            same times, or an operator knows no errors of its own.
    """
    if others:
        members_of(operator, Wishes(members=tuple(others)))
    for other in others:
        if make_plan(other, store, request, beyond=True) != plan:
            raise ValueError(
                f"members must take the same steps; this {other.name} steps otherwise than the "
                f"{operator.name}: give --lead-times that both reach, or leave it out"
            )
    asked = request.ensemble
    if asked.errors == "own":
        for one in (operator, *others):
            _require_errors(one)
    each = asked.members or 1
    return Team((operator, *others), each, bool(asked.members or others))


def started(
    operator: Operator, window: Window, asked: Ensemble, number: int, first: int
) -> Float[Tensor, "B T C *S"]:
    """The history of a member, on the host.

    Args:
        operator: whose member it is.
        window: the batch.
        asked: how members are perturbed.
        number: of the perturbation; 0: none.
        first: number of the batch's first trajectory among all.
    """
    if asked.errors == "spectral" or not number:
        how = Perturbation(asked.perturbation, asked.seed)
        return perturbed(window.history, number, how, window.context.mask, first)
    assert isinstance(operator, AssimilatingOperator), "required before"
    rows = [
        _with_error(operator, window, row, (asked.seed, number, first + row), asked.perturbation)
        for row in range(len(window.history))
    ]
    return torch.cat(rows)


def noisy(
    history: Float[Tensor, "B T C *S"], request: Request, first: int, mask: Tensor | None
) -> Float[Tensor, "B T C *S"]:
    """Given frames with white noise, drawn for each trajectory by its number."""
    if not request.noise:
        return history
    space = tuple(range(3, history.ndim))
    size = request.noise * history.std(space, correction=0, keepdim=True)
    drawn = []
    for row in range(len(history)):
        generator = torch.Generator().manual_seed(_seed((request.noise_seed, 0, first + row)))
        drawn.append(torch.randn(history.shape[1:], generator=generator, dtype=history.dtype))
    change = size * torch.stack(drawn)
    return history + (change if mask is None else torch.where(mask.unsqueeze(1), change, 0.0))


def _with_error(
    operator: AssimilatingOperator,
    window: Window,
    row: int,
    seed: tuple[int, int, int],
    size: float,
) -> Float[Tensor, "1 T C *S"]:
    """One trajectory with an error as the operator takes it, the same in all frames."""
    context = window.context.map(lambda value: value[row : row + 1])
    history = window.history[row : row + 1]
    generator = torch.Generator().manual_seed(_seed(seed))
    like = next(operator.parameters())
    with torch.inference_mode():
        moved = context.to(like.device)
        state = operator.start(history.to(like), moved, variance=size**2)
        error = operator.draw_error(state, generator).to(history)
    mask = window.context.mask
    if mask is not None:
        error = torch.where(mask[row : row + 1], error, 0.0)
    return history + error.unsqueeze(1)


def _seed(parts: tuple[int, int, int]) -> int:
    """One seed of several numbers, each of which changes it."""
    seed, member, row = parts
    return (seed * 1_000_003 + member) * 1_000_003 + row


def _require_errors(operator: Operator) -> None:
    if not operator.assimilates:
        raise ValueError(
            f"this {operator.name} has learned no errors of its own, as operators that assimilate "
            "have; leave --errors own out"
        )
