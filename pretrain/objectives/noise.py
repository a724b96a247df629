"""Noise on what an operator sees in training, so that it forgives its own errors.

    x ← x + s · scale · ξ,    ξ ~ N(0, 1) at every point,

with `scale` the normaliser's: with the "window" normaliser, each sample's own root mean square.
Costs nothing. Targets stay as they are; so do points that a mask leaves out, and fill values.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.window import Window

_NOISE = 0x6E6F697365  # draws of its own, whatever else a micro-batch draws


def noisy(window: Window, level: float, normalizer: Normalizer, seed: int) -> Tensor:
    """The history (B, T, C, *S) with noise of a relative level; the same on every device."""
    history, context = window.history, window.context
    if level == 0:
        return history
    scaling = normalizer.scaling(history, context.fields, context.dataset, inputs=context.inputs)
    error = level * scaling.scale.unsqueeze(1) * normal(history, seed, _NOISE)
    if context.mask is not None and not context.steady:
        error = torch.where(context.mask.unsqueeze(1), error, 0.0)
    return history + error


def normal(like: Tensor, seed: int, purpose: int) -> Tensor:
    """Unit normal numbers of a micro-batch."""
    return torch.randn(like.shape, generator=generator_of(seed, purpose)).to(like)


def generator_of(seed: int, purpose: int) -> torch.Generator:
    """Random numbers that a micro-batch draws for one purpose."""
    words = np.random.SeedSequence((seed, purpose)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]) >> 1)
