"""`pelagos import` and `pelagos export`: published weights into checkpoints, and back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...datasets.base import cli
from ...datasets.base.cli import Parser

if TYPE_CHECKING:
    from ...operators.core.description import Description
    from ...operators.core.operator import Operator

# Of the published layouts; each takes some of them.
OPTIONS = ("fields", "normalization", "constants", "license", "config", "grid_width")


def import_weights(argv: Sequence[str]) -> None:
    """Run `pelagos import`.

    Raises:
        ValueError: an argument is wrong, `out` exists, or as in `published.load`.
    """
    given = _import_parser().parse(argv)
    from ...operators import published
    from ...operators.core.checkpoint import require_free

    require_free(given.out, given.overwrite)
    layout = given.from_layout or published.detect(given.weights)
    options = {name: value for name in OPTIONS if (value := getattr(given, name))}
    for name in options:
        if name not in published.LAYOUTS.get(layout).options:
            raise ValueError(f"--{name} has no meaning for {layout} weights; leave it out")
    operator = published.load(given.weights, layout, **options)
    if given.time_scale is not None:
        operator.description = _at_time_scale(operator, given.time_scale)
    operator.save_pretrained(given.out, overwrite=given.overwrite)
    count = sum(parameter.numel() for parameter in operator.parameters())
    description = operator.description
    print(f"{operator.name} with {count:,} parameters for {', '.join(description.fields)}")
    print(f"licence: {description.license or 'unknown'}")
    print(f"checkpoint: {given.out} (predict with it, or start from it: --init_from {given.out})")


def export_weights(argv: Sequence[str]) -> None:
    """Run `pelagos export`.

    Raises:
        ValueError: an argument is wrong, `out` exists, or the published code has no such operator.
    """
    parser = Parser(
        "export",
        "Write a checkpoint in the layout that the published code of its operator opens: scOT "
        "(Poseidon) for the multiscale transformer, DyMixOp for dymixop.",
        ("pelagos export runs/finetuned published/finetuned",),
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint or run directory"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="a directory that does not exist yet")
    given = parser.parse(argv)
    from ...datasets.fields.normalization import Identity
    from ...operators import published
    from ...operators.core.checkpoint import from_pretrained, locate

    operator = from_pretrained(locate(given.checkpoint))
    print(f"published layout: {published.save(operator, given.out)}")
    normalizer = operator.description.normalizer.name
    if normalizer != Identity.name:
        print(
            f"It has no place for the {normalizer!r} normaliser: what the published code computes "
            "with these weights takes and gives fields scaled by it"
        )


def _import_parser() -> Parser:
    parser = Parser(
        "import",
        "Turn published weights into a checkpoint that every other command takes: a directory or "
        "Hugging Face repository of the scOT code (Poseidon), or a file or directory of the "
        "DyMixOp code.",
        (
            "pelagos import hf:camlab-ethz/Poseidon-T runs/poseidon-t --normalization fluids",
            "pelagos import downloads/poseidon runs/poseidon --normalization fluids "
            "--time_scale 1.0",
            "pelagos import results/checkpoint_at_end.pth runs/ks --fields u",
        ),
    )
    add = parser.add_argument
    add("weights", metavar="WEIGHTS", help="a directory, a file, or hf:owner/model")
    add("out", type=Path, metavar="OUT", help="the checkpoint directory to write")
    add("--from_layout", metavar="NAME", help="scot or dymixop (default: by what is there)")
    add("--fields", type=_names, metavar="NAME,…", help="of the channels, in order (default: the "
        "fluid fields density, velocity_x, … for scOT with 4 of them, else u0, u1, …)")  # fmt: skip
    add("--constants", type=_names, default=(), metavar="NAME,…", help="scOT: constant fields "
        "that are further input channels")  # fmt: skip
    add("--normalization", choices=("identity", "fluids"), help="scOT: fluids for weights that "
        "the Poseidon authors pretrained (their means, deviations, time and licence); identity "
        "(default): fields and times are in the network's units")  # fmt: skip
    add("--time_scale", type=cli.positive, metavar="T", help="physical time of your data "
        "that the network sees as 1 (default: 1; with fluids 20, counted in snapshots of the "
        "published datasets)")  # fmt: skip
    add("--license", help="scOT: licence of the weights, where you know it")
    add("--config", type=Path, metavar="FILE", help="DyMixOp: the JSON of its training (default: "
        "config.json beside the weights)")  # fmt: skip
    add("--grid_width", type=cli.positive, metavar="H", help="DyMixOp: third argument of "
        "the published model call (default: 1)")  # fmt: skip
    add("--overwrite", action="store_true", help="replace an existing checkpoint")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"needs names separated by commas; got {text!r}")
    return names


def _at_time_scale(operator: Operator, scale: float) -> Description:
    """Another unit of time; the trained lead times stay the same for the network."""
    old = operator.description
    steps = tuple(step * scale / old.time_scale for step in old.time_steps)
    return replace(old, time_scale=scale, time_steps=steps)
