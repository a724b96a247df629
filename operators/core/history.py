"""What an operator refuses as its history."""

from __future__ import annotations

from torch import Tensor

from ...datasets.fields.window import Context
from .description import Description


def require_rank(history: Tensor, name: str, ndim: int) -> None:
    """Refuse a history that is not (B, T, C, *S) with `ndim` space axes.

    Raises:
        ValueError: another number of axes, no trajectory, or other numbers than real ones.
    """
    if not history.is_floating_point():
        dtype = str(history.dtype).removeprefix("torch.")
        raise ValueError(f"a history must hold real numbers; got {dtype} (convert it: .float())")
    if history.ndim != 3 + ndim:
        raise ValueError(
            f"{name} works in {ndim}D and needs a history (B, T, C, *S) with {ndim} space axes; "
            f"got shape {tuple(history.shape)}"
        )
    if not history.shape[0]:
        raise ValueError("a history needs at least one trajectory; got an empty batch")


def require_history(
    history: Tensor, context: Context, description: Description, frames: int
) -> None:
    """Refuse a history of other fields, inputs or frames than the operator takes.

    Raises:
        ValueError: fields or inputs are not those of the description, in order, or the shape is not
            (B, `frames`, C, *S).
    """
    expected = (frames, len(description.channels), *context.grid.shape)
    if context.fields != description.fields:
        raise ValueError(
            f"this operator maps the fields {', '.join(description.fields)}; "
            f"got {', '.join(context.fields)}. Select fields by name, or fine-tune"
        )
    if context.inputs != description.inputs:
        raise ValueError(
            f"this operator {_task(description.inputs)}; the data {_data(context.inputs)}"
        )
    if tuple(history.shape[1:]) != expected:
        raise ValueError(
            f"history must have shape (B, {', '.join(map(str, expected))}): "
            f"{frames} frame(s), {expected[1]} field(s); got {tuple(history.shape)}"
        )


def _task(inputs: tuple[str, ...]) -> str:
    return f"solves steady problems from {', '.join(inputs)}" if inputs else "steps fields in time"


def _data(inputs: tuple[str, ...]) -> str:
    return f"is steady, with inputs {', '.join(inputs)}" if inputs else "varies in time"
