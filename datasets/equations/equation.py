"""Equations as small declarative objects, and the registry that finds them by name.

An equation states what is solved, where, from which random parameters, constant fields and initial
states, and how (`march`). To add one, write an instance of its family's class (`SemilinearEquation`
for u_t = L u + N(u) on a periodic box; a class of your own for another solver) in a file of its
family, and list the file in `registry.FAMILIES`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..base.config import nearest
from ..fields.grid import Grid
from ..fields.prescribed import Prescribed
from ..solvers.blow_up import BlowUp as BlowUp
from .initial import Sampler, describe

# Parameters by name, each shaped (B, 1, 1, …) to broadcast over states (B, C, *S) or (B, C, *K).
Parameters = Mapping[str, Tensor]

_Equation = TypeVar("_Equation", bound="Equation")


class Draw(NamedTuple):
    """What is random about one trajectory.

    Attributes:
        parameters: values by name.
        initial: initial state (C, *S), double precision.
        constants: constant fields (K, *S), double precision; K may be 0.
        driver: random fields (A, *S) that what is prescribed follows from; None: nothing is.
    """

    parameters: dict[str, float]
    initial: Tensor
    constants: Tensor
    driver: Tensor | None = None


@dataclass(frozen=True)
class Problem:
    """Some trajectories of an equation to be solved at once, each as if it were alone.

    Attributes:
        initial: states at the start of the warm-up, in whose dtype and on whose device is computed.
            Of a steady equation, only shape, dtype and device matter.
        parameters: one value per trajectory, by name.
        grid: a grid with the equation's boundary.
        dt: time between frames.
        constants: constant fields; needed if the equation has any.
        warm_up: time before the first frame.
        solver_step: largest internal step; the equation's own by default.
        driver: what is prescribed follows from it; needed if the equation draws one.
        prescribed: what is prescribed itself, as it is given from the start on, linear in between,
            in place of the driver; for equations that go on with it (`driven`).
    """

    initial: Float[Tensor, "B V *S"]
    parameters: Mapping[str, Float[Tensor, " B"]]
    grid: Grid
    dt: float
    constants: Float[Tensor, "B K *S"] | None = None
    warm_up: float = 0.0
    solver_step: float | None = None
    driver: Float[Tensor, "B A *S"] | None = None
    prescribed: Prescribed | None = None


@runtime_checkable
class Balance(Protocol):
    """An equation over one time step, seen from both of its ends."""

    def residual(
        self,
        before: Float[Tensor, "B T C *S"],
        after: Float[Tensor, "B T C *S"],
        increments: Float[Tensor, "B T"],
    ) -> Float[Tensor, "B T C *S"]:
        """By how much frames miss where those before lead, in the fields' units.

        Args:
            before, after: pairs of frames, in the equation's order of fields.
            increments: time between the two.
        """
        ...


@runtime_checkable
class March(Protocol):
    """A solution under way: what an equation's solver keeps from frame to frame."""

    def advance(self, interval: float) -> Float[Tensor, "B C *S"]:
        """The fields `interval` later; those of now for an interval of 0.

        Raises:
            BlowUp: a trajectory cannot be integrated further.
        """
        ...


@dataclass(frozen=True)
class Steady:
    """The solution of a steady problem, as a march that stands still."""

    solution: Float[Tensor, "B C *S"]

    def advance(self, interval: float) -> Float[Tensor, "B C *S"]:
        """The solution, for an interval of 0."""
        assert interval == 0
        return self.solution


def frames(equation: Equation, problem: Problem) -> Iterator[Float[Tensor, "B C *S"]]:
    """Endless frames at times 0, dt, 2 dt, … after the warm-up; of a steady equation one.

    Raises:
        BlowUp: a trajectory cannot be integrated further.
        ValueError: the grid or a parameter is not one that the solver can take.
    """
    march = equation.march(problem)
    yield march.advance(problem.warm_up)
    while not equation.steady:
        yield march.advance(problem.dt)


@dataclass(frozen=True)
class Parameter:
    """A coefficient of an equation, drawn once per trajectory.

    Attributes:
        low, high: range of the draw; equal for a fixed value.
        description: what it is, and its sign convention.
        unit: physical unit; "1" where the equation is dimensionless.
        log: draw uniformly in the logarithm.
        minimum, maximum: the values for which the equation is well posed.
    """

    low: float
    high: float
    description: str
    unit: str = "1"
    log: bool = False
    minimum: float = -math.inf
    maximum: float = math.inf

    @property
    def fixed(self) -> bool:
        """Whether all trajectories share one value."""
        return self.low == self.high

    def draw(self, generator: torch.Generator) -> float:
        """A value; always takes one number from the generator, also when fixed."""
        fraction = torch.rand((), generator=generator, dtype=torch.float64).item()
        if self.fixed:
            return self.low
        if self.log:
            return self.low * (self.high / self.low) ** fraction
        return self.low + (self.high - self.low) * fraction

    def restricted(self, name: str, value: float | Sequence[float]) -> Parameter:
        """The same parameter with a fixed value, or with another range (low, high).

        Raises:
            ValueError: not a number or a pair, low > high, not finite, or outside what the
                equation allows.
        """
        pair = (value, value) if isinstance(value, (int, float)) else tuple(value)
        if len(pair) != 2:
            raise ValueError(f"parameter {name} must be a number or [low, high]; got {value!r}")
        low, high = map(float, pair)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(f"parameter {name} needs finite low ≤ high; got {low:g}, {high:g}")
        if low < self.minimum:
            raise ValueError(
                f"parameter {name} ({self.description}) must be at least {self.minimum:g}; "
                f"got {low:g}"
            )
        if high > self.maximum:
            raise ValueError(
                f"parameter {name} ({self.description}) must be at most {self.maximum:g}; "
                f"got {high:g}"
            )
        if self.log and low <= 0 and low < high:
            raise ValueError(
                f"parameter {name} is drawn log-uniformly and needs low > 0; got {low:g}. "
                "Raise it, or give one fixed value"
            )
        return replace(self, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Equation(ABC):
    """A problem, its solver, and the defaults of the dataset made from it.

    Attributes:
        name: registry name, `<equation>_<ndim>d`.
        title: name in words.
        formula: the equation, in plain text.
        fields: names of the components C.
        constant_fields: names of the K fields that do not vary in time.
        lengths: extent of the domain per axis.
        resolution: stored points per axis.
        boundary: kind per axis as in `Grid`; periodic by default.
        cell_centred: whether values stand at the centres of cells (finite volumes), the first half
            a spacing from the boundary, instead of at points from the origin on.
        subsample: solve on a grid finer by this factor; stored is every such point of it, or the
            mean over such blocks of cells.
        steady: whether the solution has no time: one frame, from parameters and constant fields.
        dt: time between saved frames.
        frames: saved frames per trajectory, the initial state included; 1 if steady.
        warm_up: time integrated before the first saved frame, to leave a transient behind.
        solver_step: largest internal time step; infinite where steps of any length are exact, None
            where the solver chooses its steps itself.
        step_control: how it does, in words.
        initial: sampler of initial states (C, *S); None for zeros.
        initial_states: what is drawn, in words, where the samplers do not say it themselves.
        constants: sampler of constant fields (K, *S).
        prescribed: those of the fields that are no part of the state, but drive it: they are known
            at all times, and follow from what `driver` samples, (A, *S).
        parameters: coefficients by name.
        solver: the numerical method, in words.
        invariants: what the exact dynamics conserve, in words.
        lyapunov_time: time in which small differences grow by a factor e, at the default settings;
            None where unknown or not chaotic.
        validation: what the solution is tested against, with its error, in words.
        source: where the equation and its settings come from.
        units: of each field, "time" and "length".
        driven: whether `march` goes on from any state with given values of what is prescribed.
    """

    driven: ClassVar[bool] = False

    name: str
    title: str
    formula: str
    fields: tuple[str, ...]
    lengths: tuple[float, ...]
    resolution: tuple[int, ...]
    boundary: tuple[str, ...] = ()
    cell_centred: bool = False
    subsample: int = 1
    steady: bool = False
    dt: float = 1.0
    frames: int = 1
    warm_up: float = 0.0
    solver_step: float | None = None
    step_control: str = ""
    initial: Sampler | None = None
    initial_states: str = ""
    constant_fields: tuple[str, ...] = ()
    constants: Sampler | None = None
    prescribed: tuple[str, ...] = ()
    driver: Sampler | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    solver: str = ""
    invariants: tuple[str, ...] = ()
    lyapunov_time: float | None = None
    validation: str = ""
    source: str = ""
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.lengths) == len(self.resolution), self.name
        assert self.steady == (self.frames == 1), self.name
        if not self.boundary:
            object.__setattr__(self, "boundary", ("periodic",) * self.ndim)
        assert len(self.boundary) == self.ndim, self.name
        names = (*self.fields, *self.constant_fields, "time", "length")
        object.__setattr__(self, "units", {**dict.fromkeys(names, "1"), **self.units})

    @property
    def ndim(self) -> int:
        """Number of space axes."""
        return len(self.lengths)

    def grid(
        self, resolution: Sequence[int] | None = None, lengths: Sequence[float] | None = None
    ) -> Grid:
        """The equation's grid, of its own resolution and lengths by default."""
        shape = tuple(self.resolution if resolution is None else resolution)
        extent = tuple(self.lengths if lengths is None else lengths)
        grid = Grid(shape, extent, self.boundary)
        if not self.cell_centred:
            return grid
        return replace(grid, origin=tuple(step / 2 for step in grid.spacing))

    @property
    def evolving(self) -> tuple[str, ...]:
        """The fields that are solved for: all but those that are prescribed."""
        return tuple(name for name in self.fields if name not in self.prescribed)

    def coarsened(self, values: Float[Tensor, "... C *S"], factor: int) -> Tensor:
        """Values on a grid that is coarser by `factor` along every axis.

        Every such point, or, for values at cell centres, the mean over such blocks of cells.
        """
        axes = range(values.ndim - self.ndim, values.ndim)
        if not self.cell_centred:
            every = (slice(None, None, factor),) * self.ndim
            return values[(..., *every)]
        for axis in axes:
            values = values.unflatten(axis, (-1, factor)).mean(axis + 1)
        return values

    def restricted(self: _Equation, overrides: Mapping[str, float | Sequence[float]]) -> _Equation:
        """The same equation with some parameters fixed or drawn from another range.

        Raises:
            ValueError: an unknown parameter (with the nearest valid name) or an impossible value.
        """
        known = dict(self.parameters)
        for name, value in overrides.items():
            if name not in known:
                hint = nearest(name, [*known]) if known else "; it has none"
                raise ValueError(f"{self.name} has no parameter {name!r}{hint}")
            known[name] = known[name].restricted(name, value)
        return replace(self, parameters=known)

    def starts(self) -> str:
        """Initial states and constant fields in words, as their samplers describe themselves."""
        if self.initial_states:
            return self.initial_states
        initial = "" if self.initial is None else describe(self.initial)
        constants = "" if self.constants is None else describe(self.constants)
        given = f"{', '.join(self.constant_fields)}: {constants}" if constants else ""
        driver = "" if self.driver is None else describe(self.driver)
        driven = f"{', '.join(self.prescribed)}: {driver}, in time" if driver else ""
        return "; ".join(part for part in (initial, given, driven) if part)

    def draw(self, generator: torch.Generator, grid: Grid) -> Draw:
        """Parameters, initial state and constant fields of one trajectory.

        Raises:
            ValueError: the grid cannot hold them.
        """
        parameters = {name: p.draw(generator) for name, p in self.parameters.items()}
        initial, constants = (
            torch.zeros(len(names), *grid.shape, dtype=torch.float64)
            if sampler is None
            else sampler(generator, grid)
            for sampler, names in (
                (self.initial, self.fields),
                (self.constants, self.constant_fields),
            )
        )
        driver = None if self.driver is None else self.driver(generator, grid)
        return Draw(parameters, initial, constants, driver)

    def restarted(
        self, fields: Float[Tensor, "B C *S"], *, first: bool
    ) -> Float[Tensor, "B V *S"] | None:
        """The state of which a frame is made; None where the fields do not tell it.

        Args:
            fields: of the frame.
            first: whether it is the initial state, before any time has passed.
        """
        return fields

    @abstractmethod
    def march(self, problem: Problem) -> March:
        """The solution of a problem at its start; `frames` lets it go on.

        Raises:
            ValueError: the grid or a parameter is not one that the solver can take.
        """

    def balance(self, problem: Problem, order: int) -> Balance:
        """What frames leave of the equation; differentiable.

        Args:
            problem: as for `march`; its initial states say dtype and device alone.
            order: of the time step, from 2 to 4.

        Raises:
            ValueError: the equation has no such form.
        """
        raise ValueError(
            f"{self.name} has no residual of a time step, which only equations u_t = L u + N(u) "
            "solved in Fourier space have"
        )

    def largest_step(self, problem: Problem) -> float:
        """The longest internal step: the problem's, or else the equation's own."""
        step = self.solver_step if problem.solver_step is None else problem.solver_step
        assert step is not None, self.name
        return step

    def broadcast(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters (B,) as (B, 1, *1), double precision, on the host."""
        shape = (-1, 1, *(1,) * self.ndim)
        return {name: value.double().cpu().reshape(shape) for name, value in parameters.items()}
