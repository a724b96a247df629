"""Where the tensors of the multiscale transformer lie in a checkpoint of the published code."""

from __future__ import annotations

from collections.abc import Iterator

from .conditioning import Conditioning
from .config import MultiscaleConfig
from .operator import MultiscaleTransformer

# Of each of our tensors: pieces (name, shape) to concatenate.
Pieces = dict[str, list[tuple[str, tuple[int, ...]]]]


def pieces_of(operator: MultiscaleTransformer) -> Pieces:
    """Where each of our tensors lies in a published checkpoint."""
    config: MultiscaleConfig = operator.config
    shapes = {name: tuple(value.shape) for name, value in operator.state_dict().items()}
    pieces: Pieces = {}
    for ours, theirs in _renamed(config):
        if ours in shapes:
            pieces[ours] = [(theirs, shapes[ours])]
    if "embedding.positions" in shapes:
        positions = (1, *shapes["embedding.positions"])
        pieces["embedding.positions"] = [("embeddings.position_embeddings", positions)]
    for ours, theirs, level in _blocks(config):
        pieces |= _attention_pieces(f"{ours}.attention", f"{theirs}.attention.self", config, level)
    return pieces | _norm_pieces(operator)


def _blocks(config: MultiscaleConfig) -> Iterator[tuple[str, str, int]]:
    """Our and the published prefix of every transformer block, and its level."""
    last = len(config.depths) - 1
    for level, depth in enumerate(config.depths):
        for j in range(depth):
            yield f"encoder.{level}.{j}", f"encoder.layers.{level}.blocks.{j}", level
            yield f"decoder.{level}.{j}", f"decoder.layers.{last - level}.blocks.{j}", level


def _renamed(config: MultiscaleConfig) -> Iterator[tuple[str, str]]:
    """Tensors that only have another name (some pairs may not exist in a given config)."""
    modules = {
        "embedding.projection": "embeddings.patch_embeddings.projection",
        "recovery": "patch_recovery.projection",
        "recovery.mixing": "patch_recovery.mixup",
    }
    last = len(config.depths) - 1
    for i in range(last):
        up = f"decoder.layers.{last - 1 - i}.upsample"
        modules |= {
            f"merging.{i}.reduction": f"encoder.layers.{i}.downsample.reduction",
            f"unmerging.{i}.expansion": f"{up}.upsample",
            f"unmerging.{i}.mixing": f"{up}.mixup",
        }
    for ours, theirs, _ in _blocks(config):
        modules |= {f"{ours}.expand": f"{theirs}.intermediate.dense"}
        modules |= {f"{ours}.contract": f"{theirs}.output.dense"}
    for i, count in enumerate(config.skips):
        for k in range(count):
            modules |= _residual_modules(f"skips.{i}.{k}", f"residual_blocks.{i}.{k}")
            yield f"skips.{i}.{k}.scale", f"residual_blocks.{i}.{k}.weight"
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    for ours, theirs in modules.items():
        yield from ((f"{ours}.{kind}", f"{theirs}.{kind}") for kind in kinds)


def _residual_modules(ours: str, theirs: str) -> dict[str, str]:
    names = {"depthwise": "dwconv", "expand": "pwconv1", "contract": "pwconv2"}
    names |= {"first": "conv1", "second": "conv2", "first_norm": "bn1", "second_norm": "bn2"}
    return {f"{ours}.{a}": f"{theirs}.{b}" for a, b in names.items()}


def _attention_pieces(ours: str, theirs: str, config: MultiscaleConfig, level: int) -> Pieces:
    channels, heads = config.channels(level), config.heads[level]
    square, hidden = (channels, channels), 512
    mlp, dense = f"{theirs}.continuous_position_bias_mlp", theirs.removesuffix("self")
    dense += "output.dense"
    pieces: Pieces = {
        f"{ours}.weight": [(f"{theirs}.{x}.weight", square) for x in ("value", "query", "key")],
        f"{ours}.log_scale": [(f"{theirs}.logit_scale", (heads, 1, 1))],
        f"{ours}.position.hidden_weight": [(f"{mlp}.0.weight", (hidden, 2))],
        f"{ours}.position.hidden_bias": [(f"{mlp}.0.bias", (hidden,))],
        f"{ours}.position.weight": [(f"{mlp}.2.weight", (heads, hidden))],
        f"{ours}.output_weight": [(f"{dense}.weight", square)],
        f"{ours}.output_bias": [(f"{dense}.bias", (channels,))],
    }
    if config.biased:
        pieces[f"{ours}.bias"] = [(f"{theirs}.{x}.bias", (channels,)) for x in ("value", "query")]
    return pieces


def _norm_pieces(operator: MultiscaleTransformer) -> Pieces:
    """Gains and shifts of all norms lie in four vectors here, and norm by norm there."""
    config: MultiscaleConfig = operator.config
    names, conditioning = _norm_names(config), operator.conditioning
    assert isinstance(conditioning, Conditioning)
    pieces: Pieces = {}
    for ours, theirs in (("gain", "weight"), ("shift", "bias")):
        rows = [(names[norm], size) for norm, size in conditioning.norms.items()]
        if config.conditional:
            slope = [(f"{name}.{theirs}.weight", (size, 1)) for name, size in rows]
            pieces[f"conditioning.{ours}_slope"] = slope
        suffix = f"{theirs}.bias" if config.conditional else theirs
        pieces[f"conditioning.{ours}_offset"] = [(f"{n}.{suffix}", (size,)) for n, size in rows]
    return pieces


def _norm_names(config: MultiscaleConfig) -> dict[str, str]:
    names = {"embedding": "embeddings.norm"}
    last = len(config.depths) - 1
    for i in range(last):
        names[f"merging.{i}"] = f"encoder.layers.{i}.downsample.norm"
        names[f"unmerging.{i}"] = f"decoder.layers.{last - 1 - i}.upsample.norm"
    for ours, theirs, _ in _blocks(config):
        names[f"{ours}.attention"] = f"{theirs}.layernorm_before"
        names[f"{ours}.mlp"] = f"{theirs}.layernorm_after"
    for i, count in enumerate(config.skips):
        for k in range(count):
            names[f"skips.{i}.{k}"] = f"residual_blocks.{i}.{k}.norm"
    return names
