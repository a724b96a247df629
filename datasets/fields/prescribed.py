"""Prescribed fields: they change in time, are known at all times, and are never predicted.

Wind stress, a heat flux, inflow, controls. Axis letter: Q prescribed field.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

SAME = 1e-4  # of the distance of two given times, up to which a time is one of them


class NotGiven(ValueError):
    """What is prescribed is missing, or not given at all times of a forecast.

    Args:
        reason: what is missing; an attribute, for those whose people give it in another way.
        remedy: what to do, in Python and on the command line, as the text goes on.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason + remedy)
        self.reason = reason


@dataclass(frozen=True)
class Needs:
    """What is wanted as prescribed.

    Attributes:
        names: of the fields.
        units: in which they, "time" and "length" are wanted, where known.
        fill: values that stand for what the data lack.
    """

    names: tuple[str, ...]
    units: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Prescribed:
    """Prescribed fields along a trajectory, linear between the times that they are given at.

    Tensors carry a leading B where the context does.

    Attributes:
        names: of the Q fields.
        times: (B, T) of the values, increasing: physical time after the last given frame, negative
            before it. They stay on the host, as lead times do.
        values: (B, T, Q, *S) in physical units.
    """

    names: tuple[str, ...]
    times: Float[Tensor, "*B T"]
    values: Float[Tensor, "*B T Q ..."]

    def map(self, function: Callable[[Tensor], Tensor]) -> Prescribed:
        """The same with `function` of the tensors."""
        return replace(self, times=function(self.times), values=function(self.values))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Prescribed:
        """The same with its values on `device`."""
        return replace(self, values=self.values.to(device, non_blocking=non_blocking))

    def later(self, time: Float[Tensor, " B"]) -> Prescribed:
        """The same, as seen from a given frame that is so much later."""
        return replace(self, times=self.times - time.to(self.times)[:, None])

    def select(self, names: Sequence[str]) -> Prescribed:
        """Only these fields, in this order; they must be there."""
        if tuple(names) == self.names:
            return self
        axis = self.times.ndim
        index = torch.tensor([self.names.index(name) for name in names], dtype=torch.long)
        chosen = self.values.index_select(axis, index.to(self.values.device))
        return replace(self, names=tuple(names), values=chosen)

    def at(self, time: Float[Tensor, " B"]) -> Float[Tensor, "B Q *S"]:
        """The values at a time of each trajectory (batched).

        Raises:
            ValueError: they are not given at such a time.
        """
        lower, weight = self._between(time.detach().to("cpu", torch.float64))
        values = self.values.expand(len(time), *self.values.shape[1:])  # one may be that of all
        if bool((lower == lower[0]).all()) and not bool(weight.any()):
            return values[:, int(lower[0])]
        rows, device = torch.arange(len(lower), device=values.device), values.device
        below, above = (k.clamp(max=values.shape[1] - 1).to(device) for k in (lower, lower + 1))
        share = weight.to(device, values.dtype).reshape(-1, *(1,) * (values.ndim - 2))
        return torch.lerp(values[rows, below], values[rows, above], share)

    def ends(
        self, time: Float[Tensor, " B"], dt: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B Q *S"], Float[Tensor, "B Q *S"]]:
        """The values at a time of each trajectory, and `dt` after it (batched).

        Raises:
            ValueError: they are not given at such a time.
        """
        return self.at(time), self.at(time + dt.to(time))

    def warn_between(self, moments: Sequence[float]) -> None:
        """Warn where steps begin or end between the given times (of the first trajectory).

        Args:
            moments: when steps end, after the last given frame.
        """
        ends = torch.tensor((0.0, *moments), dtype=torch.float64)
        gaps = (ends[:, None] - self.times[0].double()).abs().amin(1)
        between = int((gaps > 10 * SAME * max(moments)).sum()) if len(moments) else 0
        if between and not bool((self.values == self.values[:, :1]).all()):
            warnings.warn(
                f"{', '.join(self.names)} is prescribed at other times than those of the steps: "
                f"at {between} of {len(ends)} it is taken as linear between the given ones",
                stacklevel=4,
            )

    def _between(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """The given time before a time, and how far the time is on the way to the next one."""
        moment = time[:, None]
        times = self.times.to("cpu", torch.float64).expand(len(time), -1).contiguous()
        gaps = times.diff(dim=1)
        slack = SAME * (gaps.amax(1, keepdim=True) if gaps.shape[1] else times.abs() + 1e-12)
        self._check_covered(times, moment, slack)
        count = times.shape[1]
        if count == 1:
            return torch.zeros(len(times), dtype=torch.long), torch.zeros(len(times)).double()
        lower = (torch.searchsorted(times, moment, right=True) - 1).clamp(0, count - 2)
        gap = gaps.gather(1, lower)
        share = torch.where(gap > 0, (moment - times.gather(1, lower)) / gap, 0.0).clamp(0.0, 1.0)
        share = torch.where(share < SAME, 0.0, share)
        whole = share > 1 - SAME
        return (lower + whole).squeeze(1), torch.where(whole, 0.0, share).squeeze(1)

    def _check_covered(self, times: Tensor, moment: Tensor, slack: Tensor) -> None:
        outside = (moment < times[:, :1] - slack) | (moment > times[:, -1:] + slack)
        if not outside.any():
            return
        row = int(outside.nonzero()[0, 0])
        low, high = times[row, 0].item(), times[row, -1].item()
        raise NotGiven(
            f"the prescribed {', '.join(self.names)} must be given at all times of a forecast: "
            f"time {moment[row, 0].item():g} after the last given frame is asked for, and there "
            f"are {low:g} to {high:g}",
            "; give more of them, or ask for a shorter forecast",
        )


def stacked(parts: Sequence[Prescribed], stack: Callable[[Sequence[Tensor]], Tensor]) -> Prescribed:
    """Those of single windows as a batch; all have the same names and number of times."""
    times = torch.stack([part.times for part in parts])
    return replace(parts[0], times=times, values=stack([part.values for part in parts]))


def names_of(prescribed: Prescribed | None) -> tuple[str, ...]:
    """Names of prescribed fields, where there are any."""
    return () if prescribed is None else prescribed.names


def shapes(prescribed: Prescribed, lead: tuple[int, ...], points: tuple[int, ...]) -> Any:
    """What times and values must have as shapes: name -> (value, shape)."""
    count = prescribed.times.shape[-1] if prescribed.times.ndim else 0
    return {
        "prescribed.times": (prescribed.times, (*lead, count)),
        "prescribed.values": (
            prescribed.values,
            (*lead, count, len(prescribed.names), *points),
        ),
    }
