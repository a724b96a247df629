"""softmax(q kᵀ + β) v with a bias β that learns, fast on every device.

Fused kernels do the work, except where they lack the gradient of the bias (the CPU's): there the
forward pass is fused and keeps no scores, and the backward pass recomputes them window by window
in pieces that stay in the cache.

Letters: B samples, W windows, N tokens of a window, H heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores that the backward pass recomputes at a time: 2 MiB in single precision.
PIECE = 2**19


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Float[Tensor, "BW H N D"]:
    """`softmax(q kᵀ + bias) v` of q, k, v (B·W, H, N, D).

    On the CPU it can be differentiated once.

    Args:
        query, key, value: windows of one sample follow each other.
        bias: (H, N, N), or (W, H, N, N) with one per window.
    """
    if bias.requires_grad and query.device.type == "cpu" and torch.is_grad_enabled():
        if torch.compiler.is_compiling():
            scores = query @ key.transpose(-1, -2)
            scores = scores.unflatten(0, (-1, *bias.shape[:-3])) + bias.to(query.dtype)
            return scores.flatten(0, -4).softmax(-1) @ value
        return _LearnedBias.apply(query, key, value, bias)
    return _fused(query, key, value, bias)


def _fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    bias = bias.to(query.dtype)
    if bias.ndim == 3 or query.shape[0] == bias.shape[0]:
        bias = bias if bias.ndim == 4 else bias[None]
        return F.scaled_dot_product_attention(query, key, value, bias, scale=1.0)
    # Windows with a bias of their own become heads: one bias then serves the whole batch.
    query, key, value = (
        x.unflatten(0, (-1, bias.shape[0])).flatten(1, 2) for x in (query, key, value)
    )
    heads = bias.flatten(0, 1)[None]
    mixed = F.scaled_dot_product_attention(query, key, value, heads, scale=1.0)
    return mixed.unflatten(1, bias.shape[:2]).flatten(0, 1)


class _LearnedBias(torch.autograd.Function):
    """`_fused` with gradients for everything, the bias included."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value, bias)
        # Detached: fused kernels refuse a bias that requires a gradient.
        return _fused(query.detach(), key.detach(), value.detach(), bias.detach())

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value, bias = ctx.saved_tensors
        biases = bias if bias.ndim == 4 else bias[None]
        tensors = (query, key, value, gradient)
        results = [torch.empty_like(x) for x in (query, key, value)]
        bias_gradient = torch.zeros_like(biases)
        for window, rows in _pieces(query, len(biases)):
            q, k, v, g = (_of(x, window, rows, len(biases)).flatten(0, 1) for x in tensors)
            *parts, scores = _backward(q, k, v, g, biases[window])
            for result, part in zip(results, parts, strict=True):
                target = _of(result, window, rows, len(biases))
                target.copy_(part.view(target.shape))
            for row in scores.view(-1, *biases.shape[1:]):
                bias_gradient[window].add_(row)
        return results[0], results[1], results[2], bias_gradient.view(bias.shape)


def _pieces(query: Tensor, windows: int) -> Iterator[tuple[int, slice]]:
    """A window and some samples at a time."""
    samples, scores = query.shape[0] // windows, query[0, ..., 0].numel() * query.shape[2]
    size = max(1, PIECE // scores)
    for window in range(windows):
        for start in range(0, samples, size):
            yield window, slice(start, start + size)


def _of(x: Tensor, window: int, rows: slice, windows: int) -> Tensor:
    """The part of a (B·W, H, N, D) tensor that belongs to a window of some samples."""
    return x.unflatten(0, (-1, windows))[rows, window]


def _backward(
    query: Tensor, key: Tensor, value: Tensor, gradient: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of queries, keys, values and scores for one piece, each (B·H, N, ·)."""
    weights = torch.bmm(query, key.transpose(1, 2))
    weights.view(-1, *bias.shape).add_(bias)
    torch.softmax(weights, -1, out=weights)
    scores = torch.bmm(gradient, value.transpose(1, 2))
    scores.mul_(weights)
    scores.addcmul_(weights, scores.sum(-1, keepdim=True), value=-1)
    return (
        torch.bmm(scores, key),
        torch.bmm(scores.transpose(1, 2), query),
        torch.bmm(weights.transpose(1, 2), gradient),
        scores,
    )
