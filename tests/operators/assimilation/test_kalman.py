"""The observer against the exact Kalman filter on a linear Gaussian problem."""

import math

import torch
from torch import nn

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators import Description, Observation, create
from pelagos.operators.assimilation.exponential import Derivative
from pelagos.operators.assimilation.operator import Feed

POINTS, DT, NOISE = 32, 0.1, 0.3
SPEED, DIFFUSIVITY = 1.0, 0.02


class Zero(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


def advection_diffusion():
    """Grid, transition matrix M, process noise Q (smooth) and sampling C (every fourth point)."""
    grid = Grid((POINTS,), (2.0,), ("periodic",))
    k = 2 * math.pi * torch.fft.fftfreq(POINTS, grid.spacing[0], dtype=torch.float64)
    k[POINTS // 2] = 0  # of the odd derivative; the even one is zero there within 1e-9
    eye = torch.eye(POINTS, dtype=torch.float64)
    factor = torch.exp(DT * (-1j * SPEED * k - DIFFUSIVITY * k**2))
    transition = torch.fft.ifft(factor[:, None] * torch.fft.fft(eye, dim=0), dim=0).real
    mode = torch.fft.fftfreq(POINTS, 1 / POINTS, dtype=torch.float64).abs()
    power = 0.05 * torch.exp(-((mode / 4) ** 2))
    process = torch.fft.ifft(power[:, None] * torch.fft.fft(eye, dim=0), dim=0).real
    return grid, transition, process, eye[::4]


def kalman_covariance(transition, process, sampling):
    """Analysis covariance of the steady filter."""
    noise = NOISE**2 * torch.eye(len(sampling), dtype=torch.float64)
    before = process
    for _ in range(400):
        gain = before @ sampling.T @ torch.linalg.inv(sampling @ before @ sampling.T + noise)
        after = before - gain @ sampling @ before
        before = transition @ after @ transition.T + process
    return after


def simulate(transition, process, batch, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    root = torch.linalg.cholesky(process + 1e-12 * torch.eye(POINTS))
    u = torch.zeros(batch, POINTS, dtype=torch.float64)
    frames = []
    for _ in range(steps + 100):
        u = u @ transition.T + torch.randn(u.shape, generator=generator).double() @ root.T
        frames.append(u)
    return torch.stack(frames[100:], 1)[:, :, None].float()


def feed_of(frames, generator):
    mask = torch.zeros(len(frames), 1, POINTS, dtype=torch.bool)
    mask[..., ::4] = True
    noise = torch.full((1, 1, 1), NOISE)
    return Feed(
        [
            Observation(f + NOISE * torch.randn(f.shape, generator=generator), mask, ("u",), noise)
            for f in frames[:, 1:].unbind(1)
        ],
        torch.zeros(len(frames)),
    )


def window_of(frames, grid):
    lead = DT * torch.arange(1, frames.shape[1]).expand(len(frames), -1)
    return Window(frames[:, :1], frames[:, 1:], lead, Context(("u",), grid))


def test_linear_gaussian_problem_within_five_percent_of_the_kalman_filter():
    """Advection–diffusion with process noise, every fourth point noisily observed."""
    grid, transition, process, sampling = advection_diffusion()
    optimum = kalman_covariance(transition, process, sampling).diag().mean().sqrt().item()
    operator = create(
        "observer",
        description=Description(("u",), grid=grid, time_scale=DT, time_steps=(DT,)),
        ndim=1,
        linear=(Derivative(-SPEED, (1,)), Derivative(DIFFUSIVITY, (2,))),
        hidden=2,
        layers=1,
        modes=2,
        correction={"modes": 10, "hidden": 8},
    )
    operator.tendency = Zero()
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(operator.correction.parameters(), lr=0.03)
    steps = 30
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.03 * (1 - step / steps)
        frames = simulate(transition, process, 16, 8, seed=step)
        run = operator(window_of(frames, grid), feed_of(frames, generator))
        loss = (run.analysis - frames[:, 1:])[:, 4:].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    frames = simulate(transition, process, 32, 60, seed=12345)
    with torch.no_grad():
        run = operator(window_of(frames, grid), feed_of(frames, generator))
    error = (run.analysis - frames[:, 1:])[:, 20:].square().mean().sqrt().item()
    assert 0.97 * optimum < error < 1.05 * optimum
