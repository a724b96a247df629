"""Ensembles: perturbed initial states, and several operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from .operator import Operator
    from .wishes import Wishes


@dataclass(frozen=True)
class Member:
    """One member of an ensemble.

    Attributes:
        operator: predicts it.
        number: how its perturbation is drawn; 0: it starts from the state itself.
    """

    operator: Operator
    number: int = 0


def members_of(operator: Operator, wishes: Wishes) -> list[Member]:
    """The members that are asked for, this operator's first.

    Raises:
        ValueError: other operators map other fields or see another number of frames.
    """
    asked = wishes.members
    if asked is None or isinstance(asked, int):
        return [Member(operator, number) for number in range(asked or 1)]
    for other in asked:
        one, two = operator.description, other.description
        if (one.fields, one.inputs) != (two.fields, two.inputs) or one.units != two.units:
            raise ValueError(
                f"members must map the same fields in the same units; got {', '.join(one.fields)} "
                f"and {', '.join(two.fields)}"
            )
        if other.history != operator.history:
            raise ValueError(
                f"members must see as many frames; got {operator.history} and {other.history}"
            )
    return [Member(operator), *(Member(other) for other in asked)]


def perturbed(
    history: Float[Tensor, "N T C *S"], member: Member, wishes: Wishes, mask: Tensor | None
) -> Float[Tensor, "N T C *S"]:
    """The history of a member: random fields are added, the same in all frames.

    They have the spectrum of each field's own last frame, `wishes.perturbation` times its standard
    deviation over space, and are 0 where it is masked.

    Args:
        history: as it is given.
        member: of which ensemble; number 0 is not perturbed.
        wishes: size and seed.
        mask: (N, C, *S) where fields are predicted; None: everywhere.
    """
    if not member.number or not wishes.perturbation:
        return history
    generator = torch.Generator().manual_seed(wishes.seed * 1_000_003 + member.number)
    last = history[:, -1].double().cpu()
    space: Sequence[int] = tuple(range(2, last.ndim))
    anomaly = last - last.mean(space, keepdim=True)
    noise = torch.randn(anomaly.shape, generator=generator, dtype=torch.float64)
    amplitude = torch.fft.rfftn(anomaly, dim=space).abs()
    field = torch.fft.irfftn(
        amplitude * torch.fft.rfftn(noise, dim=space), s=anomaly.shape[2:], dim=space
    )
    size = anomaly.square().mean(space, keepdim=True).sqrt()
    found = field.square().mean(space, keepdim=True).sqrt().clamp_min(1e-300)
    change = (wishes.perturbation * size / found * field).to(history)
    if mask is not None:
        change = torch.where(mask.to(change.device), change, 0.0)
    return history + change.unsqueeze(1)
