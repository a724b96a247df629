"""Windows seen from a frame that moves at a constant velocity: v'(x, t) = v(x − U t, t) + U."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..fields.window import Window


def rms_speed(window: Window, channels: list[int]) -> float:
    """The size of the velocity of the history, whose components are the given channels."""
    return window.history[:, channels].square().mean().sqrt().item()


def seen_moving(window: Window, drift: Mapping[int, float], channels: Mapping[int, int]) -> Window:
    """The window from a frame that moves; the shift is spectral.

    Args:
        window: left as it is.
        drift: periodic axis -> the velocity U along it.
        channels: periodic axis -> the channel of the velocity along it.
    """
    context, grid = window.context, window.context.grid
    given = torch.arange(1 - len(window.history), 1.0) * (context.dt or 0.0)
    history = _shifted(window.history, grid, drift, given)
    target = _shifted(window.target, grid, drift, window.lead_times)
    for i, channel in channels.items():
        history[:, channel] += drift[i]
        target[:, channel] += drift[i]
    return Window(history, target, window.lead_times, context)


def _shifted(
    values: Float[Tensor, "T C *S"], grid: Grid, drift: Mapping[int, float], times: Tensor
) -> Float[Tensor, "T C *S"]:
    """v(x − U t) for each frame, by its Fourier series along the periodic axes."""
    dims = [2 + i for i in drift]
    spectrum = torch.fft.fftn(values.double(), dim=dims)
    for i, speed in drift.items():
        n, spacing = grid.shape[i], grid.spacing[i]
        k = 2 * math.pi * torch.fft.fftfreq(n, spacing, dtype=torch.float64)
        phase = -k * speed * times.double()[:, None]
        turn = torch.polar(torch.ones_like(phase), phase)
        if n % 2 == 0:  # the highest mode has no sign: it stays real
            turn[:, n // 2] = turn[:, n // 2].real.to(turn.dtype)
        shape = [1] * values.ndim
        shape[0], shape[2 + i] = len(times), n
        spectrum = spectrum * turn.reshape(shape)
    return torch.fft.ifftn(spectrum, dim=dims).real.to(values)
