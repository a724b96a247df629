"""Heat driven by a source that changes in time, solved exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..fields.prescribed import SAME, Prescribed
from ..solvers.etdrk import phi
from .equation import Equation, March, Problem


@dataclass(frozen=True, kw_only=True)
class DrivenHeat(Equation):
    """u_t = ν Δu + q on a periodic box, with the source q(x, t) prescribed.

    q = Σ_m a_m(x) cos(m ω t) + b_m(x) sin(m ω t), m = 1 … M, with random fields a_m and b_m (the
    `driver`, first all a, then all b) and ν, ω the parameters `diffusivity` and `frequency`. Of
    every Fourier mode the solution is known at any time; also with a q that is given at some times
    and linear in between.
    """

    driven: ClassVar[bool] = True

    harmonics: int
    step_control: str = "exact"
    solver: str = "closed form of every Fourier mode"

    def march(self, problem: Problem) -> March:
        """As `Equation.march`; steps of any length are exact."""
        if problem.prescribed is not None:
            return _Given(self, problem, problem.prescribed)
        return _Driven(self, problem)


class _Driven:
    """A solution under way: û' = λ û + â cos ω t + b̂ sin ω t, λ = −ν |k|², for every mode."""

    def __init__(self, equation: DrivenHeat, problem: Problem) -> None:
        initial, driver = problem.initial, problem.driver
        assert driver is not None, "the equation draws one"
        self._like, self._time = initial, 0.0
        self._decay = decay = _decay(equation, problem)
        frequency = equation.broadcast(problem.parameters)["frequency"].to(initial.device)
        self._frequencies = [m * frequency for m in range(1, equation.harmonics + 1)]
        cosines, sines = _spectra(driver).chunk(2, 1)
        self._source = [*zip(cosines.split(1, 1), sines.split(1, 1), strict=True)]
        # What a cos ω t + b sin ω t drives: c cos ω t + s sin ω t.
        self._response = []
        for (a, b), rate in zip(self._source, self._frequencies, strict=True):
            square = decay.square() + rate.square()
            self._response.append(
                ((-decay * a - rate * b) / square, (rate * a - decay * b) / square)
            )
        self._start = _spectra(initial) - self._sum(self._response, 0.0)

    def advance(self, interval: float) -> Float[Tensor, "B C *S"]:
        """As `March.advance`: u, then q."""
        self._time += interval
        state = torch.exp(self._decay * self._time) * self._start
        state = state + self._sum(self._response, self._time)
        return _fields(torch.cat((state, self._sum(self._source, self._time)), 1), self._like)

    def _sum(self, pairs: list[tuple[Tensor, Tensor]], time: float) -> Tensor:
        parts = [
            a * torch.cos(rate * time) + b * torch.sin(rate * time)
            for (a, b), rate in zip(pairs, self._frequencies, strict=True)
        ]
        return torch.stack(parts).sum(0)


class _Given:
    """A solution under way: û' = λ û + q̂(t), with a q that is linear between given times."""

    def __init__(self, equation: DrivenHeat, problem: Problem, given: Prescribed) -> None:
        self._like, self._time = problem.initial, 0.0
        self._given = given.select(equation.prescribed)
        self._decay, self._state = _decay(equation, problem), _spectra(problem.initial)

    def advance(self, interval: float) -> Float[Tensor, "B C *S"]:
        """As `March.advance`: u, then q.

        Raises:
            ValueError: q is not given until then.
        """
        source = self._source(self._time)
        for time in self._ends(self._time + interval):
            step, later = time - self._time, self._source(time)
            z = self._decay * step
            first, second, _ = phi(z)
            gained = first * source + second * (later - source)
            self._state = torch.exp(z) * self._state + step * gained
            self._time, source = time, later
        return _fields(torch.cat((self._state, source), 1), self._like)

    def _ends(self, until: float) -> Iterator[float]:
        """The given times of all trajectories that lie ahead, and the end."""
        last, least = self._time, SAME * (until - self._time)
        for time in self._given.times.double().unique().tolist():
            if last + least < time < until - least:
                yield time
                last = time
        if until > last:
            yield until

    def _source(self, time: float) -> Tensor:
        return _spectra(self._given.at(torch.full((len(self._like),), time, dtype=torch.float64)))


def _decay(equation: DrivenHeat, problem: Problem) -> Float[Tensor, "B 1 *K"]:
    """λ = −ν |k|² of every mode."""
    diffusivity = equation.broadcast(problem.parameters)["diffusivity"]
    return (-diffusivity * _square(problem.grid)).to(problem.initial.device)


def _spectra(values: Float[Tensor, "B C *S"]) -> Tensor:
    return torch.fft.rfftn(values.double(), dim=tuple(range(2, values.ndim)))


def _fields(spectra: Tensor, like: Float[Tensor, "B C *S"]) -> Tensor:
    points = like.shape[2:]
    return torch.fft.irfftn(spectra, s=points, dim=tuple(range(2, like.ndim))).to(like.dtype)


def _square(grid: Grid) -> Float[Tensor, "1 1 *K"]:
    """|k|² of the real-FFT modes."""
    shape, spacing = grid.shape, grid.spacing
    axes = [
        torch.fft.fftfreq(n, h, dtype=torch.float64) for n, h in zip(shape, spacing, strict=True)
    ]
    axes[-1] = torch.fft.rfftfreq(shape[-1], spacing[-1], dtype=torch.float64)
    mesh = torch.meshgrid(*[2 * math.pi * k for k in axes], indexing="ij")
    return torch.stack([k.square() for k in mesh]).sum(0)[None, None]
