"""Heat driven by a source that changes in time, solved exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from .equation import Equation, Problem


@dataclass(frozen=True, kw_only=True)
class DrivenHeat(Equation):
    """u_t = ν Δu + q on a periodic box, with the source q(x, t) prescribed.

    q = Σ_m a_m(x) cos(m ω t) + b_m(x) sin(m ω t), m = 1 … M, with random fields a_m and b_m (the
    `driver`, first all a, then all b) and ν, ω the parameters `diffusivity` and `frequency`. Of
    every Fourier mode the solution is known at any time.
    """

    harmonics: int
    step_control: str = "exact"
    solver: str = "closed form of every Fourier mode"

    def march(self, problem: Problem) -> _Driven:
        """As `Equation.march`; steps of any length are exact."""
        return _Driven(self, problem)


class _Driven:
    """A solution under way: û' = λ û + â cos ω t + b̂ sin ω t, λ = −ν |k|², for every mode."""

    def __init__(self, equation: DrivenHeat, problem: Problem) -> None:
        initial, driver = problem.initial, problem.driver
        assert driver is not None, "the equation draws one"
        self._like, self._time, self._points = initial, 0.0, initial.shape[2:]
        self._axes = tuple(range(-len(self._points), 0))
        values = {
            k: v.to(initial.device) for k, v in equation.broadcast(problem.parameters).items()
        }
        decay = -values["diffusivity"] * _square(problem.grid).to(initial.device)
        self._decay, harmonics = decay, range(1, equation.harmonics + 1)
        self._frequencies = [m * values["frequency"] for m in harmonics]
        cosines, sines = self._spectra(driver).chunk(2, 1)
        self._source = [*zip(cosines.split(1, 1), sines.split(1, 1), strict=True)]
        # What a cos ω t + b sin ω t drives: c cos ω t + s sin ω t.
        self._response = []
        for (a, b), rate in zip(self._source, self._frequencies, strict=True):
            square = decay.square() + rate.square()
            self._response.append(
                ((-decay * a - rate * b) / square, (rate * a - decay * b) / square)
            )
        self._start = self._spectra(initial) - self._sum(self._response, 0.0)

    def advance(self, interval: float) -> Float[Tensor, "B C *S"]:
        """As `March.advance`: u, then q."""
        self._time += interval
        state = torch.exp(self._decay * self._time) * self._start
        state = state + self._sum(self._response, self._time)
        both = torch.cat((state, self._sum(self._source, self._time)), 1)
        fields = torch.fft.irfftn(both, s=self._points, dim=self._axes)
        return fields.to(self._like.dtype)

    def _spectra(self, values: Tensor) -> Tensor:
        return torch.fft.rfftn(values.double(), dim=self._axes)

    def _sum(self, pairs: list[tuple[Tensor, Tensor]], time: float) -> Tensor:
        parts = [
            a * torch.cos(rate * time) + b * torch.sin(rate * time)
            for (a, b), rate in zip(pairs, self._frequencies, strict=True)
        ]
        return torch.stack(parts).sum(0)


def _square(grid: Grid) -> Float[Tensor, "1 1 *K"]:
    """|k|² of the real-FFT modes."""
    shape, spacing = grid.shape, grid.spacing
    axes = [
        torch.fft.fftfreq(n, h, dtype=torch.float64) for n, h in zip(shape, spacing, strict=True)
    ]
    axes[-1] = torch.fft.rfftfreq(shape[-1], spacing[-1], dtype=torch.float64)
    mesh = torch.meshgrid(*[2 * math.pi * k for k in axes], indexing="ij")
    return torch.stack([k.square() for k in mesh]).sum(0)[None, None]
