"""What pretraining Poseidon's models costs: computed, not measured.

    python benchmarks/planning.py [--presets T B L] [--share 0.3]

Products of one training sample are counted by PyTorch's counter, and operations of a micro-batch
(views left out) as they are dispatched, forward and backward, as executed on a CPU. A step takes
what the products take at an assumed share of an H100's peak (989 TFLOP/s, bf16, dense), or what it
takes to launch the operations at 5 µs each, whichever is more; gradients are exchanged over the
links (450 GB/s inside a node, 50 GB/s beyond), in part meanwhile. Loading and validation are left
out: a real run takes longer.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context
from pelagos.operators import create
from pelagos.operators.core.operator import Operator
from pelagos.pretrain.trial import Operations

PEAK = 989e12  # FLOP/s
LAUNCH = 5e-6  # seconds
LINK = {8: 450e9, 64: 50e9}  # bytes/s and direction of a GPU: NVLink inside a node, 400 Gb/s beyond
PAIRS = 5_137_440  # of an epoch (arXiv 2405.19101, appendix)
TOKENS = (128 // 4) ** 2  # of a sample: patches of 4 × 4 points
FIELDS = ("density", "velocity_x", "velocity_y", "pressure")


@dataclass(frozen=True)
class Preset:
    """A published model and its training."""

    width: int
    depth: int
    batch: int
    epochs: int


PRESETS = {"T": Preset(48, 4, 640, 40), "B": Preset(96, 8, 320, 39), "L": Preset(192, 8, 128, 20)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--share", type=float, default=0.3, help="of the peak that is reached")
    options = parser.parse_args()
    print("| | parameters | GFLOP / sample | operations | state, DDP | GPUs | products |", end="")
    print(
        " launches | exchange | tokens / s | hours |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for name in options.presets:
        preset = PRESETS[name]
        operator = build(preset)
        count = sum(p.numel() for p in operator.parameters())
        flops, launches = counted(operator)
        state = 16 * count  # parameter, gradient and two moments in single precision
        for gpus, link in LINK.items():
            products = flops * preset.batch / gpus / (options.share * PEAK)
            sent = 2 * 4 * count * (gpus - 1) / gpus  # bytes of a GPU in a step: a ring's
            exchange = sent / link
            step = max(products, LAUNCH * launches, exchange)
            hours = PAIRS * preset.epochs / preset.batch * step / 3600
            print(
                f"| {name} | {count / 1e6:.1f} M | {flops / 1e9:.0f} | {launches} | "
                f"{state / 2**30:.1f} GiB | {gpus} | {1e3 * products:.1f} ms | "
                f"{1e3 * LAUNCH * launches:.0f} ms | "
                f"{sent / 1e9:.2f} GB, {1e3 * exchange:.1f} ms | "
                f"{preset.batch * TOKENS / step / 1e6:.1f} M | {hours:.1f} |"
            )


def build(preset: Preset) -> Operator:
    """The operator with random weights."""
    return create(
        "multiscale",
        fields=FIELDS,
        ndim=2,
        width=preset.width,
        depths=[preset.depth] * 4,
        heads=[3, 6, 12, 24],
        skips=[2, 2, 2, 0],
        patch=4,
        window=16,
        resolution=[128, 128],
    )


def counted(operator: Operator) -> tuple[int, int]:
    """Of one sample's forward and backward pass: operations of products, and launches."""
    with FlopCounterMode(display=False) as counter:
        _pass(operator)
    with Operations() as operations:
        _pass(operator)
    return counter.get_total_flops(), operations.count


def _pass(operator: Operator) -> None:
    grid = Grid((128, 128), (1.0, 1.0), ("periodic", "periodic"))
    history = torch.randn(1, 1, 4, 128, 128, generator=torch.Generator().manual_seed(1))
    [out] = operator.rollout(history, Context(FIELDS, grid), dt=0.05, steps=1, gradients=True)
    out.square().mean().backward()


if __name__ == "__main__":
    main()
