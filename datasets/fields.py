"""Fields, grids and windows: the validated types that cross every boundary of the toolkit.

Axis letters: B batch, T time, C channel (one field each), S space (1, 2 or 3 axes),
K constant field, P parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

BOUNDARIES = ("periodic", "wall", "open")

# The shared vocabulary: the same quantity has the same name in every dataset. Other names are
# allowed (a user's own field), but only these are shared between datasets by convention.
VOCABULARY = {
    "u": "scalar unknown of a model equation",
    "velocity_x": "velocity, first axis",
    "velocity_y": "velocity, second axis",
    "velocity_z": "velocity, third axis",
    "vorticity": "curl of the velocity (2D: its only component)",
    "density": "mass density",
    "pressure": "pressure",
    "energy": "total energy density",
    "tracer": "passive scalar concentration",
    "temperature": "temperature",
    "height": "height of the free surface",
    "source": "right-hand side of a steady problem",
    "coefficient": "material coefficient of a steady problem",
}


@dataclass(frozen=True)
class Grid:
    """A uniform grid: n_i points along axis i at `origin_i + j · lengths_i / n_i`, j = 0 … n_i − 1.

    Attributes:
        shape: points per axis (1, 2 or 3 axes).
        lengths: extent of the domain per axis, in physical units; the spacing is length / points.
        boundary: per axis "periodic", "wall" or "open"; "low-high" (as in "wall-open") where the
            two ends differ.
        origin: coordinate of the first point per axis; zeros by default.
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...]
    boundary: tuple[str, ...]
    origin: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.origin:
            object.__setattr__(self, "origin", (0.0,) * len(self.shape))
        if len(self.shape) not in (1, 2, 3):
            raise ValueError(f"a grid has 1, 2 or 3 axes; got shape {self.shape}")
        for name in ("lengths", "boundary", "origin"):
            if len(getattr(self, name)) != len(self.shape):
                raise ValueError(
                    f"grid.{name} needs one entry per axis of shape {self.shape}; "
                    f"got {getattr(self, name)}"
                )
        if any(n < 1 for n in self.shape):
            raise ValueError(f"grid.shape must be positive; got {self.shape}")
        if not all(math.isfinite(v) and v > 0 for v in self.lengths):
            raise ValueError(f"grid.lengths must be positive and finite; got {self.lengths}")
        for kind in self.boundary:
            if not set(kind.split("-", 1)) <= set(BOUNDARIES):
                raise ValueError(f"a boundary is one of {BOUNDARIES} or low-high; got {kind!r}")

    @staticmethod
    def unit(shape: Sequence[int]) -> Grid:
        """The periodic unit box on `shape` points."""
        n = len(shape)
        return Grid(tuple(shape), (1.0,) * n, ("periodic",) * n)

    @property
    def ndim(self) -> int:
        """Number of space axes."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring points per axis, in physical units."""
        return tuple(length / n for length, n in zip(self.lengths, self.shape, strict=True))

    @property
    def periodic(self) -> bool:
        """Whether every axis is periodic."""
        return all(kind == "periodic" for kind in self.boundary)

    def coordinates(self) -> tuple[Float[Tensor, " n"], ...]:
        """Physical coordinates of the points, one float64 vector per axis."""
        return tuple(
            start + step * torch.arange(n, dtype=torch.float64)
            for n, start, step in zip(self.shape, self.origin, self.spacing, strict=True)
        )


@dataclass(frozen=True)
class Context:
    """What stays the same along a trajectory; `Operator.init` takes it beside the history.

    Attributes:
        fields: names of the channels C, in order.
        grid: the spatial grid.
        dt: physical time between consecutive history frames; None for a single frame.
        dataset: name of the dataset, by which its statistics are found.
        constants: constant fields (B, K, *S), or None.
        constant_fields: their K names.
        parameters: parameters (B, P) such as a viscosity, or None.
        parameter_names: their P names.
    """

    fields: tuple[str, ...]
    grid: Grid
    dt: float | None = None
    dataset: str = ""
    constants: Tensor | None = None
    constant_fields: tuple[str, ...] = ()
    parameters: Tensor | None = None
    parameter_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """A history of frames and the later frames that an operator should predict from it.

    A single window has no batch axis; `collate` stacks windows of one dataset into a batch, in
    which every tensor gains a leading B. All values are in physical units.

    Attributes:
        history: (T_in, C, *S), oldest first.
        target: (T_out, C, *S).
        lead_times: (T_out,) physical time of each target frame after the last history frame.
        fields: the C field names.
        grid: the spatial grid.
        dt: physical time between consecutive history frames; None for a single frame.
        dataset: name of the dataset.
        constants, constant_fields, parameters, parameter_names: as in `Context`.
    """

    history: Tensor
    target: Tensor
    lead_times: Tensor
    fields: tuple[str, ...]
    grid: Grid
    dt: float | None = None
    dataset: str = ""
    constants: Tensor | None = None
    constant_fields: tuple[str, ...] = ()
    parameters: Tensor | None = None
    parameter_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        batch = self.history.ndim - 2 - self.grid.ndim
        if batch not in (0, 1):
            raise ValueError(
                f"history must be (T, C, *S) or (B, T, C, *S) with {self.grid.ndim} space axes; "
                f"got {tuple(self.history.shape)}"
            )
        lead = tuple(self.history.shape[:batch])
        inner = (len(self.fields), *self.grid.shape)
        expected: dict[str, tuple[int, ...]] = {
            "history": (*lead, self.history.shape[batch], *inner),
            "target": (*lead, self.lead_times.shape[-1] if self.lead_times.ndim else 0, *inner),
            "lead_times": (*lead, self.target.shape[batch] if self.target.ndim > batch else 0),
        }
        if self.constants is not None:
            expected["constants"] = (*lead, len(self.constant_fields), *self.grid.shape)
        if self.parameters is not None:
            expected["parameters"] = (*lead, len(self.parameter_names))
        for name, shape in expected.items():
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(f"window.{name} must have shape {shape}; got {got}")

    @property
    def batched(self) -> bool:
        """Whether the tensors carry a leading batch axis."""
        return self.history.ndim == 3 + self.grid.ndim

    @property
    def context(self) -> Context:
        """The part that `Operator.init` takes beside the history."""
        return Context(
            fields=self.fields,
            grid=self.grid,
            dt=self.dt,
            dataset=self.dataset,
            constants=self.constants,
            constant_fields=self.constant_fields,
            parameters=self.parameters,
            parameter_names=self.parameter_names,
        )

    def select(self, fields: Sequence[str]) -> Window:
        """The same window with only these fields, in this order.

        Raises:
            ValueError: a field is not in the window.
        """
        if tuple(fields) == self.fields:
            return self
        missing = [name for name in fields if name not in self.fields]
        if missing:
            raise ValueError(
                f"dataset {self.dataset!r} has no field {', '.join(missing)}; "
                f"it has {', '.join(self.fields)}"
            )
        index = torch.tensor([self.fields.index(name) for name in fields])
        axis = self.history.ndim - 1 - self.grid.ndim
        return replace(
            self,
            history=self.history.index_select(axis, index.to(self.history.device)),
            target=self.target.index_select(axis, index.to(self.target.device)),
            fields=tuple(fields),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Window:
        """The same window with its tensors on `device`.

        Lead times stay on the host: they steer the rollout, which must not wait for the device.
        """
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Window:
        """The same window in page-locked memory (called by a pinning data loader)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function: Callable[[Tensor], Tensor]) -> Window:
        names = ("history", "target", "constants", "parameters")
        values = {name: getattr(self, name) for name in names}
        return replace(self, **{k: function(v) for k, v in values.items() if v is not None})


def collate(windows: Sequence[Window]) -> Window:
    """Stack single windows of one dataset (same fields, grid, dt and names) into one batch.

    Raises:
        ValueError: the windows differ in anything but their values.
    """
    first = windows[0]
    same = ("fields", "grid", "dt", "dataset", "constant_fields", "parameter_names")
    for window in windows[1:]:
        for name in same:
            if getattr(window, name) != getattr(first, name):
                raise ValueError(
                    f"windows of one batch must share {name}; "
                    f"got {getattr(first, name)} and {getattr(window, name)}"
                )

    def stack(name: str) -> Tensor | None:
        values = [getattr(window, name) for window in windows]
        return None if values[0] is None else torch.stack(values)

    tensors = ("history", "target", "lead_times", "constants", "parameters")
    return replace(first, **{name: stack(name) for name in tensors})
