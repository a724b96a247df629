"""A model whose step multiplies the latest frame: what objectives see of an operator."""

import torch
from torch import nn

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context, Window


class Linear(nn.Module):
    """u(t + k) = factor^k · u(t); counts its calls with and without a gradient."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))
        self.calls = []

    def forward(self, window):
        self.calls.append((window.target.shape[1], torch.is_grad_enabled()))
        last, frames = window.history[:, -1], []
        for _ in range(window.target.shape[1]):
            last = self.factor * last
            frames.append(last)
        return torch.stack(frames, 1)


def window_of(frames, history=1, dt=0.5, fields=("u",)):
    """A window of frames (B, T, C, *S), `history` of them given."""
    horizon = frames.shape[1] - history
    leads = dt * torch.arange(1, horizon + 1, dtype=torch.float64).expand(len(frames), -1)
    context = Context(fields, Grid.unit(frames.shape[3:]), dt=dt if history > 1 else None)
    return Window(frames[:, :history], frames[:, history:], leads, context)
