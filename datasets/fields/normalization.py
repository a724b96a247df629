"""Normalisation that travels with an operator: physical units in, physical units out.

A normaliser turns a history into a `Scaling`; the operator encodes with it, predicts in scaled
units, and decodes. All three are reversible and carry everything they need by name. Along a
forecast, `first` is the scaling of the history that it started from; a normaliser that does not
look at the history gives it back, so that a step copies nothing to the device. `inputs` are the
names of the history's channels where they are not those of the prediction (steady problems).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..base.annotations import NotNegative, OneOrMore, Positive
from ..base.config import Checked, build, plain
from ..base.registry import Registry
from .limits import Limits
from .masking import mean_over
from .metrics import root

# The name under which statistics pooled over all training datasets are kept.
POOLED = "*"


@dataclass(frozen=True)
class Scaling:
    """An affine map per window and channel, shaped (B, C, 1, …) to broadcast over space.

    Encoding is `(x − shift) / scale`. Decoding is `y · scale + shift`, or, where `increment` is
    given, `last frame + y · increment`: the operator then predicts the scaled change. Where
    `output` is given, predictions are other fields than the history's, and it decodes them.
    `conserved` is 1 for channels whose mean over the domain stays that of the last frame, and 0 for
    others: a predicted frame is projected onto such frames, the nearest one in root mean square.
    Then it is held within `limits`. Both look at the points where `mask` says that fields are
    predicted; None: at all.
    """

    shift: Tensor
    scale: Tensor
    increment: Tensor | None = None
    output: Scaling | None = None
    conserved: Tensor | None = None
    limits: Limits | None = None
    mask: Tensor | None = None

    @property
    def target(self) -> Scaling:
        """The scaling of the predicted fields: of a steady problem, not that of its inputs."""
        return self.output or self

    def encode(self, history: Float[Tensor, "B T C *S"]) -> Float[Tensor, "B T C *S"]:
        """Scaled history (or, of `target`, scaled predictions)."""
        return (history - self.shift.unsqueeze(1)) / self.scale.unsqueeze(1)

    def decode(
        self, output: Float[Tensor, "B C *S"], last: Float[Tensor, "B D *S"]
    ) -> Float[Tensor, "B C *S"]:
        """Physical frame from the operator's scaled output and the last physical frame."""
        if self.increment is not None:
            return self.keep(last + output * self.increment, last)
        return self.keep(output * self.target.scale + self.target.shift, last)

    def keep(
        self, fields: Float[Tensor, "B C *S"], last: Float[Tensor, "B D *S"]
    ) -> Float[Tensor, "B C *S"]:
        """Predicted physical fields with the means of the last frame, where these are conserved,
        and within the limits."""
        if self.conserved is not None:
            space = tuple(range(2, fields.ndim))
            fields = fields - self.conserved * mean_over(fields - last, self.mask, space)
        return fields if self.limits is None else self.limits.hold(fields, self.mask)


@dataclass(frozen=True)
class Normalizer(ABC):
    """What scales fields; a frozen dataclass of what is known of the data.

    Attributes:
        name: under which it is registered, and in checkpoints.
        knows_means: whether it knows what the data are before it has seen a history.
    """

    name: ClassVar[str]
    knows_means: ClassVar[bool] = True

    @abstractmethod
    def scaling(
        self,
        history: Float[Tensor, "B T C *S"],
        fields: tuple[str, ...],
        dataset: str,
        first: Scaling | None = None,
        inputs: tuple[str, ...] = (),
    ) -> Scaling:
        """The scaling of a history and of what is predicted from it.

        Args:
            history: in physical units.
            fields: names of what is predicted.
            dataset: its name; statistics are kept by it.
            first: the scaling of the history that the forecast started from.
            inputs: names of the history's channels, of a steady problem.

        Raises:
            ValueError: the history is not one that this normaliser can scale.
        """

    def constants(self, dataset: str) -> frozenset[str]:
        """Fields that never varied in the training data: by default none is known."""
        return frozenset()

    @cached_property
    def datasets(self) -> Mapping[str, Mapping[str, tuple[float, float]]]:
        """Mean and deviation of fields, by training dataset: by default none is known."""
        return {}


@dataclass(frozen=True)
class Identity(Normalizer):
    """No normalisation: the operator sees and gives physical values."""

    name: ClassVar[str] = "identity"

    def scaling(
        self,
        history: Float[Tensor, "B T C *S"],
        fields: tuple[str, ...],
        dataset: str,
        first: Scaling | None = None,
        inputs: tuple[str, ...] = (),
    ) -> Scaling:
        """Shift 0, scale 1."""
        if first is not None:
            return first
        one = history.new_ones(1).expand(_per_channel(history))
        if not inputs:
            return Scaling(torch.zeros_like(one), one)
        wide = history.new_ones(1).expand(len(history), len(fields), *one.shape[2:])
        output = Scaling(torch.zeros_like(wide), wide)
        return Scaling(torch.zeros_like(one), one, output=output)


@dataclass(frozen=True)
class Statistics(Normalizer):
    """Mean and standard deviation of training data, per dataset and field, by name.

    What a dataset has no entry for uses the entry `*`, pooled over all training datasets. A field
    of standard deviation 0 never varies: there is nothing to learn, and it is scaled by its size.

    Attributes:
        mean, std: `{dataset: {field: value}}` in physical units.
    """

    mean: dict[str, dict[str, float]]
    std: dict[str, dict[str, float]]
    name: ClassVar[str] = "statistics"

    def scaling(
        self,
        history: Float[Tensor, "B T C *S"],
        fields: tuple[str, ...],
        dataset: str,
        first: Scaling | None = None,
        inputs: tuple[str, ...] = (),
    ) -> Scaling:
        """Shift by the mean, scale by the standard deviation.

        Raises:
            ValueError: no statistics are known for a field.
        """
        if first is not None:
            return first
        if not inputs:
            return self._of(fields, dataset, history)
        output = self._of(fields, dataset, history)
        return replace(self._of(inputs, dataset, history), output=output)

    def constants(self, dataset: str) -> frozenset[str]:
        """Fields that never varied in the training data."""
        std = self._known(self.std, dataset)
        return frozenset(name for name, value in std.items() if not value)

    @cached_property
    def datasets(self) -> Mapping[str, Mapping[str, tuple[float, float]]]:
        """Mean and deviation of the fields of each dataset that has an entry of its own."""
        found = {}
        for dataset in self.mean:
            if dataset != POOLED:
                mean, std = (self._known(table, dataset) for table in (self.mean, self.std))
                found[dataset] = {name: (mean[name], std[name]) for name in mean if name in std}
        return found

    def _known(self, table: Mapping[str, Mapping[str, float]], dataset: str) -> dict[str, float]:
        return {**table.get(POOLED, {}), **table.get(dataset, {})}

    def _of(
        self, fields: tuple[str, ...], dataset: str, like: Float[Tensor, "B T C *S"]
    ) -> Scaling:
        mean, std = (self._known(table, dataset) for table in (self.mean, self.std))
        missing = [field for field in fields if field not in mean or field not in std]
        if missing:
            raise ValueError(
                f"no statistics for field(s) {', '.join(missing)} of dataset {dataset!r}; "
                f"known: {sorted(mean)}. Fine-tune on it, or use the 'window' normaliser"
            )
        shifts = tuple(mean[field] for field in fields)
        scales = tuple(std[field] or abs(mean[field]) or 1.0 for field in fields)
        return Scaling(_on(shifts, like), _on(scales, like))


@dataclass(frozen=True)
class WindowScaling(Checked, Normalizer):
    """Scale by the history itself: its RMS going in, the RMS of its increments coming out.

    Where a channel is far from zero (a temperature in kelvin), its RMS says nothing of how it
    varies, and the network would see a constant. So of its mean only `offset` deviations are left.

    Per window and channel, over time and space. Works on any dataset without statistics, at any
    amplitude, and makes persistence the zero output. Needs at least two history frames.

    Predictions that are fed back scale the next increment, so an overestimate compounds. `growth`
    bounds this: increments, relative to the RMS, may grow to so many times those of the history
    that the forecast started from. Leave it out where a small disturbance of a large field grows
    into the solution (instabilities of a mean flow).

    Attributes:
        growth: largest growth of the relative increment along a forecast; null: no bound.
        offset: largest mean of a channel that the network sees, in its deviations; what is more is
            subtracted. Null: nothing is, as in checkpoints of earlier versions.
        floor: smallest scale of increments, as a fraction of the channel's RMS, positive; keeps
            constant channels finite. The RMS has no floor but that of the number format, the
            smallest whose square is a normal number (1e-19 in float32): for channels that are zero.
        constant: dataset -> fields that never vary in its training data, and are not predicted.
    """

    growth: OneOrMore | None = None
    offset: NotNegative | None = 10.0
    floor: Positive = 1e-6
    constant: dict[str, tuple[str, ...]] = field(default_factory=dict)
    name: ClassVar[str] = "window"
    knows_means: ClassVar[bool] = False

    def scaling(
        self,
        history: Float[Tensor, "B T C *S"],
        fields: tuple[str, ...],
        dataset: str,
        first: Scaling | None = None,
        inputs: tuple[str, ...] = (),
    ) -> Scaling:
        """Scale RMS(history − shift), increment RMS(differences of consecutive frames).

        Raises:
            ValueError: the history has a single frame, or the problem is steady.
        """
        if inputs:
            raise ValueError(
                "the 'window' normaliser scales a prediction by the increments of its history, "
                f"which a steady problem ({', '.join(inputs)} → {', '.join(fields)}) has not; use "
                "the 'statistics' normaliser"
            )
        if history.shape[1] < 2:
            raise ValueError(
                "the 'window' normaliser needs at least 2 history frames to see an increment; "
                "got 1. Use a longer history, or the 'statistics' normaliser"
            )
        over = (1, *range(3, history.ndim))
        smallest = torch.finfo(history.dtype).tiny ** 0.5
        size = root(history.square().mean(over)).clamp_min(smallest)
        increment = root(history.diff(dim=1).square().mean(over))
        increment = torch.maximum(increment, self.floor * size)
        shift, scale = self._centred(history, over, size)
        shape = _per_channel(history)
        shift, scale, increment = (x.reshape(shape) for x in (shift, scale, increment))
        if self.growth is not None and first is not None:
            assert first.increment is not None
            bound = self.growth * first.increment / first.scale * scale
            increment = torch.minimum(increment, bound)
        return Scaling(shift, scale, increment)

    def _centred(
        self, history: Float[Tensor, "B T C *S"], over: tuple[int, ...], size: Float[Tensor, "B C"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """What is subtracted, 0 where little of the mean is too much, and the RMS of the rest."""
        if self.offset is None:
            return torch.zeros_like(size), size
        variance, mean = torch.var_mean(history, over, correction=0)
        # Below this, a channel that is constant would show the rounding of its numbers.
        deviation = torch.maximum(root(variance), 1e-5 * size)
        most = self.offset * deviation
        left = torch.minimum(torch.maximum(mean, -most), most)
        scale = torch.hypot(deviation, left)
        return mean - left, torch.where(mean == left, size, scale)

    def constants(self, dataset: str) -> frozenset[str]:
        """Fields that never varied in the training data."""
        return frozenset(self.constant.get(dataset, ()))


FLOOR = 1e-6  # of the root mean square: a smaller standard deviation is rounding


@dataclass(frozen=True)
class Standard(Checked):
    """`(x − mean) / std` of a constant field or parameter, or of its natural logarithm.

    Whatever the normaliser of the fields is, such a condition is scaled by one mean and deviation
    for all datasets: what it tells apart is its absolute value.

    Attributes:
        mean, std: of the training data, in physical units (of the logarithm, where `log`).
        log: whether the logarithm is what is scaled; for values that are positive.
    """

    mean: float = 0.0
    std: Positive = 1.0
    log: bool = False

    @classmethod
    def of(cls, mean: float, std: float) -> Standard:
        """Of what has this mean and deviation; what does not vary is scaled by its size."""
        varies = std > FLOOR * math.hypot(mean, std)
        return cls(mean, std if varies else abs(mean) or 1.0)

    @property
    def of_one_value(self) -> bool:
        """Whether it never varied in the training data, as its deviation is its size."""
        return not self.log and self.std == (abs(self.mean) or 1.0)

    def encode(self, values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Scaled values."""
        if self.log:
            values = values.clamp_min(torch.finfo(values.dtype).tiny).log()
        return (values - self.mean) / self.std


NORMALIZERS: Registry[type[Normalizer]] = Registry(
    "pelagos.normalizers",
    "normaliser",
    {kind.name: f"{__name__}:{kind.__name__}" for kind in (Identity, Statistics, WindowScaling)},
)


def normalizer_to_dict(normalizer: Normalizer) -> dict[str, Any]:
    """`{"name": …, …}` ready for JSON; without `constant` where no field is."""
    known = {"name": normalizer.name, **plain(normalizer)}
    return {key: value for key, value in known.items() if key != "constant" or value}


def normalizer_from_dict(values: Mapping[str, Any]) -> Normalizer:
    """The normaliser that `normalizer_to_dict` wrote.

    Raises:
        ValueError: unknown name or wrong contents.
    """
    values = dict(values)
    kind = NORMALIZERS.get(str(values.pop("name", None)))
    return build(kind, values, prefix="normalizer")


def _on(values: tuple[float, ...], like: Float[Tensor, "B T _ *S"]) -> Float[Tensor, "1 K ..."]:
    """Numbers of the channels, to broadcast over space: on a device from the first call on."""
    found = _kept(values, like.dtype, like.device)
    return found.reshape(1, -1, *(1,) * (like.ndim - 3))


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # first made in a prediction, they still serve training
def _kept(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def _per_channel(history: Tensor) -> tuple[int, ...]:
    """(B, C, 1, …, 1) for a history (B, T, C, *S)."""
    return (history.shape[0], history.shape[2], *(1,) * (history.ndim - 3))
