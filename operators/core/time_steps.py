"""Which time steps an operator takes: the one place that says when two of them are the same."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from .transforms import values_of

# Relative difference below which two time steps are the same (times are often stored in float32).
SAME_STEP = 1e-3


def same_step(a: float, b: float) -> bool:
    """Whether two time steps are the same, up to rounding."""
    return abs(a - b) <= SAME_STEP * max(abs(a), abs(b))


def within(value: float, low: float, high: float) -> bool:
    """Whether a time step lies in a range, up to rounding."""
    return low * (1 - SAME_STEP) <= value <= high * (1 + SAME_STEP)


@dataclass(frozen=True)
class TimeSteps:
    """The time steps of an operator, in physical time.

    Tensors are looked at on the host only: nothing waits for a device.

    Attributes:
        name: of the operator, for messages.
        trained: what it was trained at; empty if unknown.
        continuous: whether it takes any step > 0, and only warns outside the trained range.
    """

    name: str
    trained: tuple[float, ...]
    continuous: bool

    def check_spacing(self, dt: float | None) -> None:
        """Refuse a spacing of the history by which the operator cannot step.

        Raises:
            ValueError: it was never trained at it, and is not continuous.
        """
        if dt is None or self.continuous or not self.trained:
            return
        if not any(same_step(dt, step) for step in self.trained):
            raise ValueError(
                f"this {self.name} was trained at dt = "
                f"{', '.join(f'{step:g}' for step in self.trained)} and cannot step by {dt:g}; "
                "use data at a trained dt (a stride changes it), or fine-tune"
            )

    def stride(self, dt: float, data: str) -> int:
        """Frames per step: the smallest number that makes a trained time step.

        An operator that is continuous in time may step by anything not below the shortest of them.

        Args:
            dt: time between frames.
            data: what they are of, for messages.

        Raises:
            ValueError: no trained step is a multiple of `dt`.
        """
        if not self.trained:
            return 1
        strides = [max(1, round(step / dt)) for step in self.trained]
        fitting = [
            stride
            for stride, step in zip(strides, self.trained, strict=True)
            if abs(stride * dt - step) <= SAME_STEP * step
        ]
        if fitting:
            return min(fitting)
        if self.continuous:
            shortest = min((step for step in self.trained if step > 0), default=dt)
            return max(1, math.ceil(shortest / dt * (1 - SAME_STEP)))
        raise ValueError(
            f"this {self.name} was trained at dt = {', '.join(f'{s:g}' for s in self.trained)}, "
            f"no multiple of the dt = {dt:g} of {data}; fine-tune on it, or use data "
            "stored at a dividing dt"
        )

    def check_steps(self, dt: Tensor, spacing: float | None) -> None:
        """Refuse steps that the operator cannot take.

        Args:
            dt: of any shape.
            spacing: of the history, where it is known.

        Raises:
            ValueError: not positive, or of an operator that is not continuous: not the history's
                spacing, or never trained at.
        """
        values = _values(dt)
        for value in values:
            _require(value > 0, value)
            if self.continuous:
                continue
            if spacing is not None and not same_step(value, spacing):
                raise ValueError(
                    f"the history is spaced by dt = {spacing:g} but the step is {value:g}; "
                    f"{self.name} needs both to be the same"
                )
            self.check_spacing(value)
        if self.continuous:
            self._warn_outside("time step", values)

    def check_leads(self, leads: Tensor) -> None:
        """Refuse impossible lead times of a direct prediction; 0 is the given frame.

        Raises:
            ValueError: one is negative or not finite.
        """
        values = _values(leads)
        for value in values:
            _require(value >= 0, value)
        self._warn_outside("lead time", [value for value in values if value])

    def _warn_outside(self, kind: str, values: list[float]) -> None:
        """Warn once about those outside the trained range."""
        low, high = min(self.trained, default=0.0), max(self.trained, default=math.inf)
        outside = [value for value in values if not within(value, low, high)]
        if outside:
            warnings.warn(
                f"{kind} {outside[0]:g} is outside the trained range {low:g} … {high:g}; the "
                "prediction is an extrapolation",
                stacklevel=5,  # who called `Operator.step` or the operator
            )


def _values(times: Tensor) -> list[float]:
    told = times.device.type == "cpu" and not torch.compiler.is_compiling()
    return sorted(set(values_of(times))) if told else []


def _require(possible: bool, value: float) -> None:
    if not (possible and math.isfinite(value)):
        raise ValueError(f"dt must be positive and finite; got {value:g}")
