"""`pelagos import` and `pelagos export`: published weights into checkpoints, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter

from ...datasets.base.options import Count, File, Names, Positive, Source

if TYPE_CHECKING:
    from ...operators.core.description import Description
    from ...operators.core.operator import Operator

# Of the published layouts; each takes some of them.
OPTIONS = ("fields", "normalization", "constants", "license", "config", "grid_width")


@Parameter(name="*")
@dataclass(frozen=True)
class Published:
    """What published files do not say themselves.

    Attributes:
        from_layout: scot or dymixop (default: by what is there).
        fields: of the channels, in order (default: the fluid fields density, velocity_x, … for
            scOT with 4 of them, else u0, u1, …).
        constants: scOT: constant fields that are further input channels.
        normalization: scOT: fluids for weights that the Poseidon authors pretrained (their means,
            deviations, time and licence); identity (default): fields and times are in the network's
            units.
        time_scale: physical time of your data that the network sees as 1 (default: 1; with fluids
            20, counted in snapshots of the published datasets).
        license: scOT: licence of the weights, where you know it.
        config: DyMixOp: the JSON of its training (default: config.json beside the weights).
        grid_width: DyMixOp: third argument of the published model call (default: 1).
    """

    from_layout: str | None = None
    fields: Names | None = None
    constants: Names = ()
    normalization: Literal["identity", "fluids"] | None = None
    time_scale: Positive | None = None
    license: str | None = None
    config: File | None = None
    grid_width: Positive | None = None


def import_weights(
    weights: Source,
    out: File,
    /,
    *,
    published: Published = Published(),
    overwrite: bool = False,
) -> None:
    """Turn published weights into a checkpoint that every other command takes: a directory or
    Hugging Face repository of the scOT code (Poseidon), or a file or directory of the DyMixOp code.

    Args:
        weights: a directory, a file, or hf:owner/model.
        out: the checkpoint directory to write.
        overwrite: replace an existing checkpoint.

    Examples:
        pelagos import hf:camlab-ethz/Poseidon-T runs/poseidon-t --normalization fluids
        pelagos import downloads/poseidon runs/poseidon --normalization fluids --time-scale 1.0
        pelagos import results/checkpoint_at_end.pth runs/ks --fields u
    """
    from ...operators.core.checkpoint import require_free
    from ...operators.published import LAYOUTS, detect, load

    require_free(out, overwrite)
    layout = published.from_layout or detect(weights)
    options = {name: value for name in OPTIONS if (value := getattr(published, name))}
    for name in options:
        if name not in LAYOUTS.get(layout).options:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} has no meaning for {layout} weights; leave it out")
    operator = load(weights, layout, **options)
    if published.time_scale is not None:
        operator.description = _at_time_scale(operator, published.time_scale)
    operator.save_pretrained(out, overwrite=overwrite)
    count = sum(parameter.numel() for parameter in operator.parameters())
    description = operator.description
    print(f"{operator.name} with {count:,} parameters for {', '.join(description.fields)}")
    print(f"licence: {description.license or 'unknown'}")
    print(f"checkpoint: {out} (predict with it, or start from it: --init-from {out})")


def export_weights(
    checkpoint: File,
    out: File,
    /,
    *,
    format: Literal["published", "export", "onnx"] = "published",
    batch: Count = 1,
    dataset: str = "",
    overwrite: bool = False,
    no_verify: bool = False,
) -> None:
    """Write a checkpoint for other programs: in the layout that the published code of its operator
    opens (scOT, Poseidon, for the multiscale transformer; DyMixOp for dymixop), or one step of it
    as a program that torch.export.load or ONNX Runtime opens without Pelagos.

    Args:
        checkpoint: a checkpoint or run directory.
        out: a directory that does not exist yet; for a program a file, such as step.pt2.
        format: published: weights; export: a program, checked to give the same numbers; onnx: the
            same for ONNX, where the operator's operations allow (pip install 'pelagos[onnx]').
        batch: samples that a program takes at a time.
        dataset: as which a program scales its data, where statistics are kept by dataset.
        overwrite: replace an existing program.
        no_verify: open the checkpoint without checking its SHA-256.

    Examples:
        pelagos export runs/finetuned published/finetuned
        pelagos export runs/mine step.pt2 --format export --batch 8
        pelagos export runs/mine step.onnx --format onnx
    """
    if format != "published":
        asked = {"batch": batch, "dataset": dataset, "overwrite": overwrite}
        _export_program(checkpoint, out, not no_verify, {**asked, "onnx": format == "onnx"})
        return
    from ...datasets.fields.normalization import Identity
    from ...operators import published
    from ...operators.core.checkpoint import from_pretrained, locate

    operator = from_pretrained(locate(checkpoint), verify=not no_verify)
    print(f"published layout: {published.save(operator, out)}")
    normalizer = operator.description.normalizer.name
    if normalizer != Identity.name:
        print(
            f"It has no place for the {normalizer!r} normaliser: what the published code computes "
            "with these weights takes and gives fields scaled by it"
        )


def _export_program(checkpoint: Path, out: Path, verify: bool, asked: dict[str, Any]) -> None:
    from ...datasets.base.appearing import refuse_existing
    from ...operators.core.checkpoint import from_pretrained, locate
    from ...operators.core.exporting import export_step

    refuse_existing(out, asked["overwrite"])
    operator = from_pretrained(locate(checkpoint), verify=verify)
    says = export_step(operator, out, **asked)
    shapes = ", ".join(f"{n} {s}" for n, s in zip(says["names"], says["shapes"], strict=True))
    opened = "onnxruntime.InferenceSession" if asked["onnx"] else "torch.export.load"
    print(f"program: {out} (takes {shapes}; open it with: {opened})")
    if operator.description.bounded is not None or operator.description.conserved:
        print("masks: it knows none, and bounds (or conserves) fields over the whole grid")
    if given := ", ".join(says["prescribed"]):
        print(f"prescribed: {given} at the beginning and the end of the step")


def _at_time_scale(operator: Operator, scale: float) -> Description:
    """Another unit of time; the trained lead times stay the same for the network."""
    old = operator.description
    steps = tuple(step * scale / old.time_scale for step in old.time_steps)
    return replace(old, time_scale=scale, time_steps=steps)
