"""Fields, grids and windows: the validated types that cross every boundary of the toolkit.

Axis letters: B batch, T time, C channel (one field each), S space (1, 2 or 3 axes),
K constant field, P parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from .grid import Grid
from .prescribed import Prescribed, names_of, shapes, stacked


@dataclass(frozen=True)
class Context:
    """What stays the same along a trajectory; `Operator.init` takes it beside the history.

    Tensors carry a leading B where the window does.

    Attributes:
        fields: names of the C channels of a frame, in order.
        grid: the spatial grid.
        dt: physical time between consecutive history frames; None for a single frame.
        dataset: name of the dataset, by which its statistics are found.
        constants: constant fields (B, K, *S), or None.
        constant_fields: their K names.
        parameters: parameters (B, P) such as a viscosity, or None.
        parameter_names: their P names.
        mask: bool (B, C, *S), True where the fields are predicted; None: everywhere. Elsewhere
            they keep the values of the last given frame along a rollout, and neither losses nor
            metrics look at them.
        inputs: of a steady problem, the names of the history's channels, which are not those of
            the solution; () where a frame follows from frames of the same fields.
        prescribed: what changes in time and is known at all times, such as a forcing; None:
            nothing.
    """

    fields: tuple[str, ...]
    grid: Grid
    dt: float | None = None
    dataset: str = ""
    constants: Tensor | None = None
    constant_fields: tuple[str, ...] = ()
    parameters: Tensor | None = None
    parameter_names: tuple[str, ...] = ()
    mask: Bool[Tensor, "..."] | None = None
    inputs: tuple[str, ...] = ()
    prescribed: Prescribed | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the history's channels."""
        return self.inputs or self.fields

    @property
    def steady(self) -> bool:
        """Whether the problem is steady: one evaluation from inputs to fields, no time."""
        return bool(self.inputs)

    def map(self, function: Callable[[Tensor], Tensor]) -> Context:
        """The same context with `function` of its tensors."""
        given = self.prescribed
        return self._with(function, None if given is None else given.map(function))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Context:
        """The same context with its tensors on `device`; times stay on the host."""
        given = self.prescribed
        return self._with(
            lambda value: value.to(device, non_blocking=non_blocking),
            None if given is None else given.to(device, non_blocking),
        )

    def _with(self, function: Callable[[Tensor], Tensor], prescribed: Prescribed | None) -> Context:
        values = {name: getattr(self, name) for name in ("constants", "parameters", "mask")}
        changed = {k: function(v) for k, v in values.items() if v is not None}
        return replace(self, prescribed=prescribed, **changed)


@dataclass(frozen=True)
class Window:
    """A history of frames and the later frames that an operator should predict from it.

    A single window has no batch axis; `collate` stacks windows of one dataset into a batch, in
    which every tensor gains a leading B. All values are in physical units.

    Attributes:
        history: (T_in, C, *S), oldest first; of a steady problem, the input fields (1, C_in, *S).
        target: (T_out, C, *S).
        lead_times: (T_out,) physical time of each target frame after the last history frame.
        context: fields, grid and all else that stays the same along the trajectory.
    """

    history: Tensor
    target: Tensor
    lead_times: Tensor
    context: Context

    def __post_init__(self) -> None:
        context, points = self.context, self.context.grid.shape
        batch = self.history.ndim - 2 - len(points)
        if batch not in (0, 1):
            raise ValueError(
                f"history must be (T, C, *S) or (B, T, C, *S) with {len(points)} space axes; "
                f"got {tuple(self.history.shape)}"
            )
        lead, channels = tuple(self.history.shape[:batch]), len(context.fields)
        frames = self.lead_times.shape[-1] if self.lead_times.ndim else 0
        targets = self.target.shape[batch] if self.target.ndim > batch else 0
        history, given = self.history.shape[batch], context.prescribed
        expected = {
            "history": (self.history, (*lead, history, len(context.channels), *points)),
            "target": (self.target, (*lead, frames, channels, *points)),
            "lead_times": (self.lead_times, (*lead, targets)),
            "constants": (context.constants, (*lead, len(context.constant_fields), *points)),
            "parameters": (context.parameters, (*lead, len(context.parameter_names))),
            "mask": (context.mask, (*lead, channels, *points)),
            **({} if given is None else shapes(given, lead, points)),
        }
        for name, (value, shape) in expected.items():
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"window.{name} must have shape {shape}; got {tuple(value.shape)}")
        if context.mask is not None and context.mask.dtype != torch.bool:
            raise ValueError(f"window.mask must be bool; got {context.mask.dtype}")

    @property
    def batched(self) -> bool:
        """Whether the tensors carry a leading batch axis."""
        return self.history.ndim == 3 + self.grid.ndim

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the target's channels."""
        return self.context.fields

    @property
    def grid(self) -> Grid:
        """The spatial grid."""
        return self.context.grid

    @property
    def dt(self) -> float | None:
        """Physical time between consecutive history frames; None for a single frame."""
        return self.context.dt

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.context.dataset

    @property
    def constants(self) -> Tensor | None:
        """Constant fields (K, *S), or None."""
        return self.context.constants

    @property
    def constant_fields(self) -> tuple[str, ...]:
        """Names of the constant fields."""
        return self.context.constant_fields

    @property
    def parameters(self) -> Tensor | None:
        """Parameters (P,), or None."""
        return self.context.parameters

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self.context.parameter_names

    def select(self, fields: Sequence[str], inputs: Sequence[str] = ()) -> Window:
        """The same window with only these fields (and inputs of a steady problem), in this order.

        Raises:
            ValueError: a field is not in the window.
        """
        context = self.context
        chosen = tuple(fields)
        channels = (tuple(inputs) or context.inputs) if context.steady else chosen
        if (chosen, channels) == (context.fields, context.channels):
            return self
        axis = self.history.ndim - 1 - context.grid.ndim
        mask = context.mask
        if mask is not None:
            mask = _take(mask, axis - 1, chosen, context.fields, context.dataset)
        return Window(
            _take(self.history, axis, channels, context.channels, context.dataset),
            _take(self.target, axis, chosen, context.fields, context.dataset),
            self.lead_times,
            replace(context, fields=chosen, mask=mask, inputs=channels if context.steady else ()),
        )

    def filled(self, values: Mapping[str, float], inputs: Collection[str] = ()) -> Window:
        """The same window with what it lacks: constant, and as far as it is a field not predicted.

        Args:
            values: of fields and inputs, by name.
            inputs: which of them a steady problem takes instead of predicting them.
        """
        lacking = {k: v for k, v in values.items() if k in inputs and k not in self.context.inputs}
        window = self._with_inputs(lacking) if lacking and self.context.steady else self
        absent = {k: v for k, v in values.items() if k not in self.fields and k not in inputs}
        return window._with_fields(absent) if absent else window

    def _with_inputs(self, values: Mapping[str, float]) -> Window:
        context, axis = self.context, self.history.ndim - 1 - self.grid.ndim
        history = _widened(self.history, axis, values.values())
        context = replace(context, inputs=(*context.inputs, *values))
        return Window(history, self.target, self.lead_times, context)

    def _with_fields(self, values: Mapping[str, float]) -> Window:
        context, axis = self.context, self.history.ndim - 1 - self.grid.ndim
        shape = (*self.history.shape[: axis - 1], len(self.fields), *self.grid.shape)
        everywhere = torch.ones(shape, dtype=torch.bool, device=self.history.device)
        mask = everywhere if context.mask is None else context.mask
        return Window(
            self.history if context.steady else _widened(self.history, axis, values.values()),
            _widened(self.target, axis, values.values()),
            self.lead_times,
            replace(
                context,
                fields=(*context.fields, *values),
                mask=_widened(mask, axis - 1, [0.0] * len(values)),
            ),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Window:
        """The same window with its tensors on `device`.

        Lead times stay on the host: they steer the rollout, which must not wait for the device.
        """
        return Window(
            self.history.to(device, non_blocking=non_blocking),
            self.target.to(device, non_blocking=non_blocking),
            self.lead_times,
            self.context.to(device, non_blocking),
        )

    def pin_memory(self) -> Window:
        """The same window in page-locked memory (called by a pinning data loader)."""
        return Window(
            self.history.pin_memory(),
            self.target.pin_memory(),
            self.lead_times,
            self.context.map(lambda tensor: tensor.pin_memory()),
        )


def without(context: Context, names: Collection[str], lead: tuple[int, ...] = ()) -> Context:
    """The same with some fields masked entirely.

    A steady problem has no frame whose values they could keep, and stays as it is.

    Args:
        context: changed in its mask.
        names: of the fields; those that it has not are ignored.
        lead: the batch axis of its tensors, where they have one.
    """
    chosen = [channel for channel, name in enumerate(context.fields) if name in names]
    if not chosen or context.steady:
        return context
    shape = (*lead, len(context.fields), *context.grid.shape)
    mask = torch.ones(shape, dtype=torch.bool) if context.mask is None else context.mask.clone()
    mask.movedim(len(lead), 0)[chosen] = False
    return replace(context, mask=mask)


def collate(windows: Sequence[Window]) -> Window:
    """Stack single windows of one dataset (same fields, grid, dt and names) into one batch.

    Raises:
        ValueError: the windows differ in anything but their values.
    """
    first = windows[0]
    same = ("fields", "grid", "dt", "dataset", "constant_fields", "parameter_names", "inputs")
    for window in windows[1:]:
        for name in same:
            one, two = getattr(first.context, name), getattr(window.context, name)
            if one != two:
                raise ValueError(f"windows of one batch must share {name}; got {one} and {two}")

    named = [names_of(window.context.prescribed) for window in windows]
    if len({*named}) > 1:
        raise ValueError(f"windows of one batch must share prescribed fields; got {named}")
    given = [w.context.prescribed for w in windows if w.context.prescribed is not None]

    def stack(name: str) -> Tensor | None:
        values = [getattr(window.context, name) for window in windows]
        return None if values[0] is None else _stacked(values)

    return Window(
        _stacked([window.history for window in windows]),
        _stacked([window.target for window in windows]),
        torch.stack([window.lead_times for window in windows]),
        replace(
            first.context,
            constants=stack("constants"),
            parameters=stack("parameters"),
            mask=_stack_masks(windows),
            prescribed=stacked(given, _stacked) if given else None,
        ),
    )


def _stacked(values: Sequence[Tensor]) -> Tensor:
    """The values in a row; in a data loader's worker in memory that the training process maps."""
    if torch.utils.data.get_worker_info() is None:
        return torch.stack([*values])
    out: Any = values[0].new_empty(0)
    shape = (len(values), *values[0].shape)
    place = torch.UntypedStorage._new_shared(math.prod(shape) * out.element_size())
    return torch.stack([*values], out=out.set_(place, 0, shape))


def _stack_masks(windows: Sequence[Window]) -> Bool[Tensor, "B C *S"] | None:
    """The masks of a batch; a window without one is predicted everywhere."""
    masks = [window.context.mask for window in windows]
    if all(mask is None for mask in masks):
        return None
    shape = (len(windows[0].fields), *windows[0].grid.shape)
    everywhere = torch.ones(shape, dtype=torch.bool, device=windows[0].history.device)
    return torch.stack([everywhere if mask is None else mask for mask in masks])


def _widened(values: Tensor, axis: int, fill: Iterable[float]) -> Tensor:
    """The tensor with one more channel per value, which fills it."""
    like = values.narrow(axis, 0, 1)
    return torch.cat([values, *(torch.full_like(like, value) for value in fill)], axis)


def _take(
    values: Tensor, axis: int, names: Sequence[str], known: Sequence[str], dataset: str
) -> Tensor:
    """The channels `names` of `known` along an axis."""
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"dataset {dataset!r} has no field {', '.join(missing)}; it has {', '.join(known)}"
        )
    index = torch.tensor([known.index(name) for name in names])
    return values.index_select(axis, index.to(values.device))
