"""Weights of the published DyMixOp code: in, and out again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...datasets.base.appearing import appearing_folder
from ..core.checkpoint import HUB
from ..core.description import Description
from ..core.foreign import read_json, read_tensors, required
from ..core.published import PublishedLayout
from ..core.registry import create
from ..core.tensors import load_state
from ..core.writing import write_tensors
from .operator import DyMixOp, DyMixOpConfig

# Published DyMixOp config keys and ours; everything else has one meaning in both.
_DYMIXOP_KEYS = {
    "coor_input_dim": "ndim",
    "hidden_dim": "hidden",
    "num_layers": "layers",
    "global_modes": "modes",
    "kernel_size": "kernel_size",
    "A_op_ks": "mixing_kernel_size",
    "num_nonlinear": "nonlinear_branches",
    "num_linear": "linear_branches",
}


def load_dymixop(
    path: str | Path,
    *,
    config: str | Path | None = None,
    fields: tuple[str, ...] | None = None,
    grid_width: float = 1.0,
) -> DyMixOp:
    """Open weights trained with the published DyMixOp code.

    The operator computes the function as published: the published code calls its stack with the
    grid width and the structure-change coefficient swapped, so that the gate sees the grid width
    (over the inference scale factor) and the finite differences are never divided; every axis wraps
    around.

    Args:
        path: a checkpoint file of the published trainer (`checkpoint_at_end.pth`, …) or a bare
            state dict, `.pth` or `.safetensors` (in which complex weights are pairs `X_real`,
            `X_imag`); or a directory that holds one such file.
        config: the JSON that the training was configured by (or its "model" section alone);
            `config.json` beside the weights if not given.
        fields: names of the channels; u0, u1, … if not given.
        grid_width: third argument of the published model call.

    Raises:
        ValueError: a file or key is missing, or the tensors do not fit the config.
    """
    weights = _weights_file(Path(path))
    directory = weights.parent
    published = _configuration(directory / "config.json" if config is None else Path(config))
    channels = required(published, "input_dim", directory)
    if channels != published.get("output_dim", channels):
        raise ValueError(
            f"{directory}: input_dim and output_dim differ; a step maps fields to fields"
        )
    if fields is None:
        fields = ("u",) if channels == 1 else tuple(f"u{i}" for i in range(channels))
    if len(fields) != channels:
        raise ValueError(f"{directory} has {channels} channel(s); got {len(fields)} field name(s)")
    known = {ours: published[key] for key, ours in _DYMIXOP_KEYS.items() if key in published}
    operator = create(
        "dymixop",
        description=Description(
            fields=fields, provenance={"source": "published DyMixOp code"}, license="MIT (code)"
        ),
        history=1 + published.get("inp_involve_history_step", 0),
        structure_change=grid_width / published.get("infer_scaling_factor", 1),
        padding="periodic",
        **known,
    )
    assert isinstance(operator, DyMixOp)
    state = _real_pairs(read_tensors(weights, "model_state_dict"))
    load_state(operator, _dymixop_from_published(state, operator), str(directory))
    return operator.eval()


def _weights_file(path: Path) -> Path:
    """The one file of weights that `path` is or holds."""
    if not path.exists():
        raise ValueError(f"no published checkpoint at {path}")
    if not path.is_dir():
        return path
    files = sorted(f for f in path.iterdir() if f.suffix in (".safetensors", ".pth", ".pt"))
    if len(files) != 1:
        raise ValueError(
            f"{path} must hold one .safetensors or .pth file of weights; it has "
            f"{', '.join(f.name for f in files) or 'none'}. Name the file itself"
        )
    return files[0]


def _configuration(file: Path) -> dict[str, Any]:
    """The published configuration of the model."""
    if not file.is_file():
        raise ValueError(
            f"no configuration at {file}; name the JSON of the training (--config, in Python "
            "config=)"
        )
    published = read_json(file)
    return published.get("model", published)


def _real_pairs(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same state with every complex tensor X as X_real and X_imag."""
    pairs: dict[str, Tensor] = {}
    for name, value in state.items():
        if value.is_complex():
            pairs |= {f"{name}_real": value.real, f"{name}_imag": value.imag}
        else:
            pairs[name] = value
    return pairs


def save_dymixop(operator: DyMixOp, directory: str | Path) -> Path:
    """Write weights that the published DyMixOp code can load (see `load_dymixop`).

    There every axis wraps around, whatever boundary the operator was trained on.

    Raises:
        ValueError: the directory exists, or the published code has no such function: finite
            differences over a grid width, or inputs other than frames and coordinates.
    """
    config: DyMixOpConfig = operator.config
    description = operator.description
    conditions = (*description.inputs, *description.extra)
    for wrong, remedy in (
        (config.resolution, "resolution: [] (finite differences without a grid width)"),
        (config.time_input or conditions, "frames and coordinates as its only inputs"),
    ):
        if wrong:
            raise ValueError(f"the published code has no such operator; train it with {remedy}")
    published: dict[str, Any] = {key: getattr(config, ours) for key, ours in _DYMIXOP_KEYS.items()}
    channels = len(operator.description.fields)
    published |= {
        "input_dim": channels,
        "output_dim": channels,
        "inp_involve_history_step": config.history - 1,
        "infer_scaling_factor": 1 / config.structure_change,
    }
    state = dict(_dymixop_to_published(operator))
    with appearing_folder(Path(directory)) as temporary:
        text = json.dumps(published, indent=1, sort_keys=True) + "\n"
        (temporary / "config.json").write_text(text)
        write_tensors(temporary / "state_dict.safetensors", state)
    return Path(directory)


def _recognises(path: str, config: Mapping[str, Any] | None) -> bool:
    """A file or directory of weights says nothing about the code that wrote it."""
    return not path.startswith(HUB)


LAYOUT = PublishedLayout(
    operator=DyMixOp.name,
    recognises=_recognises,
    load=load_dymixop,
    save=save_dymixop,
    options=("config", "fields", "grid_width"),
)


def _dymixop_names(config: DyMixOpConfig) -> dict[str, str]:
    """Our parameter name → published name, for all real-valued tensors of the same shape."""
    convolutions = {
        "lift": "lift",
        "reduce": "reduction",
        "unreduce": "inverse_reduction",
        "unlift": "inverse_lifting",
    }
    names = {}
    for i in range(config.layers):
        ours, theirs = f"mixing.{i}", f"dyia.layers.{i}"
        convolutions |= {
            f"{ours}.expand": f"{theirs}.A_op.0",
            f"{ours}.contract": f"{theirs}.A_op.1",
        }
        for j in range(config.nonlinear_branches):
            convolutions[f"{ours}.locals.{j}"] = f"{theirs}.nonlin_layers.{j}.lt.conv"
        for q in range(config.linear_branches):
            convolutions[f"{ours}.linear.{q}"] = f"{theirs}.lin_layers.{2 * q}.conv"
            names[f"{ours}.differences.{q}.weight"] = f"{theirs}.lin_layers.{2 * q + 1}.diff.weight"
    for ours, theirs in convolutions.items():
        names |= {f"{ours}.weight": f"{theirs}.weight", f"{ours}.bias": f"{theirs}.bias"}
    return names


def _spectral_names(config: DyMixOpConfig) -> Iterator[tuple[str, str]]:
    """Our spectral weight → the published prefix of its blocks w or w1, w2, ….”"""
    for i in range(config.layers):
        for j in range(config.nonlinear_branches):
            yield f"mixing.{i}.globals.{j}.weight", f"dyia.layers.{i}.nonlin_layers.{j}.gt.w"


def _blocks(ndim: int, modes: int) -> dict[str, tuple[slice, ...]]:
    """Published block suffix → its place in our mode axes (low modes before high ones)."""
    low, high = slice(0, modes), slice(modes, 2 * modes)
    if ndim == 1:
        return {"": (low,)}
    if ndim == 2:
        return {"1": (low, low), "2": (high, low)}
    return {
        "1": (low, low, low),
        "2": (high, low, low),
        "3": (low, high, low),
        "4": (high, high, low),
    }


def _dymixop_from_published(state: dict[str, Tensor], operator: DyMixOp) -> dict[str, Tensor]:
    """Our state dict from a published one; unknown published keys are passed on to be reported."""
    config: DyMixOpConfig = operator.config
    rest = {k: v for k, v in state.items() if not k.endswith("diff.conv.weight")}
    names = _dymixop_names(config)
    own = {ours: rest.pop(theirs) for ours, theirs in names.items() if theirs in rest}
    evolution = rest.pop("dyia.evo_weights.weight", None)
    bias = rest.pop("dyia.evo_weights.bias", None)
    if evolution is not None and bias is not None:
        own |= {"evolution": evolution.flatten(), "evolution_bias": bias}
    if "dyia.lambda_" in rest:
        own["gate"] = rest.pop("dyia.lambda_").reshape(1)
    expected = operator.state_dict()
    for ours, prefix in _spectral_names(config):
        weight = torch.zeros_like(expected[ours])
        for suffix, place in _blocks(config.ndim, config.modes).items():
            parts = [rest.pop(f"{prefix}{suffix}_{part}", None) for part in ("real", "imag")]
            if parts[0] is None or parts[1] is None:
                raise ValueError(f"the published state dict lacks {prefix}{suffix}_real/_imag")
            block = torch.stack([p for p in parts if p is not None], -1)
            moved = block.movedim((0, 1), (-3, -2))
            if weight[place].shape != moved.shape:
                raise ValueError(
                    f"{prefix}{suffix} has shape {tuple(block.shape[:-1])}, which does not fit "
                    f"{config.hidden} channels and {config.modes} modes"
                )
            weight[place] = moved
        own[ours] = weight
    return own | rest


def _dymixop_to_published(operator: DyMixOp) -> Iterator[tuple[str, Tensor]]:
    config: DyMixOpConfig = operator.config
    state = {name: value.detach().cpu() for name, value in operator.state_dict().items()}
    for ours, theirs in _dymixop_names(config).items():
        yield theirs, state[ours].contiguous()
        if theirs.endswith("diff.weight"):  # registered twice in the published code
            yield theirs.replace("diff.weight", "diff.conv.weight"), state[ours].clone()
    ones = (1,) * config.ndim
    yield "dyia.evo_weights.weight", state["evolution"].reshape(1, -1, *ones).contiguous()
    yield "dyia.evo_weights.bias", state["evolution_bias"]
    yield "dyia.lambda_", state["gate"].reshape(())
    for ours, prefix in _spectral_names(config):
        for suffix, place in _blocks(config.ndim, config.modes).items():
            block = state[ours][place].movedim((-3, -2), (0, 1))
            yield f"{prefix}{suffix}_real", block[..., 0].contiguous()
            yield f"{prefix}{suffix}_imag", block[..., 1].contiguous()
