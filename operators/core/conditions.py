"""The extra inputs of an operator: constant fields and parameters, by name, scaled, as channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.window import Context
from .description import Description


@dataclass(frozen=True)
class Conditions:
    """The extra inputs of an operator, scaled, in the order of its description.

    Attributes:
        constants: (B, K, *S) `description.constant_fields`; None if it names none.
        parameters: (B, P) `description.parameters`; None if it names none.
    """

    constants: Tensor | None = None
    parameters: Tensor | None = None

    def channels(self, like: Float[Tensor, "B C *S"]) -> Iterator[Float[Tensor, "B _ *S"]]:
        """Constant fields, then parameters (the same at every point), as channels.

        Args:
            like: fields on the same grid; the channels get their type and device.
        """
        if self.constants is not None:
            yield _moved(self.constants, like)
        if self.parameters is not None:
            yield everywhere(_moved(self.parameters, like), tuple(like.shape[2:]))


def everywhere(values: Float[Tensor, "B P"], points: tuple[int, ...]) -> Float[Tensor, "B P *S"]:
    """The same values at every point of a grid (a view)."""
    return values.reshape(*values.shape, *(1,) * len(points)).expand(-1, -1, *points)


def conditions_of(context: Context, description: Description, name: str) -> Conditions:
    """The constant fields and parameters that a description names, scaled.

    Args:
        context: of a window.
        description: of the operator.
        name: the operator's, for messages.

    Raises:
        ValueError: the context lacks one, or a parameter that is scaled by its logarithm is not
            positive.
    """
    fields, parameters = description.constant_fields, description.parameters
    dataset = context.dataset
    constants = _Known("constant field", context.constant_fields, context.constants, dataset)
    numbers = _Known("parameter", context.parameter_names, context.parameters, dataset)
    return Conditions(
        constants.scaled(fields, description, name), numbers.scaled(parameters, description, name)
    )


@dataclass(frozen=True)
class _Known:
    """What a dataset has of one kind: `names` along axis 1 of `values`."""

    kind: str
    names: tuple[str, ...]
    values: Tensor | None
    dataset: str

    def scaled(self, names: tuple[str, ...], description: Description, name: str) -> Tensor | None:
        """The values `names`, scaled; None if there are none."""
        missing = [wanted for wanted in names if wanted not in self.names or self.values is None]
        if missing:
            raise ValueError(
                f"this {name} takes the {self.kind}(s) {', '.join(names)} as extra inputs, and "
                f"dataset {self.dataset!r} has {', '.join(self.names) or 'none'}; add "
                f"{', '.join(missing)} to the data, or fine-tune with other `conditions`"
            )
        if not names or self.values is None:
            return None
        scaled = []
        for wanted in names:
            scale, value = description.scale_of(wanted), self.values[:, self.names.index(wanted)]
            if scale.log and value.device.type == "cpu" and not (value > 0).all():
                raise ValueError(
                    f"the {self.kind} {wanted} of dataset {self.dataset!r} must be positive"
                )
            scaled.append(scale.encode(value))
        return torch.stack(scaled, 1)


def _moved(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.device, like.dtype, non_blocking=like.device.type != "cpu")
