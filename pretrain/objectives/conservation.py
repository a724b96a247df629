"""A penalty on what an equation conserves: the mean of a field over its domain.

    P = mean over fields and lead times of ((⟨û_k⟩ − ⟨u_0⟩) / scale)²,    ⟨·⟩ the mean over space,

with u_0 the latest frame that the operator was given and `scale` the normaliser's. Costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ...datasets.base.annotations import Positive
from ...datasets.base.config import Checked, nearest
from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.window import Window

# Drift of the mean in the data over one window, in units of the scale: what rounding explains.
DRIFT = 1e-3


@dataclass(frozen=True)
class ConservationConfig(Checked):
    """Fields whose mean over the domain stays the same.

    Attributes:
        fields: their names.
        weight: of the penalty.
    """

    fields: tuple[str, ...]
    weight: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fields:
            raise ValueError("objective.conservation.fields must name at least one field")

    def require(self, fields: tuple[str, ...]) -> None:
        """Refuse names that are not among the fields that an operator predicts.

        Raises:
            ValueError: one is not.
        """
        for name in self.fields:
            if name not in fields:
                raise ValueError(
                    f"objective.conservation.fields: the operator predicts no {name!r}"
                    f"{nearest(name, [*fields])}"
                )


def drift(
    prediction: Float[Tensor, "B T C *S"], window: Window, names: tuple[str, ...], to: Normalizer
) -> Float[Tensor, "B T N"]:
    """How far the means of fields have moved from those of the latest frame, over the scale."""
    context, space = window.context, tuple(range(3, prediction.ndim))
    scaling = to.scaling(window.history, context.fields, context.dataset, inputs=context.inputs)
    chosen = [context.fields.index(name) for name in names]
    before = window.history[:, -1:, chosen].mean(space)
    scale = scaling.scale.flatten(2).squeeze(2)[:, chosen].unsqueeze(1)
    return (prediction[:, :, chosen].mean(space) - before) / scale


def require_conserved(window: Window, names: tuple[str, ...], normalizer: Normalizer) -> None:
    """Refuse to hold what is not conserved in the data.

    Raises:
        ValueError: the mean of a field drifts along the window.
    """
    moved = drift(window.target, window, names, normalizer).abs().amax((0, 1))
    for name, most in zip(names, moved.tolist(), strict=True):
        if most > DRIFT:
            raise ValueError(
                f"objective.conservation: the mean of {name} is not conserved in dataset "
                f"{window.dataset} (it drifts by {most:.2g} of the field's scale along a window); "
                "leave it out"
            )
