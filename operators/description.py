"""What an operator is about: the part of a checkpoint that is not its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..datasets import codec
from ..datasets.fields import Grid
from ..datasets.normalization import (
    Identity,
    Normalizer,
    normalizer_from_dict,
    normalizer_to_dict,
)


@dataclass(frozen=True)
class Description:
    """The fields an operator maps, in which units, scaling and time, and where it comes from.

    Attributes:
        fields: names of its channels, in order.
        units: unit of each field, where known.
        normalizer: physical units to the network's and back.
        time_scale: physical time that the network sees as 1.
        time_steps: the physical time steps it was trained at; empty if unknown.
        grid: the training grid; None if there were several or none yet.
        provenance: how it was made (recipe, datasets, seed, version, …).
        license: note on the licence of the weights; empty if none was given.
    """

    fields: tuple[str, ...]
    units: dict[str, str] = field(default_factory=dict)
    normalizer: Normalizer = field(default_factory=Identity)
    time_scale: float = 1.0
    time_steps: tuple[float, ...] = ()
    grid: Grid | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    license: str = ""

    def __post_init__(self) -> None:
        if not self.fields or len(set(self.fields)) != len(self.fields):
            raise ValueError(f"an operator needs distinct field names; got {self.fields}")
        if not self.time_scale > 0:
            raise ValueError(f"time_scale must be positive; got {self.time_scale}")


def description_to_dict(description: Description) -> dict[str, Any]:
    """Plain data ready for JSON."""
    values = codec.plain(description)
    values["normalizer"] = normalizer_to_dict(description.normalizer)
    return values


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
        **codec.arguments(Description, rest),
        normalizer=normalizer_from_dict(normalizer),
        grid=None if grid is None else codec.build(Grid, grid, prefix="grid"),
    )
