"""What training and fine-tuning ask of an operator, beside its predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .parts import Parts
from .state import FieldAxis

if TYPE_CHECKING:
    from .operator import Operator


class Trainable(nn.Module, ABC):
    """Draws initial weights, and says what is particular about them; by default nothing is.

    Attributes:
        name: name in the registry and in checkpoints.
        measured: config keys that a training run takes from its data where the recipe says nothing.
        timeless: config keys, and what they must be where there is no time (a steady problem).
        earlier: what checkpoints from before a config key was there meant, by key.
        resamples: whether it works on the grid of its config key `resolution`, where there is one,
            and resamples others to it and back.
        wraps: config key that holds another operator, by `name` and its own config; "": none.
    """

    name: ClassVar[str]
    measured: ClassVar[tuple[str, ...]] = ()
    timeless: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    earlier: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    resamples: ClassVar[bool] = False
    wraps: ClassVar[str] = ""

    @abstractmethod
    def reset(self, generator: torch.Generator) -> None:
        """Draw fresh initial weights."""

    def fit_to(
        self, frames: Callable[[], Float[Tensor, "N C *S"]], dataset: str = "", *, fresh: bool
    ) -> None:
        """Take from training data what is needed before training starts: by default nothing.

        Args:
            frames: reads some frames of a dataset, in physical units, where they are asked for.
            dataset: its name, where the normaliser scales datasets apart.
            fresh: whether the weights are new, and these the first data; else these add to others.
        """

    @classmethod
    def around(cls, inner: Operator, config: Mapping[str, Any], *, seed: int = 0) -> Operator:
        """An operator of this kind around another one that has its weights, of a checkpoint say.

        Args:
            inner: stands at the config key `wraps`; its weights are copied.
            config, seed: the other keys; and of the weights that `inner` does not bring.

        Raises:
            ValueError: this operator wraps none, `inner` is not one that it takes, or a key of the
                config is unknown or wrong.
        """
        raise ValueError(f"{cls.name} is built around no other operator")

    def blocks(self) -> Sequence[nn.Module]:
        """Modules that are sharded one by one: each owns what only its own `forward` uses."""
        return ()

    def parts(self) -> Parts:
        """Which parameters do what, by name, for fine-tuning; empty: it does not say."""
        return Parts()

    def field_axes(self) -> Mapping[str, FieldAxis | tuple[FieldAxis, ...]]:
        """Parameters that have an axis (or several) over fields, by parameter name."""
        return {}
