"""The keys of `description.yaml`; what they mean stands in `described`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..fields.vocabulary import SPLITS
from .arrays import TIME, TRAJECTORY
from .dimensions import CHANNEL, SYNONYMS
from .source import require_prescribed

FILE = "description.yaml"
MEAN = "mean"
REST = "not "  # before the name of a mask that marks what is not predicted
MISSING = "nan"  # the mask of what is missing in every frame


@dataclass(frozen=True)
class Steps:
    """Uniform times: numbers, or what each trajectory has (an array, `@attribute`)."""

    step: float | str
    start: float | str = 0.0


@dataclass(frozen=True)
class Regrid:
    """A uniform grid onto which fields are interpolated.

    Attributes:
        to: points per axis (64×64, [64, 64], or {y: 64} for some axes), or spacings, which have a
            decimal point ([0.5, 2.5]).
        method: how.
    """

    to: str | int | float | list[int | float] | dict[str, int | float]
    method: Literal["linear", "nearest", "cubic"] = "linear"


@dataclass(frozen=True)
class Description:
    """What a file says in `description.yaml`; see the module."""

    axes: list[str] | dict[str, list[str]]
    fields: dict[str, str]
    time: str | Steps | None = None
    boundary: str | list[str] = "open"
    grid: dict[str, str | list[float]] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    prescribed: list[str] | dict[str, str] = field(default_factory=list)
    parameters: dict[str, float | str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    splits: dict[str, float | str] = field(default_factory=dict)
    join: str | list[str] = ""
    subtract: Literal["mean"] | dict[str, float | Literal["mean"]] = field(default_factory=dict)
    name: str = ""
    mask: str = MISSING
    fill: float | dict[str, float] = 0.0
    holes: Literal["refuse", "skip", "mask"] = "refuse"
    regrid: Regrid | None = None
    staggered: dict[str, str | list[str]] = field(default_factory=dict)
    padding: float | str = ""

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("fields: name at least one field; got none")
        self._take_prescribed()
        names = [*self.fields, *self.constants, *self.parameters]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"fields, constants and parameters: {name!r} is there twice")
        unknown = set(self.units) - {*names, TIME, "length"}
        if unknown:
            raise ValueError(
                f"units: no field, constant or parameter {', '.join(sorted(unknown))}; there are: "
                f"{', '.join(names)}, {TIME}, length"
            )
        self._check_fill()
        self._check_staggered()
        for axes in self.axes.values() if isinstance(self.axes, dict) else [self.axes]:
            for axis in axes:
                if axis in SYNONYMS:
                    raise ValueError(f"axes: write {SYNONYMS[axis]!r} for {axis!r}; got {axes}")
            space = [a for a in axes if a not in (TRAJECTORY, TIME, CHANNEL)]
            if len(set(axes)) < len(axes) or not 1 <= len(space) <= 3:
                raise ValueError(
                    f"axes: one to three space axes, each named once, beside {TRAJECTORY!r}, "
                    f"{TIME!r} and {CHANNEL!r}; got {axes}"
                )

    @property
    def prescribed_texts(self) -> set[str]:
        """Where the prescribed fields lie."""
        return {self.fields[name] for name in self.prescribed}

    def _take_prescribed(self) -> None:
        if isinstance(self.prescribed, dict):  # fields like the others, from here on
            twice = sorted(set(self.prescribed) & set(self.fields))
            if twice:
                raise ValueError(f"fields and prescribed: {', '.join(twice)} is there twice")
            names = [*self.prescribed]
            object.__setattr__(self, "fields", {**self.fields, **self.prescribed})
            object.__setattr__(self, "prescribed", names)
        require_prescribed("the description", self.fields, (), [*self.prescribed])

    def _check_fill(self) -> None:
        filled = set(self.fill) if isinstance(self.fill, dict) else set()
        if not filled <= set(self.fields):
            raise ValueError(
                f"fill: no field {', '.join(sorted(filled - set(self.fields)))}; there are: "
                f"{', '.join(self.fields)}"
            )
        values = self.fill.values() if isinstance(self.fill, dict) else [self.fill]
        if not all(map(math.isfinite, values)):
            raise ValueError(f"fill: the value of what is masked must be finite; got {self.fill}")

    def _check_staggered(self) -> None:
        known = [*self.fields, *self.constants]
        unknown = sorted(set(self.staggered) - set(known))
        if unknown:
            raise ValueError(
                f"staggered: no field {', '.join(unknown)}; there are: {', '.join(known)}"
            )


def find(path: Path) -> Path | None:
    """The description of a file: beside it, or at the root of its dataset."""
    folder = path.parent
    places = [path, folder] if path.is_dir() else [folder]
    if folder.name in SPLITS:
        places += (
            [folder.parent, folder.parent.parent]
            if folder.parent.name == "data"
            else [folder.parent]
        )
    return next((place / FILE for place in places if (place / FILE).is_file()), None)
