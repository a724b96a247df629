"""Cosine attention with a learned bias over tiles of tokens, fast forward and back.

    softmax( τ q̂ k̂ᵀ + β ) v,    q̂ = q / ‖q‖,  k̂ = k / ‖k‖,  one τ per head,

in tiles that come in a few shapes, each with its own β. Fused kernels do the work, except where
they lack the gradient of the bias (the CPU's): there the probabilities are kept for the backward
pass, both passes go through the tiles in pieces that stay in the cache, and β is made from its
table, and its gradient brought back to the table, where it is used.

Letters: R rows (tokens), M tiles, N tokens of a tile, H heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..core.transforms import transformed
from .position_bias import collect, expand

# Scores that are computed at a time: 2 MiB in single precision.
PIECE = 2**19
SHORTEST = 1e-12
_PRECISE = (torch.float32, torch.float64)


def attend(
    projected: Float[Tensor, "R _"],
    lengths: Float[Tensor, "2 H 1"],
    tiles: Sequence[int],
    biases: Sequence[Float[Tensor, "H _ _"]],
) -> Float[Tensor, "R _"]:
    """Cosine attention within tiles, by the library's fused kernels.

    Args:
        projected: (R, 3·H·D) values, queries and keys of all tokens, tile by tile.
        lengths: what queries and keys of every head are scaled to, τ and 1.
        tiles: tokens that have each bias, in this order.
        biases: (H, N, N) per kind of tile.
    """
    on_cpu = projected.device.type == "cpu"
    learns = on_cpu and torch.is_grad_enabled() and biases[0].requires_grad
    forwards = transformed(projected, lengths, biases[0])  # no fused kernel has a tangent
    softmax = _softmax if forwards else partial(torch.softmax, dim=-1)
    vectors = projected.view(len(projected), 3, lengths.shape[1], -1)
    eager = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    by_hand = eager and not forwards
    ready = _Scaled.apply(vectors, lengths) if by_hand else _scaled(vectors, lengths)[0]
    mixed = []
    for part, bias in zip(ready.split([*tiles]), biases, strict=True):
        value, query, key = _by_head(part, bias.shape[1]).unbind(0)
        bias = bias.to(value.dtype)[None]
        if learns or forwards:
            piece = softmax(query @ key.transpose(-1, -2) + bias) @ value
        else:
            piece = F.scaled_dot_product_attention(query, key, value, bias, scale=1.0)
        piece = piece.transpose(1, 2)
        if torch.compiler.is_exporting():  # elsewhere the kernel's result may lie otherwise
            piece = piece.clone(memory_format=torch.contiguous_format)
        mixed.append(piece.reshape(len(part), -1))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _softmax(scores: Tensor) -> Tensor:
    """Along the last axis; the tangent of the library's has no gradient."""
    powers = (scores - scores.amax(-1, keepdim=True).detach()).exp()
    return powers / powers.sum(-1, keepdim=True)


def _scaled(
    vectors: Float[Tensor, "R 3 H D"], lengths: Float[Tensor, "2 H 1"]
) -> tuple[Float[Tensor, "R 3 H D"], Float[Tensor, "R 3 H 1"]]:
    """Values as they are, queries and keys at their lengths; and what they were multiplied by."""
    factor = F.pad(_factor(vectors[:, 1:], lengths), (0, 0, 0, 0, 1, 0), value=1.0)
    return (vectors * factor).to(vectors.dtype), factor


class _Scaled(torch.autograd.Function):
    """The first of `_scaled`, with one gradient for all three."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, lengths: Tensor) -> Tensor:
        scaled, factor = _scaled(vectors, lengths)
        ctx.save_for_backward(scaled, factor, lengths)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        scaled, factor, lengths = ctx.saved_tensors
        outer, inner = gradient.to(factor.dtype), scaled.to(factor.dtype)
        along = (outer * inner).sum(-1, keepdim=True)  # (R, 3, H, 1)
        length_gradient = along[:, 1:].sum(0) / lengths
        along = along * F.pad(lengths.pow(-2), (0, 0, 0, 0, 1, 0))  # nothing of the values
        across = torch.addcmul(outer, inner, along, value=-1)
        return (across * factor).to(gradient.dtype), length_gradient


def _factor(pair: Tensor, lengths: Tensor) -> Float[Tensor, "R 2 H 1"]:
    """What scales queries and keys (R, 2, H, D) to their lengths."""
    return lengths / torch.linalg.vector_norm(pair, dim=-1, keepdim=True).clamp_min(SHORTEST)


def _by_head(rows: Float[Tensor, "R K H D"], tokens: int) -> Float[Tensor, "K M H N D"]:
    """A view, tile by tile."""
    return rows.view(-1, tokens, *rows.shape[1:]).permute(2, 0, 3, 1, 4)


def differentiates_by_hand(table: Float[Tensor, "... offsets"]) -> bool:
    """Whether `attend_and_learn` is the way to attend with this table of β."""
    eager = not (torch.compiler.is_compiling() or torch.is_autocast_enabled(table.device.type))
    learns = torch.is_grad_enabled() and table.requires_grad and not transformed(table)
    return eager and learns and table.device.type == "cpu" and table.dtype in _PRECISE


def attend_and_learn(
    projected: Float[Tensor, "R _"],
    lengths: Float[Tensor, "2 H 1"],
    tiles: Sequence[int],
    table: Float[Tensor, "H offsets"],
    window: tuple[int, ...],
    shapes: Sequence[tuple[int, ...]],
) -> Float[Tensor, "R _"]:
    """`attend` with `expand(table, window, shapes)`; it can be differentiated once."""
    return _Attention.apply(projected, lengths, tuple(tiles), table, window, tuple(shapes))


class _Attention(torch.autograd.Function):
    """`attend_and_learn`, with a hand-written gradient.

    It keeps, per kind of tile, the unit vectors and values head by head, and the probabilities.
    """

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        lengths: Tensor,
        tiles: tuple[int, ...],
        table: Tensor,
        window: tuple[int, ...],
        shapes: tuple[tuple[int, ...], ...],
    ) -> Tensor:
        heads = lengths.shape[1]
        rows, channels = projected.shape[0], projected.shape[1] // 3
        vectors = projected.view(rows, 3, heads, -1)
        factor = _factor(vectors[:, 1:], lengths)
        mixed, kept, start = projected.new_empty(rows, channels), [], 0
        for count, bias in zip(tiles, expand(table, window, shapes), strict=True):
            part, tokens = slice(start, start + count), bias.shape[1]
            # (3, M, H, N, D): contiguous per head, as batched products want it.
            inner = projected.new_empty(3, count // tokens, heads, tokens, vectors.shape[-1])
            source = _by_head(vectors[part], tokens)
            inner[0].copy_(source[0])
            torch.mul(source[1:], _by_head(factor[part], tokens), out=inner[1:])
            weights = projected.new_empty(count // tokens, heads, tokens, tokens)
            output = mixed[part].view(-1, tokens, heads, vectors.shape[-1]).transpose(1, 2)
            for piece in _pieces(weights):
                value, query, key = inner[:, piece].flatten(1, 2)
                scores = weights[piece].copy_(bias).flatten(0, 1)
                torch.baddbmm(scores, query, key.transpose(1, 2), out=scores)
                torch.softmax(scores, -1, out=scores)
                output[piece].copy_(torch.bmm(scores, value).view(output[piece].shape))
            kept += [inner, weights]
            start += count
        ctx.save_for_backward(lengths, factor, *kept)
        ctx.window, ctx.shapes = window, shapes
        return mixed

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        lengths, factor, *kept = ctx.saved_tensors
        heads, rows = lengths.shape[1], gradient.shape[0]
        result = gradient.new_empty(rows, 3, heads, gradient.shape[1] // heads)
        length_gradient, bias_gradients, start = torch.zeros_like(lengths), [], 0
        for inner, weights in zip(kept[::2], kept[1::2], strict=True):
            tokens = weights.shape[-1]
            part = slice(start, start + weights.shape[0] * tokens)
            outer = gradient[part].view(-1, tokens, heads, inner.shape[-1]).transpose(1, 2)
            inner_gradient, bias_gradient = _inner_gradient(inner, weights, outer)
            bias_gradients.append(bias_gradient)
            target = _by_head(result[part], tokens)
            target[0].copy_(inner_gradient[0])
            along = (inner_gradient[1:] * inner[1:]).sum(-1, keepdim=True)  # (2, M, H, N, 1)
            length_gradient += along.sum((1, 3))
            along /= lengths[:, None, :, None].square()
            across = inner_gradient[1:].addcmul_(inner[1:], along, value=-1)
            torch.mul(across, _by_head(factor[part], tokens), out=target[1:])
            start = part.stop
        table_gradient = collect(bias_gradients, ctx.window, ctx.shapes)
        return result.flatten(1), length_gradient / lengths, None, table_gradient, None, None


def _inner_gradient(inner: Tensor, weights: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of values, scaled queries and keys (3, M, H, N, D), and of the bias (H, N, N)."""
    result = torch.empty_like(inner)
    bias_gradient = torch.zeros_like(weights[0])
    pieces = [*_pieces(weights)]
    room = torch.empty_like(weights[pieces[0]].flatten(0, 1))
    for piece in pieces:
        value, query, key = inner[:, piece].flatten(1, 2)
        value_gradient, query_gradient, key_gradient = result[:, piece].flatten(1, 2)
        probabilities, outer = weights[piece].flatten(0, 1), gradient[piece].flatten(0, 1)
        torch.bmm(probabilities.transpose(1, 2), outer, out=value_gradient)
        scores = torch.bmm(outer, value.transpose(1, 2), out=room[: len(outer)])
        torch.ops.aten._softmax_backward_data.out(
            scores, probabilities, -1, scores.dtype, grad_input=scores
        )
        torch.bmm(scores, key, out=query_gradient)
        torch.bmm(scores.transpose(1, 2), query, out=key_gradient)
        for tile in scores.view(-1, *bias_gradient.shape):
            bias_gradient.add_(tile)
    return result, bias_gradient


def _pieces(weights: Tensor) -> Iterator[slice]:
    """Some tiles at a time, of (M, H, N, N)."""
    size = max(1, PIECE // weights[0].numel())
    for start in range(0, weights.shape[0], size):
        yield slice(start, start + size)
