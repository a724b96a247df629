"""Random initial states: functions of a generator alone, evaluated on any grid that holds them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ..fields.grid import Grid
from ..fields.vocabulary import SPLITS

# A random state (C, *S) in double precision from a generator and a grid.
Sampler = Callable[[torch.Generator, Grid], Tensor]


def describe(sampler: Sampler) -> str:
    """What a sampler draws, in words.

    Either its `str`, where a sampler's class has one, as follows from its settings; or the first
    paragraph of its docstring.
    """
    if type(sampler).__str__ is not object.__str__:
        return str(sampler)
    text = " ".join((sampler.__doc__ or "").split("\n\n")[0].split()).rstrip(".")
    return text[:1].lower() + text[1:]


class TooCoarse(ValueError):
    """A grid that cannot hold what is drawn on it.

    Args:
        what: that cannot be held.
        most: points per axis that are still too few.
        grid: that was given.
    """

    def __init__(self, what: str, most: int, grid: Grid) -> None:
        self.what, self.most, self.grid = what, most, grid
        super().__init__(self.text(most, ", ".join(map(str, grid.shape))))

    def text(self, most: int, got: str, why: str = "") -> str:
        """The message, in terms of another resolution than the grid's."""
        return f"resolution must exceed {most} points per axis{why} to hold {self.what}; got {got}"


def _check_resolved(modes: int, grid: Grid) -> None:
    if min(grid.shape) <= 3 * modes:
        raise TooCoarse(f"initial states of {modes} periods per box", 3 * modes, grid)


_SEEDS = 2**32  # a CPU generator tells only the low 32 bits of its seed apart


def trajectory_generator(seed: int, equation: str, split: str, index: int) -> torch.Generator:
    """The generator from which everything random about one trajectory is drawn.

    It depends on nothing else, so a trajectory is the same whatever is simulated beside it. Seeds
    are mixed by a bijection of 32-bit numbers: within one (seed, equation) no two trajectories
    share a generator, in whichever splits they are.

    Args:
        split: "train", "valid" or "test".
        index: number of the trajectory within its split.
    """
    digest = hashlib.sha256(f"{seed}/{equation}".encode()).digest()
    number = int.from_bytes(digest[:4], "little") + len(SPLITS) * index + SPLITS.index(split)
    generator = torch.Generator()
    generator.manual_seed(_mix(number % _SEEDS))
    return generator


def _mix(x: int) -> int:
    """A bijection of 32-bit numbers that scatters neighbours (xor-shifts and odd factors)."""
    for factor in (0x9E3779B1, 0x85EBCA77):
        x = ((x ^ (x >> 16)) * factor) % _SEEDS
    return x ^ (x >> 15)


@dataclass(frozen=True)
class FourierSeries:
    """A band-limited Gaussian random field on a periodic box, scaled to a random amplitude.

    u(x) = m + a Σ_j c_j exp(2πi j·x / length) over integer vectors 0 < |j| ≤ `modes`, with complex
    Gaussian c_j of standard deviation (1 + |j|²/corner²)^(−decay/2). The sum is scaled so that the
    root mean square over space and components is `a`, uniform in `rms`; the mean m of every
    component is uniform in [−mean, mean].

    Attributes:
        modes: largest wavenumber, in periods per box.
        rms: smallest and largest amplitude.
        decay: exponent of the spectrum beyond `corner`; 0 is white.
        corner: wavenumber, in periods per box, at which the spectrum starts to decay.
        mean: largest absolute spatial mean.
        components: number of components C, statistically independent.
    """

    modes: int
    rms: tuple[float, float]
    decay: float = 0.0
    corner: float = 1.0
    mean: float = 0.0
    components: int = 1

    def __str__(self) -> str:
        each = ", one per component" if self.components > 1 else ""
        mean = ", plus a mean" if self.mean else ""
        return f"random Fourier series of up to {self.modes} periods per box{each}{mean}"

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "C *S"]:
        """One state in double precision.

        Raises:
            TooCoarse: the 2/3 rule would cut off part of the state.
        """
        _check_resolved(self.modes, grid)
        c = self._coefficients(generator, grid.ndim)
        low, high = self.rms
        amplitude = low + (high - low) * _uniform(generator, 1)
        mean = self.mean * (2 * _uniform(generator, self.components) - 1)
        c *= amplitude * (self.components / c.abs().square().sum()).sqrt()
        spectrum = torch.zeros(self.components, *grid.shape, dtype=torch.complex128)
        modes = [torch.arange(-self.modes, self.modes + 1) % n for n in grid.shape]
        spectrum[(slice(None), *torch.meshgrid(*modes, indexing="ij"))] = c
        axes = tuple(range(1, grid.ndim + 1))
        field = torch.fft.ifftn(spectrum, dim=axes, norm="forward").real
        return field + mean.reshape(-1, *(1,) * grid.ndim)

    def _coefficients(self, generator: torch.Generator, ndim: int) -> Complex[Tensor, "C *modes"]:
        """Hermitian-symmetric coefficients for j = −modes … modes along every axis."""
        axis = torch.arange(-self.modes, self.modes + 1, dtype=torch.float64)
        j2 = torch.stack(torch.meshgrid(*[axis] * ndim, indexing="ij")).square().sum(0)
        weight = (1 + j2 / self.corner**2).pow(-self.decay / 2)
        weight = torch.where((j2 > 0) & (j2 <= self.modes**2), weight, 0)
        shape = (2, self.components, *j2.shape)
        c = torch.complex(*torch.randn(shape, generator=generator, dtype=torch.float64))
        return weight * (c + c.flip(tuple(range(1, ndim + 1))).conj()) / math.sqrt(2)


def _uniform(generator: torch.Generator, count: int) -> Float[Tensor, " count"]:
    return torch.rand(count, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class PeakedSeries:
    """White random Fourier series of |j_i| ≤ `modes` along every axis, scaled by its largest value.

    The largest magnitude of the vector of components on the grid is `peak`; a constant, uniform in
    [−mean, mean], is then added to each component. Values of a grid of `reference` points per axis
    define the scale, so that it depends on no other grid.
    """

    modes: int
    peak: float
    mean: float
    components: int
    reference: int = 64

    def __str__(self) -> str:
        return (
            f"white random Fourier series of up to {self.modes} periods per axis with a largest "
            f"magnitude of {self.peak:g}, plus a mean"
        )

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "C *S"]:
        """One state in double precision.

        Raises:
            TooCoarse: the 2/3 rule would cut off part of the state.
        """
        _check_resolved(self.modes, grid)
        count = 2 * self.modes + 1
        shape = (2, self.components, *(count,) * grid.ndim)
        c = torch.complex(*torch.randn(shape, generator=generator, dtype=torch.float64))
        offset = self.mean * (2 * _uniform(generator, self.components) - 1)
        reference = self._field(c, (self.reference,) * grid.ndim)
        scale = self.peak / reference.square().sum(0).max().sqrt()
        return scale * self._field(c, grid.shape) + offset.reshape(-1, *(1,) * grid.ndim)

    def _field(self, c: Tensor, shape: tuple[int, ...]) -> Tensor:
        spectrum = torch.zeros(self.components, *shape, dtype=torch.complex128)
        modes = [torch.arange(-self.modes, self.modes + 1) % n for n in shape]
        spectrum[(slice(None), *torch.meshgrid(*modes, indexing="ij"))] = c
        return torch.fft.ifftn(spectrum, dim=tuple(range(1, c.ndim)), norm="forward").real


@dataclass(frozen=True)
class WhiteNoise:
    """Independent normal values of standard deviation `deviation` at every point, per component."""

    deviation: float
    components: int = 1

    def __str__(self) -> str:
        return f"independent normal values of standard deviation {self.deviation:g} at every point"

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "C *S"]:
        """One state in double precision."""
        shape = (self.components, *grid.shape)
        return self.deviation * torch.randn(shape, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Around:
    """Constant values, one per component, plus a random state."""

    values: tuple[float, ...]
    sampler: Sampler

    def __str__(self) -> str:
        return f"({', '.join(f'{value:g}' for value in self.values)}) plus {describe(self.sampler)}"

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "C *S"]:
        """One state in double precision."""
        base = torch.tensor(self.values, dtype=torch.float64)
        return base.reshape(-1, *(1,) * grid.ndim) + self.sampler(generator, grid)


@dataclass(frozen=True)
class Rescaled:
    """A random state, shifted and scaled to the range [low, high]."""

    sampler: Sampler
    low: float
    high: float

    def __str__(self) -> str:
        return f"{describe(self.sampler)}, scaled to [{self.low:g}, {self.high:g}]"

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "C *S"]:
        """One state in double precision."""
        u = self.sampler(generator, grid)
        return self.low + (self.high - self.low) * (u - u.min()) / (u.max() - u.min())


@dataclass(frozen=True)
class Spots:
    """Gaussian spots of one substance in another, for autocatalysis: u = 1 − s / 2, v = s / 2.

    s is 1 at most: the largest of `count` (a range) Gaussians of standard deviation `radius` (a
    range, as a fraction of the first axis' length) about points that are uniform over the periodic
    box.
    """

    count: tuple[int, int]
    radius: tuple[float, float]

    def __str__(self) -> str:
        return f"{self.count[0]} to {self.count[1]} Gaussian spots of v in u = 1"

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "C *S"]:
        """One state in double precision."""
        low, high = self.count
        number = int(torch.randint(low, high + 1, (), generator=generator))
        spots = torch.zeros(grid.shape, dtype=torch.float64)
        for _ in range(number):
            centre = _uniform(generator, grid.ndim)
            width = self.radius[0] + (self.radius[1] - self.radius[0]) * _uniform(generator, 1)
            r2 = periodic_distance2(grid, centre) / (width * grid.lengths[0]) ** 2
            spots = torch.maximum(spots, torch.exp(-r2 / 2))
        return torch.stack((1 - spots / 2, spots / 2))


def periodic_distance2(grid: Grid, centre: Float[Tensor, " ndim"]) -> Float[Tensor, " *S"]:
    """Squared distance to the nearest image of a point, given as a fraction of each length."""
    axes = []
    for x, length, start, c in zip(
        grid.coordinates(), grid.lengths, grid.origin, centre, strict=True
    ):
        offset = (x - start) / length - c
        axes.append(((offset - offset.round()) * length) ** 2)
    return sum(torch.meshgrid(*axes, indexing="ij"), torch.zeros((), dtype=torch.float64))
