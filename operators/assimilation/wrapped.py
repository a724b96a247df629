"""Any operator that predicts, made to assimilate: the same correction behind another forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...datasets.base.annotations import Axes
from ...datasets.base.config import Checked, build, plain
from ...datasets.fields.window import Window
from ..core import registry
from ..core.description import Description
from ..core.operator import Operator
from ..core.parts import Parts
from ..core.state import FieldAxis, State
from ..core.tensors import load_state
from .correction import Correction, CorrectionConfig
from .observer import correction_axes
from .operator import Analyses, AssimilatingOperator, Feed, require_time


@dataclass(frozen=True)
class AssimilatedConfig(Checked):
    """A predictor and its correction.

    Attributes:
        predictor: `name` of a registered operator, and its own config; it may leave out `ndim`.
        ndim: space axes (1, 2 or 3).
        train_predictor: whether the predictor's weights are trained too.
        correction: of the gain.
    """

    predictor: dict[str, Any]
    ndim: Axes
    train_predictor: bool = True
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        name = self.predictor.get("name")
        if not isinstance(name, str):
            raise ValueError("assimilated.predictor needs a name, such as dymixop")
        if registry.get(name).assimilates:
            raise ValueError(f"{name} assimilates already; it needs no wrapping")


class AssimilatedOperator(AssimilatingOperator):
    """A predictor with a correction; without a measurement it is the predictor.

    The predictor keeps its history, its time steps and its way to predict.
    """

    name = "assimilated"
    Config = AssimilatedConfig
    conditioned = driven = True
    wraps = "predictor"

    def __init__(self, config: AssimilatedConfig, description: Description) -> None:
        super().__init__(config, description)
        require_time(self.name, description)
        values = {"ndim": config.ndim, **config.predictor}
        cls = registry.get(values.pop("name"))
        self.predictor: Operator = cls(build(cls.Config, values, prefix="predictor"), description)
        if self.predictor.ndim != config.ndim:
            raise ValueError(
                f"assimilated.ndim is {config.ndim} but the predictor works in "
                f"{self.predictor.ndim}D"
            )
        # Whole, as a key that is left out could mean something else to another version.
        whole = {"name": self.predictor.name, **plain(self.predictor.config)}
        self.config = replace(config, predictor=whole)
        self.correction = Correction(config.ndim, len(description.fields), config.correction)
        self.predictor.requires_grad_(config.train_predictor)

    @classmethod
    def around(
        cls, inner: Operator, config: Mapping[str, Any], *, seed: int = 0
    ) -> AssimilatedOperator:
        """The correction that `config` describes around the predictor `inner`; see `assimilate`."""
        values = {"ndim": inner.ndim, **config, cls.wraps: {"name": inner.name}}
        built = build(cls.Config, values, prefix="operator")
        return assimilate(
            inner,
            None,
            train_predictor=built.train_predictor,
            correction=built.correction,
            seed=seed,
        )

    @property
    def history(self) -> int:
        """The predictor's number of history frames."""
        return self.predictor.history

    @property
    def continuous(self) -> bool:
        """As the predictor."""
        return self.predictor.continuous

    @property
    def further_parameters(self) -> tuple[str, ...]:
        """The predictor's."""
        return self.predictor.further_parameters

    def blocks(self) -> Sequence[nn.Module]:
        """The predictor's."""
        return self.predictor.blocks()

    def parts(self) -> Parts:
        """The predictor's, where it names them, and the gain."""
        inner = self.predictor.parts().within("predictor")
        known = bool(inner.blocks)
        return replace(inner, recovery=(*inner.recovery, "correction")) if known else inner

    def field_axes(self) -> Mapping[str, FieldAxis | tuple[FieldAxis, ...]]:
        """The predictor's and the correction's."""
        inner = {f"predictor.{k}": v for k, v in self.predictor.field_axes().items()}
        return inner | correction_axes(self.correction, self.description.fields)

    def reset(self, generator: torch.Generator) -> None:
        """Fresh weights of both."""
        self.predictor.reset(generator)
        self.correction.reset(generator)

    def forecast(
        self, state: State, dt: Float[Tensor, " B"]
    ) -> tuple[State, Float[Tensor, "B C *S"]]:
        """The predictor's step."""
        return self.predictor.step(state, dt)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, window: Window, feed: Feed | None = None
    ) -> Tensor | Analyses:
        """The predictor's own prediction; with a feed, the analyses along the window."""
        if feed is not None or not self.predictor.direct:
            return super().forward(window, feed)
        prediction = self.predictor(window)
        return prediction + self._anchor() if self.training else prediction


def assimilate(
    predictor: Operator,
    frames: Float[Tensor, "N C *S"] | None,
    *,
    dataset: str = "",
    train_predictor: bool = False,
    correction: CorrectionConfig | None = None,
    seed: int = 0,
) -> AssimilatedOperator:
    """Wrap an operator, with its weights: DyMixOp, the multiscale transformer, any checkpoint.

    Args:
        predictor: the operator; its weights are copied.
        frames: some of its training data, in physical units: the gain takes errors to have their
            spectrum. None: smooth errors of no particular spectrum, to be trained or fitted.
        dataset: name of the frames, where the predictor's normaliser scales datasets apart.
        train_predictor: whether training changes them.
        correction: settings of the gain.
        seed: of the gain's initial weights.

    Raises:
        ValueError: the operator assimilates already, or the frames do not fit it.
    """
    config = AssimilatedConfig(
        predictor={"name": predictor.name, **plain(predictor.config)},
        ndim=predictor.ndim,
        train_predictor=train_predictor,
        correction=correction or CorrectionConfig(),
    )
    operator = AssimilatedOperator(config, predictor.description)
    operator.reset(torch.Generator().manual_seed(seed))
    own = {f"predictor.{name}": value for name, value in predictor.state_dict().items()}
    load_state(operator, {**operator.state_dict(), **own}, "the predictor")
    if frames is not None:
        operator.fit(frames, dataset)  # pyright: ignore[reportCallIssue]
    weight = next(predictor.parameters(), torch.zeros(()))
    operator.to(weight.device, weight.dtype)
    return operator.train(predictor.training)
