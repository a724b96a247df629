"""What an operator is about: the part of a checkpoint that is not its architecture."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ...datasets.base.annotations import OneOrMore
from ...datasets.base.config import arguments, build, nearest, plain
from ...datasets.fields.grid import Grid
from ...datasets.fields.normalization import (
    Identity,
    Normalizer,
    Scaling,
    Standard,
    WindowScaling,
    normalizer_from_dict,
    normalizer_to_dict,
)
from ...datasets.fields.prescribed import Needs
from ...datasets.fields.window import Context, without
from .calibration import Calibration
from .limiting import limits_of, those_of
from .trained import Ranges


@dataclass(frozen=True)
class Description:
    """The fields an operator maps, in which units, scaling and time, and where it comes from.

    Attributes:
        fields: names of its channels, in order.
        units: unit of each field, input, condition, "time" and "length", where known.
        normalizer: physical units to the network's and back.
        inputs: of an operator for steady problems, the names of its input channels, in order; ()
            where it steps `fields` in time.
        constant_fields, parameters: names that it takes as extra inputs.
        prescribed: names of what it takes as extra inputs at both ends of every step; it changes in
            time, and is known at all times.
        condition_scales: how each of these is scaled; as it is, where nothing is said.
        fill: values of fields that stand in data without them; they are not predicted there. Also
            of what is prescribed.
        time_scale: physical time that the network sees as 1.
        time_scales: the same for single datasets, by name, where it differs.
        time_steps: the physical time steps it was trained at; empty if unknown.
        grid: the training grid; None if there were several or none yet.
        axes: names of the grid's axes in the training data, in order; () if unknown.
        conserved: fields whose mean over the domain every step keeps, exactly.
        bounded: how much larger than in the training data a prediction's deviation over the domain
            may be (see `limits_of`); None: it may be anything.
        trained: by dataset, in which ranges the training data are; empty if unknown.
        calibration: error bands of its predictions; None if not calibrated.
        provenance: how it was made (recipe, datasets, seed, version, …).
        license: note on the licence of the weights; empty if none was given.
    """

    fields: tuple[str, ...]
    units: dict[str, str] = field(default_factory=dict)
    normalizer: Normalizer = field(default_factory=Identity)
    inputs: tuple[str, ...] = ()
    constant_fields: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    condition_scales: dict[str, Standard] = field(default_factory=dict)
    fill: dict[str, float] = field(default_factory=dict)
    time_scale: float = 1.0
    time_scales: dict[str, float] = field(default_factory=dict)
    time_steps: tuple[float, ...] = ()
    grid: Grid | None = None
    axes: tuple[str, ...] = ()
    conserved: tuple[str, ...] = ()
    bounded: OneOrMore | None = None
    prescribed: tuple[str, ...] = ()
    trained: dict[str, Ranges] = field(default_factory=dict)
    calibration: Calibration | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    license: str = ""

    def __post_init__(self) -> None:
        for text in (*self.fields, *self.units.values(), *self.inputs, *self.conditions,
                     *self.prescribed, *self.time_scales):  # fmt: skip
            if not text.isprintable():
                raise ValueError(
                    f"names and units must be printable; got {text!r} with control characters"
                )
        if not self.fields or len(set(self.fields)) != len(self.fields):
            raise ValueError(f"an operator needs distinct field names; got {self.fields}")
        for kind, names in (
            ("input", self.inputs),
            ("condition", (*self.conditions, *self.prescribed)),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"an operator needs distinct {kind} names; got {names}")
        self._check_prescribed()
        self._check_conserved()
        self._check_bounded()
        for key, scale in {"": self.time_scale, **self.time_scales}.items():
            if not scale > 0:
                of = f" of {key!r}" if key else ""
                raise ValueError(f"time_scale{of} must be positive; got {scale}")

    def _check_prescribed(self) -> None:
        both = [name for name in self.prescribed if name in self.fields]
        if both:
            raise ValueError(
                f"{', '.join(both)} cannot be both predicted and prescribed; take it out of one"
            )
        if self.prescribed and self.inputs:
            raise ValueError(
                f"a steady problem has no time in which {', '.join(self.prescribed)} could be "
                "prescribed; store them as constant fields"
            )

    def _check_conserved(self) -> None:
        for name in self.conserved:
            if name not in self.fields:
                raise ValueError(
                    f"conserved: the operator predicts no {name!r}{nearest(name, [*self.fields])}"
                )
        if self.conserved and self.inputs:
            raise ValueError(
                "conserved has no meaning for a steady problem, which has no frame before; leave "
                "it out"
            )

    def _check_bounded(self) -> None:
        if self.bounded is None:
            return
        if self.inputs:
            raise ValueError(
                "bounded is for rollouts, which a steady problem has not; leave it out"
            )
        if not self.bounded >= 1:
            raise ValueError(f"bounded must be at least 1; got {self.bounded:g}")

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the history's channels."""
        return self.inputs or self.fields

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the extra inputs: constant fields, then parameters."""
        return (*self.constant_fields, *self.parameters)

    @property
    def needs(self) -> Needs:
        """What data must have as prescribed."""
        return Needs(self.prescribed, self.units, self.fill)

    @property
    def channel_fill(self) -> dict[str, float]:
        """`fill`, of fields and inputs alone."""
        names = (*self.fields, *self.inputs)
        return {name: value for name, value in self.fill.items() if name in names}

    @property
    def extra(self) -> tuple[str, ...]:
        """Names of the extra input channels of a step: conditions, then what is prescribed, at the
        beginning and at the end of it."""
        ends = (f"{name} at the end" for name in self.prescribed)
        return (*self.conditions, *self.prescribed, *ends)

    @property
    def named(self) -> tuple[str, ...]:
        """All that data must have in the same units: fields, inputs, conditions, time, length."""
        return (*self.fields, *self.inputs, *self.conditions, "time", "length")

    def time_scale_of(self, dataset: str) -> float:
        """The physical time that the network sees as 1 on a dataset."""
        return self.time_scales.get(dataset, self.time_scale)

    def warn_of_time_scale(self, dataset: str) -> None:
        """Warn, once of each name, where scales are by dataset and this one was none of them."""
        trained = self.provenance.get("datasets", ())
        if self.time_scales and dataset not in (*self.time_scales, *trained):
            known = ", ".join(f"{name} {scale:g}" for name, scale in self.time_scales.items())
            warnings.warn(
                f"no time scale is known for a dataset named {dataset!r}: {self.time_scale:g} is "
                f"taken; by name there are {known}. If it is one of these give it that name, else "
                "fine-tune with data[i].time_scale",
                stacklevel=3,
            )

    def masked(self, context: Context, batch: int) -> Context:
        """The batched context without the fields that never varied in the training data."""
        return without(context, self.normalizer.constants(context.dataset), (batch,))

    def scaling(
        self, history: Float[Tensor, "B T C *S"], context: Context, first: Scaling | None = None
    ) -> Scaling:
        """The normaliser's scaling of a history; `first` is that of the forecast's start."""
        found = self.normalizer.scaling(
            history, context.fields, context.dataset, first, context.inputs
        )
        if (self.conserved or self.bounded is not None) and context.mask is not None:
            moved = None if first is None else first.mask  # once to the device
            mask = context.mask.to(history.device) if moved is None else moved
            found = replace(found, mask=mask)
        if self.conserved:
            kept = [float(name in self.conserved) for name in context.fields]
            shape = (1, -1, *(1,) * context.grid.ndim)
            found = replace(found, conserved=history.new_tensor(kept).reshape(shape))
        if self.bounded is not None:
            limits = first.limits if first is not None else None
            if limits is None:
                known = those_of(self.trained, context.dataset)
                limits = limits_of(history, context.fields, known, self.bounded, found.mask)
            found = replace(found, limits=limits)
        return found

    def scale_of(self, condition: str) -> Standard:
        """The scale of a constant field or parameter."""
        return self.condition_scales.get(condition, Standard())


_LATER = ("axes", "conserved", "bounded", "prescribed", "trained", "calibration")


def description_to_dict(description: Description) -> dict[str, Any]:
    """Plain data ready for JSON."""
    values = plain(description)
    values["normalizer"] = normalizer_to_dict(description.normalizer)
    # What the first checkpoints have not is left out where nothing is known.
    later = {key: values.pop(key) for key in _LATER}
    return values | {key: value for key, value in later.items() if value}


def description_from_dict(values: Mapping[str, Any]) -> Description:
    """The description that `description_to_dict` wrote.

    Raises:
        ValueError: a key is unknown, missing or of the wrong type.
    """
    rest = {key: value for key, value in values.items() if key not in ("grid", "normalizer")}
    grid, normalizer = values.get("grid"), values.get("normalizer", {"name": Identity.name})
    if not isinstance(normalizer, Mapping) or not isinstance(normalizer.get("name"), str):
        raise ValueError(f"normalizer must be a mapping with a name; got {normalizer!r}")
    return Description(
        **arguments(Description, rest),
        normalizer=normalizer_from_dict(_of_then(normalizer)),
        grid=None if grid is None else build(Grid, grid, prefix="grid"),
    )


def _of_then(normalizer: Mapping[str, Any]) -> Mapping[str, Any]:
    """What earlier versions did where they say nothing of it."""
    if normalizer["name"] != WindowScaling.name:
        return normalizer
    return {"offset": None, **normalizer}
