"""Weights in the layout of the published multiscale transformer (scOT, Poseidon): in and out.

A directory with `config.json` and `model.safetensors` or `pytorch_model.bin`. The published
weights (hub ids such as `camlab-ethz/Poseidon-T`) are licensed CC-BY-NC-4.0.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...datasets.base.appearing import appearing_folder
from ...datasets.fields.normalization import Identity, Statistics
from ..core.checkpoint import HUB, directory_of
from ..core.description import Description
from ..core.foreign import read_json, read_tensors, required
from ..core.published import PublishedLayout
from ..core.registry import create
from ..core.writing import write_tensors
from .config import MultiscaleConfig
from .operator import MultiscaleTransformer
from .published_names import pieces_of

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "state_dict.safetensors")

# What the published checkpoints were pretrained on: fields, their statistics, snapshots per unit
# of network time, and lead times in snapshots (identity pairs included).
FLUIDS = ("density", "velocity_x", "velocity_y", "pressure")
FLUID_STATISTICS = Statistics(
    mean={"*": dict(zip(FLUIDS, (0.80, 0.0, 0.0, 0.0), strict=True))},
    std={"*": dict(zip(FLUIDS, (0.31, 0.391, 0.356, 0.185), strict=True))},
)
FLUID_FILL = {"density": 1.0, "pressure": 0.0}  # in the incompressible flows among them
FLUID_TIME_SCALE = 20.0
FLUID_TIME_STEPS = tuple(float(step) for step in range(0, 21, 2))
FLUID_LICENSE = "CC-BY-NC-4.0 (published Poseidon weights: not for commercial use)"
NO_LICENSE = "unknown: the checkpoint carries no licence; ask its authors before passing it on"

# Published config keys, ours, and the published default.
_KEYS: dict[str, tuple[str, Any]] = {
    "embed_dim": ("width", 96),
    "depths": ("depths", (2, 2, 6, 2)),
    "num_heads": ("heads", (3, 6, 12, 24)),
    "skip_connections": ("skips", (1, 1, 1)),
    "patch_size": ("patch", 4),
    "window_size": ("window", 7),
    "mlp_ratio": ("mlp_ratio", 4.0),
    "use_conditioning": ("conditional", False),
    "residual_model": ("residual_block", "convnext"),
    "qkv_bias": ("biased", True),
    "learn_residual": ("learn_residual", False),
    "use_absolute_embeddings": ("absolute_positions", False),
    "layer_norm_eps": ("eps", 1e-5),
    "drop_path_rate": ("drop_path", 0.1),
}
# Buffers that old versions of the published code stored; they follow from the config.
_DERIVED = ("relative_coords_table", "relative_position_index")


def load_scot(
    path: str | Path,
    *,
    fields: tuple[str, ...] | None = None,
    normalization: str = "identity",
    constants: tuple[str, ...] = (),
    license: str | None = None,
) -> MultiscaleTransformer:
    """Open weights of the published scOT code, the Poseidon checkpoints among them.

    With `normalization="identity"` the operator computes the published function as it is: fields
    in the network's units, time in the network's unit. With "fluids" it brings what the published
    Poseidon checkpoints were pretrained with: mean and standard deviation of density, velocity and
    pressure, a time scale of 20 snapshots (dt then counts snapshots of the published datasets),
    lead times of 0 to 20 snapshots, the values that stand for density and pressure in data without
    them, and the licence.

    The published config is kept in the description's provenance and written back by `save_scot`.

    Args:
        path: directory, or a `hf:owner/model` of the Hugging Face hub.
        fields: names of the channels; the fluid fields for 4 output channels, otherwise u0, u1, ….
        normalization: "identity" or "fluids".
        constants: names of input channels beyond the output channels.
        license: licence of the weights, where the caller knows it.

    Raises:
        ValueError: a file or key is missing, the config asks for something that scOT does not
            have, tensors are missing, unexpected or of another shape, or names do not fit.
    """
    directory = directory_of(path, (CONFIG, *WEIGHTS))
    published = read_json(directory / CONFIG)
    config = _config_from_published(published, directory)
    names = _field_names(fields, required(published, "num_out_channels", directory), directory)
    constants = _constant_names(constants, published, directory)
    description = _describe(names, constants, normalization, license, published)
    operator = create("multiscale", description=description, **vars(config))
    assert isinstance(operator, MultiscaleTransformer)
    file = next((name for name in WEIGHTS if (directory / name).is_file()), WEIGHTS[0])
    _fill(operator, read_tensors(directory / file), str(directory))
    if operator.lets_masked_through():
        operator.config = replace(config, edges="masked")
    return operator.eval()


def save_scot(operator: MultiscaleTransformer, directory: str | Path) -> Path:
    """Write a directory that the published code and `load_scot` can open.

    Raises:
        ValueError: the directory exists, or the operator is not one that the published code has
            (2D, on a square resolution, without periodic boundaries).
    """
    config, state = _config_to_published(operator), dict(_to_published(operator))
    if operator.config.edges == "cut" and operator.lets_masked_through():
        warnings.warn(
            "attention of these weights is so sharp that the published code lets tokens beyond the "
            "edges through its mask: it computes something else near them",
            stacklevel=2,
        )
    with appearing_folder(Path(directory)) as temporary:
        (temporary / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        write_tensors(temporary / WEIGHTS[0], state, {"format": "pt"})
    return Path(directory)


def _recognises(path: str, config: Mapping[str, Any] | None) -> bool:
    return path.startswith(HUB) or "num_out_channels" in (config or ())


LAYOUT = PublishedLayout(
    operator=MultiscaleTransformer.name,
    recognises=_recognises,
    load=load_scot,
    save=save_scot,
    options=("fields", "normalization", "constants", "license"),
)


def _config_from_published(published: Mapping[str, Any], directory: Path) -> MultiscaleConfig:
    for key in ("image_size", "num_channels", "num_out_channels"):
        required(dict(published), key, directory)
    _refuse_foreign(published, directory)
    size = _square(published["image_size"], "image_size", directory)
    values = {ours: published.get(key, default) for key, (ours, default) in _KEYS.items()}
    values["patch"] = _square(values["patch"], "patch_size", directory)
    for name in ("depths", "heads", "skips"):
        values[name] = tuple(int(value) for value in values[name])
    # The published code ignores learn_residual without conditioning.
    values["learn_residual"] = values["learn_residual"] and values["conditional"]
    return MultiscaleConfig(ndim=2, resolution=(size, size), **values)


def _constant_names(
    constants: tuple[str, ...], published: Mapping[str, Any], directory: Path
) -> tuple[str, ...]:
    """Names of the input channels beyond the output channels, which are constant fields."""
    extra = published["num_channels"] - published["num_out_channels"]
    if extra < 0:
        raise ValueError(f"{directory} has fewer input channels than output channels")
    if constants and len(constants) != extra:
        raise ValueError(
            f"{directory} has {extra} input channel(s) beyond its output channels; "
            f"got {len(constants)} name(s) of constant fields"
        )
    return constants or tuple(f"constant{i}" for i in range(extra))


def _refuse_foreign(published: Mapping[str, Any], directory: Path) -> None:
    """Options of the config that would change the function and that scOT checkpoints never use."""
    if published.get("hidden_act", "gelu") != "gelu":
        raise ValueError(
            f"{directory} asks for hidden_act {published['hidden_act']!r}; only 'gelu' is known"
        )
    for key in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        if published.get(key, 0):
            raise ValueError(
                f"{directory} asks for {key} {published[key]}, which is not supported; set it to 0 "
                "in its config.json (predictions stay the same, only training would differ)"
            )
    if any(published.get("pretrained_window_sizes") or ()):
        raise ValueError(
            f"{directory} asks for pretrained_window_sizes "
            f"{published['pretrained_window_sizes']}; only zeros are known"
        )


def _square(value: Any, key: str, directory: Path) -> int:
    sizes = set(value) if isinstance(value, (list, tuple)) else {value}
    if len(sizes) != 1:
        raise ValueError(
            f"{directory}: {key} is {value}, but published checkpoints are square; "
            "build a rectangular operator with create('multiscale', …)"
        )
    return int(sizes.pop())


def _field_names(fields: tuple[str, ...] | None, count: int, directory: Path) -> tuple[str, ...]:
    if fields is None:
        fields = FLUIDS if count == len(FLUIDS) else tuple(f"u{i}" for i in range(count))
    if len(fields) != count:
        raise ValueError(f"{directory} has {count} channel(s); got {len(fields)} field name(s)")
    return fields


def _describe(
    fields: tuple[str, ...],
    constants: tuple[str, ...],
    normalization: str,
    license: str | None,
    published: dict[str, Any],
) -> Description:
    provenance = {"source": "published scOT layout", "published_config": published}
    if normalization == "identity":
        return Description(
            fields,
            normalizer=Identity(),
            constant_fields=constants,
            provenance=provenance,
            license=license or NO_LICENSE,
        )
    if normalization != "fluids":
        raise ValueError(f"normalization must be 'identity' or 'fluids'; got {normalization!r}")
    if set(fields) != set(FLUIDS):
        raise ValueError(
            f"normalization 'fluids' is known for {', '.join(FLUIDS)}; got {', '.join(fields)}"
        )
    return Description(
        fields,
        normalizer=FLUID_STATISTICS,
        constant_fields=constants,
        fill=FLUID_FILL,
        time_scale=FLUID_TIME_SCALE,
        time_steps=FLUID_TIME_STEPS,
        provenance=provenance,
        license=license or FLUID_LICENSE,
    )


def _config_to_published(operator: MultiscaleTransformer) -> dict[str, Any]:
    config: MultiscaleConfig = operator.config
    square = len(config.resolution) == 2 and len(set(config.resolution)) == 1
    if config.ndim != 2 or not square or config.periodic:
        raise ValueError(
            "the published code is 2D, on a square resolution, without periodic boundaries; "
            f"got ndim {config.ndim}, resolution {config.resolution}, periodic {config.periodic}"
        )
    description = operator.description
    channels = len(description.fields)
    extra = len(description.extra)
    original = description.provenance.get("published_config", {})
    values = {key: getattr(config, ours) for key, (ours, _) in _KEYS.items()}
    if not config.conditional and "learn_residual" in original:
        values["learn_residual"] = original["learn_residual"]
    published = {
        "architectures": ["SwinForPDE"],
        "model_type": "swinv2",
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "torch_dtype": "float32",
        **original,
        **{key: list(v) if isinstance(v, tuple) else v for key, v in values.items()},
        "image_size": config.resolution[0],
        "num_channels": channels + extra,
        "num_out_channels": channels,
    }
    return published


def _fill(operator: MultiscaleTransformer, state: dict[str, Tensor], source: str) -> None:
    """Copy published tensors into the operator; every tensor must fit."""
    pieces = pieces_of(operator)
    expected = dict(piece for row in pieces.values() for piece in row)
    found = {name: v for name, v in state.items() if not name.endswith(_DERIVED)}
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in expected]
    problems += [
        f"{name} is {tuple(found[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if name in found and tuple(found[name].shape) != shape
    ]
    problems += [
        f"{name} is not finite"
        for name in expected
        if name in found and not found[name].isfinite().all()
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(f"{source} does not fit its config: {'; '.join(problems[:5])}{more}")
    with torch.no_grad():
        for ours, own in operator.state_dict().items():
            parts = [found[name].reshape(-1) for name, _ in pieces[ours]]
            own.copy_(torch.cat(parts).reshape(own.shape))


def _to_published(operator: MultiscaleTransformer) -> Iterator[tuple[str, Tensor]]:
    pieces = pieces_of(operator)
    for ours, own in operator.state_dict().items():
        sizes = [math.prod(shape) for _, shape in pieces[ours]]
        parts = own.detach().cpu().reshape(-1).split(sizes)
        for (name, shape), part in zip(pieces[ours], parts, strict=True):
            yield name, part.reshape(shape).clone()
