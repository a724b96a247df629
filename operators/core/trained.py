"""What an operator was trained on, in so far as a prediction can be compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...datasets.fields.grid import Grid
from .cloud import Cloud

Range = tuple[float, float]


@dataclass(frozen=True)
class Ranges:
    """Of one training dataset.

    Attributes:
        features: channel -> feature of `datasets.fields.features` -> smallest and largest.
        parameters: name -> smallest and largest.
        drifts: field -> "mean" or "size" -> the same of how it changes along a trajectory (see
            `drift`).
        grid: of the data.
        cloud: of the features of all channels together; None where too few states were seen.
        prescribed: name -> smallest and largest value of what is prescribed.
    """

    features: dict[str, dict[str, Range]]
    parameters: dict[str, Range] = field(default_factory=dict)
    drifts: dict[str, dict[str, Range]] = field(default_factory=dict)
    grid: Grid | None = None
    cloud: Cloud | None = None
    prescribed: dict[str, Range] = field(default_factory=dict)


Trained = Mapping[str, Ranges]
