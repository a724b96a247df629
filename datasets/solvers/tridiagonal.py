"""Tridiagonal matrices: products and solutions, many at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def multiply_tridiagonal(
    matrix: tuple[Float[Tensor, "*B n"], Float[Tensor, "*B n"], Float[Tensor, "*B n"]],
    u: Float[Tensor, "*B n"],
) -> Float[Tensor, "*B n"]:
    """The product of a matrix (below, on and above the diagonal) with u."""
    lower, diagonal, upper = matrix
    return diagonal * u + lower * _shifted(u, 1, 0.0) + upper * _shifted(u, -1, 0.0)


def _shifted(values: Tensor, steps: int, fill: float) -> Tensor:
    """values[i − steps], and `fill` where there are none."""
    count = min(abs(steps), values.shape[-1])
    ends = torch.full_like(values[..., :count], fill)
    if steps > 0:
        return torch.cat((ends, values[..., : values.shape[-1] - count]), -1)
    return torch.cat((values[..., count:], ends), -1)


def solve_tridiagonal(
    lower: Float[Tensor, "*B n"],
    diagonal: Float[Tensor, "*B n"],
    upper: Float[Tensor, "*B n"],
    right: Float[Tensor, "*B n"],
) -> Float[Tensor, "*B n"]:
    """x with lower_i x_{i−1} + diagonal_i x_i + upper_i x_{i+1} = right_i.

    Parallel cyclic reduction: log₂ n steps of whole vectors; stable for diagonally dominant
    matrices. The first of `lower` and the last of `upper` must be 0.
    """
    stride = 1
    while stride < right.shape[-1]:
        before, after = (
            [_shifted(part, steps, fill) for part, fill in parts]
            for parts, steps in (
                (((lower, 0.0), (diagonal, 1.0), (upper, 0.0), (right, 0.0)), stride),
                (((lower, 0.0), (diagonal, 1.0), (upper, 0.0), (right, 0.0)), -stride),
            )
        )
        down, up = -lower / before[1], -upper / after[1]
        diagonal = diagonal + down * before[2] + up * after[0]
        right = right + down * before[3] + up * after[3]
        lower, upper = down * before[0], up * after[2]
        stride *= 2
    return right / diagonal
