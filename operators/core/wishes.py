"""What a prediction is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

if TYPE_CHECKING:
    from .operator import Operator


@dataclass(frozen=True)
class Wishes:
    """What is predicted from given frames.

    Attributes:
        times: when: lead times after the initial time (numbers in the operator's unit, or
            timedeltas), or dates; increasing.
        steps: as many of the operator's steps instead. With neither, as many as the data have
            frames for after the initial time.
        start: the initial time, that of the last given frame: a time of the data, or a frame's
            number where they have no times. None: the last frame; of a store or file the first that
            has a history.
        mode: "autoregressive": each frame from the prediction before; "direct": each from the given
            frames alone, for operators that are continuous in time.
        parameters: name -> value, in the operator's unit, for all samples.
        prescribed: labelled data (as `predict` takes them) with what is prescribed, by name, at all
            times of the forecast; None: the data have it themselves.
        members: an ensemble: so many members, of which all but the first start from perturbed
            states; or other operators beside this one, each a member. None: no ensemble.
        perturbation: size of perturbations, in standard deviations of each field over space.
        seed: of the perturbations.
        batch: samples computed at a time.
        strict: refuse what the verdict says is outside of what was trained.
    """

    times: Any = None
    steps: int | None = None
    start: Any = None
    mode: Literal["autoregressive", "direct"] = "autoregressive"
    parameters: Mapping[str, float] = field(default_factory=dict)
    prescribed: Any = None
    members: int | Sequence[Operator] | None = None
    perturbation: float = 0.01
    seed: int = 0
    batch: int = 16
    strict: bool = False

    def __post_init__(self) -> None:
        if self.times is not None and self.steps is not None:
            raise ValueError("give either steps or times, not both")
        self._check_counts()
        if not 0 <= self.perturbation < math.inf:
            raise ValueError(
                f"perturbation must be finite and not negative; got {self.perturbation:g}"
            )
        for name, value in self.parameters.items():
            if not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(f"parameter {name} must be a finite number; got {value!r}")
        if self.mode not in ("autoregressive", "direct"):
            raise ValueError(f"mode is autoregressive or direct; got {self.mode!r}")

    def _check_counts(self) -> None:
        """Whole numbers, and no text in the place of operators."""
        others = self.members if isinstance(self.members, Sequence) else ()
        if not isinstance(self.members, (Integral, Sequence, NoneType)) or not all(
            isinstance(other, nn.Module) for other in others
        ):
            raise ValueError(
                f"members must be a whole number, or other operators; got {self.members!r}"
            )
        counts = {"steps": self.steps, "batch": self.batch}
        for name, value in counts.items():
            if value is not None and not isinstance(value, Integral):
                raise ValueError(f"{name} must be a whole number; got {value!r}")
        for name, value in {**counts, "members": self.members}.items():
            if isinstance(value, Integral) and int(value) < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")
        if not isinstance(self.seed, Integral) or int(self.seed) < 0:
            raise ValueError(f"seed must be a whole number from 0 on; got {self.seed!r}")
