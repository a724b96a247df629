"""Ensembles: perturbed initial states, and several operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
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
    if not isinstance(asked, Sequence):
        return [Member(operator, number) for number in range(int(asked or 1))]
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


@dataclass(frozen=True)
class Perturbation:
    """How initial states are perturbed.

    Attributes:
        size: in standard deviations of each field over space.
        seed: of all members.
    """

    size: float
    seed: int


def perturbed(
    history: Float[Tensor, "N T C *S"],
    member: int,
    how: Perturbation,
    mask: Tensor | None,
    first: int = 0,
) -> Float[Tensor, "N T C *S"]:
    """The history of a member: random fields are added, the same in all frames.

    They have the spectrum of each field's own last frame, a multiple of its standard deviation over
    space, and are 0 where it is masked. They are the same in whatever batches samples come.

    Args:
        history: as it is given.
        member: its number; 0 is not perturbed.
        how: size and seed.
        mask: (N, C, *S) where fields are predicted; None: everywhere.
        first: number of the first of these samples among all.
    """
    if not member or not how.size:
        return history
    last = history[:, -1].double().cpu()
    space: Sequence[int] = tuple(range(2, last.ndim))
    anomaly = last - last.mean(space, keepdim=True)
    noise = torch.stack(
        [_noise(row.shape, (how.seed, member, i)) for i, row in enumerate(anomaly, first)]
    )
    amplitude = torch.fft.rfftn(anomaly, dim=space).abs()
    field = torch.fft.irfftn(
        amplitude * torch.fft.rfftn(noise, dim=space), s=anomaly.shape[2:], dim=space
    )
    size = anomaly.square().mean(space, keepdim=True).sqrt()
    found = field.square().mean(space, keepdim=True).sqrt().clamp_min(1e-300)
    change = (how.size * size / found * field).to(history)
    if mask is not None:
        change = torch.where(mask.to(change.device), change, 0.0)
    return history + change.unsqueeze(1)


def _noise(shape: torch.Size, seed: tuple[int, int, int]) -> Tensor:
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.standard_normal(tuple(shape)))
