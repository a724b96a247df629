"""What a multiscale transformer is built of, and the published sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...datasets.base.annotations import AtLeastOne, Axes, BelowOne, Count, NotNegative, Positive
from ...datasets.base.config import Checked


@dataclass(frozen=True)
class MultiscaleConfig(Checked):
    """Architecture of a multiscale transformer.

    Attributes:
        ndim: space axes (1, 2 or 3).
        width: channels D of the finest level; level i has 2ⁱ·D.
        depths: transformer blocks per level, in the encoder and again in the decoder.
        heads: attention heads per level.
        skips: residual blocks on the connection from encoder to decoder, per level.
        patch: points per axis of a token.
        window: tokens per axis of an attention window.
        mlp_ratio: width of the MLPs over that of their level.
        conditional: whether the norms see the lead time; without, the operator ignores it.
        residual_block: "convnext" or "resnet".
        biased: whether queries and values have biases.
        learn_residual: predict the change of the fields instead of the fields.
        resolution: the grid that the network works on; others are Fourier-resampled to it and
            back. Empty: it works on every grid as it is. Where a recipe says nothing: the grid of
            the training data, if they share one.
        absolute_positions: learned position of every token; needs `resolution`.
        eps: ε of the norms inside blocks.
        drop_path: stochastic depth in training: probability that a sample skips a branch of the
            last block; it grows linearly from 0 along the encoder and on along the decoder.
        periodic: honour periodic axes of the grid: shifted windows and convolutions reach around.
        edges: what keeps tokens apart that are no neighbours where a window reaches over an edge:
            it is "cut" there, or they are "masked" as in the published code. Both are the same,
            unless an attention is very sharp (temperatures above 79); weights of the published code
            whose are so come with "masked".
        checkpoint_activations: recompute blocks in the backward pass instead of keeping them.
    """

    ndim: Axes
    width: AtLeastOne = 48
    depths: tuple[AtLeastOne, ...] = (4, 4, 4, 4)
    heads: tuple[AtLeastOne, ...] = (3, 6, 12, 24)
    skips: tuple[Count, ...] = (2, 2, 2, 0)
    patch: AtLeastOne = 4
    window: AtLeastOne = 16
    mlp_ratio: Positive = 4.0
    conditional: bool = True
    residual_block: Literal["convnext", "resnet"] = "convnext"
    biased: bool = True
    learn_residual: bool = False
    resolution: tuple[int, ...] = ()
    absolute_positions: bool = False
    eps: NotNegative = 1e-5
    drop_path: BelowOne = 0.0
    periodic: bool = False
    edges: Literal["cut", "masked"] = "cut"
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = {name: len(getattr(self, name)) for name in ("depths", "heads", "skips")}
        if not self.depths or len(set(levels.values())) > 1:
            raise ValueError(
                "multiscale.depths, heads and skips need one entry per level; got "
                + ", ".join(f"{count} {name}" for name, count in levels.items())
            )
        self._check_resolution()
        for level, heads in enumerate(self.heads):
            if self.channels(level) % heads:
                raise ValueError(
                    f"multiscale.heads: {heads} heads do not divide the {self.channels(level)} "
                    f"channels of level {level}"
                )

    def channels(self, level: int) -> int:
        """Width of a level."""
        return self.width * 2**level

    def _check_resolution(self) -> None:
        if self.resolution and len(self.resolution) != self.ndim:
            raise ValueError(
                f"multiscale.resolution needs {self.ndim} entries or none; got {self.resolution}"
            )
        if self.absolute_positions and not self.resolution:
            raise ValueError("multiscale.absolute_positions needs a resolution")


def _published(width: int, depth: int) -> MultiscaleConfig:
    return MultiscaleConfig(ndim=2, width=width, depths=(depth,) * 4, resolution=(128, 128))


# The published sizes: 20.8, 39.9, 157.7 and 628.6 million parameters with four fields.
PRESETS = {
    "T": _published(48, 4),
    "S": _published(48, 8),
    "B": _published(96, 8),
    "L": _published(192, 8),
}
