"""The extra inputs of an operator, by name, scaled, as channels: constant fields, parameters, and
what is prescribed at all times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.prescribed import NotGiven, Prescribed, names_of
from ...datasets.fields.window import Context
from .description import Description

_EVER = 1e30  # a time that no forecast reaches


@dataclass(frozen=True)
class Conditions:
    """The extra inputs of an operator, scaled, in the order of its description.

    Attributes:
        constants: (B, K, *S) `description.constant_fields`; None if it names none.
        parameters: (B, P) `description.parameters`; None if it names none.
        prescribed: `description.prescribed` at all times; None if it names none.
    """

    constants: Tensor | None = None
    parameters: Tensor | None = None
    prescribed: Prescribed | None = None

    def channels(self, like: Float[Tensor, "B C *S"]) -> Iterator[Float[Tensor, "B _ *S"]]:
        """Constant fields, then parameters (the same at every point), as channels.

        Args:
            like: fields on the same grid; the channels get their type and device.
        """
        if self.constants is not None:
            yield _moved(self.constants, like)
        if self.parameters is not None:
            yield everywhere(_moved(self.parameters, like), tuple(like.shape[2:]))

    def ends(
        self, time: Float[Tensor, " B"], dt: Float[Tensor, " B"], like: Float[Tensor, "B _ *S"]
    ) -> Iterator[Float[Tensor, "B Q *S"]]:
        """What is prescribed at both ends of a step, as channels.

        Args:
            time: when it begins, after the last given frame.
            dt: physical time of the step.
            like: fields on the same grid; the channels get their type and device.

        Raises:
            ValueError: it is not given at these times.
        """
        if self.prescribed is not None:
            yield from (_moved(values, like) for values in self.prescribed.ends(time, dt))


def require_parameters(known: Sequence[str], given: Iterable[str], name: str) -> None:
    """Refuse parameters of the data that no step of an operator needs.

    Args:
        known: those that it needs.
        given: names.
        name: the operator's, for messages.

    Raises:
        ValueError: there is one.
    """
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ValueError(
            f"this {name} takes no parameter {', '.join(unknown)}; it takes "
            f"{', '.join(known) or 'none'}"
        )


def everywhere(values: Float[Tensor, "B P"], points: tuple[int, ...]) -> Float[Tensor, "B P *S"]:
    """The same values at every point of a grid (a view)."""
    return values.reshape(*values.shape, *(1,) * len(points)).expand(-1, -1, *points)


def conditions_of(context: Context, description: Description, name: str) -> Conditions:
    """The constant fields, parameters and prescribed fields that a description names, scaled.

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
        constants.scaled(fields, description, name),
        numbers.scaled(parameters, description, name),
        _prescribed(context, description, name) if description.prescribed else None,
    )


def _prescribed(context: Context, description: Description, name: str) -> Prescribed:
    """What is prescribed, scaled; a value of `fill` stands for what the data lack."""
    given, wanted = context.prescribed, description.prescribed
    known = names_of(given)
    missing = [each for each in wanted if each not in known and each not in description.fill]
    if missing:
        raise NotGiven(
            f"this {name} takes {', '.join(wanted)} as prescribed at all times of a forecast, and "
            f"{_who(context.dataset)} {', '.join(known) or 'none'}",
            f"; give {', '.join(missing)} along with the data (in a file: --prescribed-from), or "
            "fine-tune with other names in `prescribed`",
        )
    if given is None:
        given = Prescribed((), torch.tensor([[-_EVER, _EVER]]), torch.zeros(1, 2, 0))
    values = []
    for each in wanted:
        scale = description.scale_of(each)
        if each in known:
            values.append(scale.encode(given.values[:, :, known.index(each)]))
        else:
            values.append(scale.encode(given.values.new_tensor(description.fill[each])))
    shape = (*given.values.shape[:2], *context.grid.shape)
    return replace(given, names=wanted, values=torch.stack([v.expand(shape) for v in values], 2))


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
                f"{_who(self.dataset)} {', '.join(self.names) or 'none'}; add "
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


def _who(dataset: str) -> str:
    return f"dataset {dataset!r} has" if dataset else "the dataset has"


def _moved(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.device, like.dtype, non_blocking=like.device.type != "cpu")
