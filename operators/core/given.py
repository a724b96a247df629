"""What people hand to a rollout: arrays, whole numbers, or one trajectory without a batch axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

LAYOUT = "(B, T, C, *S), or (T, C, *S) of one trajectory"


@dataclass(frozen=True)
class Given:
    """A history as an operator takes it, and what it was before.

    Attributes:
        history: (B, T, C, *S) real numbers.
        array: whether it was a NumPy array; predictions are then arrays, too.
        single: whether it came without a batch axis; predictions then have none either.
    """

    history: Tensor
    array: bool
    single: bool

    def back(self, frames: Iterator[Tensor]) -> Iterator[Any]:
        """Predictions (B, C, *S) in the kind of the history."""
        for frame in frames:
            fields = frame[0] if self.single else frame
            yield _array(fields) if self.array else fields


def given(history: Tensor | np.ndarray, ndim: int, like: Tensor) -> Given:
    """A history as an operator takes it.

    Arrays and whole numbers become numbers of the operator's type; a batch axis is added where
    there is none.

    Args:
        history: a tensor or array, (B, T, C, *S) or (T, C, *S).
        ndim: number of space axes.
        like: a parameter of the operator, of its type and on its device.

    Raises:
        ValueError: neither a tensor nor an array, or it holds no real numbers.
    """
    values = _tensor(history, like)
    if values.dtype in (torch.bool, torch.complex64, torch.complex128):
        dtype = str(values.dtype).removeprefix("torch.")
        raise ValueError(f"a history must hold real numbers; got {dtype}")
    if not values.is_floating_point():
        values = values.to(like.dtype)
    single = values.ndim == 2 + ndim
    return Given(values.unsqueeze(0) if single else values, isinstance(history, np.ndarray), single)


def require_finite(history: Tensor, fields: Sequence[str]) -> None:
    """Refuse a history with a value that is missing or infinite: the whole forecast would be so.

    Args:
        history: (B, T, C, *S).
        fields: names of its channels.

    Raises:
        ValueError: NaN or infinity; field, frame and trajectory are named.
    """
    broken = ~history.isfinite()
    if not broken.any():
        return
    where = broken.nonzero()[0].tolist()
    trajectory, frame, channel = where[:3]
    name = fields[channel] if channel < len(fields) else f"channel {channel}"
    value = history[tuple(where)].item()
    of = f", trajectory {trajectory}" if len(history) > 1 else ""
    raise ValueError(
        f"the history is not finite: {name} has {value} in frame {frame} of "
        f"{history.shape[1]}{of} ({int(broken.sum())} such value(s) in all); fill them, or leave "
        "the frame out"
    )


def _array(fields: Tensor) -> np.ndarray:
    if fields.dtype == torch.bfloat16:  # which NumPy does not have
        fields = fields.float()
    return fields.cpu().numpy()


def _tensor(history: Any, like: Tensor) -> Tensor:
    if isinstance(history, Tensor):
        return history
    if not isinstance(history, np.ndarray):
        raise ValueError(
            f"a history is a tensor or a NumPy array {LAYOUT}; got {type(history).__name__}"
        )
    if history.dtype.kind not in "iuf":
        raise ValueError(f"a history must hold real numbers; got {history.dtype}")
    if isinstance(history, np.ma.MaskedArray):  # what is masked has no value
        history = np.ma.filled(history.astype(np.float64), np.nan)
    return torch.from_numpy(history.astype(np.float64)).to(like)
