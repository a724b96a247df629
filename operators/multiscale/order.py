"""The transformer blocks in the order in which data pass them: down the encoder, up the decoder."""

from __future__ import annotations

from .config import MultiscaleConfig


def blocks_in_order(config: MultiscaleConfig) -> tuple[tuple[str, ...], ...]:
    """Names of every block, with what leads to it from another level.

    Merging belongs to the block behind it in the encoder; unmerging, and the residual blocks
    across, to the one behind them in the decoder.
    """
    last = len(config.depths) - 1
    blocks = []
    for level, depth in enumerate(config.depths):
        leading = (f"merging.{level - 1}",) if level else ()
        blocks += _stage("encoder", level, depth, leading)
    for level in range(last, -1, -1):
        leading = (f"skips.{level}", *((f"unmerging.{level}",) if level < last else ()))
        blocks += _stage("decoder", level, config.depths[level], leading)
    return tuple(blocks)


def _stage(part: str, level: int, depth: int, leading: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [(*(() if j else leading), f"{part}.{level}.{j}") for j in range(depth)]
