"""Calling a model on parts of a window, one after another."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.window import Context, Window


def part(window: Window, history: Float[Tensor, "B T C *S"], first: int, count: int) -> Window:
    """The window of `count` lead times from number `first` on, with the frames before them.

    Args:
        window: a batch.
        history: frames up to lead time `first` - 1, stored or predicted.
        first, count: lead times, counted from 0.
    """
    leads, context = window.lead_times[:, first : first + count], window.context
    if first:
        begin = window.lead_times[:, first - 1 : first]
        leads, context = leads - begin, later(context, begin[:, 0])
    target = window.target[:, first : first + count]
    return replace(window, history=history, target=target, lead_times=leads, context=context)


def later(context: Context, time: Float[Tensor, " B"]) -> Context:
    """The context as seen from a frame that is so much later."""
    given = context.prescribed
    return context if given is None else replace(context, prescribed=given.later(time))


def following(
    history: Float[Tensor, "B T C *S"], frames: Float[Tensor, "B K C *S"]
) -> Float[Tensor, "B T C *S"]:
    """The latest frames after further ones."""
    return torch.cat((history, frames), 1)[:, frames.shape[1] :]
