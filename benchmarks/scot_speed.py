"""The multiscale transformer against the published scOT code, with equal weights.

    python benchmarks/scot_speed.py PATH_OF_A_POSEIDON_CLONE [--compile ours] [--inference]
        [--threads 1] [--raised]

Needs the published code's requirements (transformers 4.45) in the environment. T preset, 128².
Outputs must agree to 1e-5 and gradients to 1e-4 before anything is timed. The two codes run
alternately and the medians are reported, with the median of the ratios of neighbouring runs. With
one thread the time is CPU time, which other jobs on the machine disturb less; with `--raised` the
allocator keeps what is freed, for both codes.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from pelagos.operators.compat import load_scot

sys.path.insert(0, str(Path(__file__).parent))  # a safe path leaves it out
from allocator import raise_thresholds

CONFIG = {
    "image_size": 128,
    "patch_size": 4,
    "num_channels": 4,
    "num_out_channels": 4,
    "embed_dim": 48,
    "depths": [4, 4, 4, 4],
    "num_heads": [3, 6, 12, 24],
    "skip_connections": [2, 2, 2, 0],
    "window_size": 16,
    "mlp_ratio": 4.0,
    "drop_path_rate": 0.0,
    "use_conditioning": True,
    "residual_model": "convnext",
    "channel_slice_list_normalized_loss": [0, 1, 3, 4],
}
MEMORY = ("published", "ours", "checkpointed")
FORWARD_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clone", type=Path, help="a clone of the published code")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--inference", action="store_true", help="time inference alone")
    parser.add_argument("--compile", choices=MEMORY[:2], nargs="+", default=[], metavar="CODE")
    parser.add_argument("--memory", choices=MEMORY, help="only print the peak of one code, in MiB")
    parser.add_argument("--raised", action="store_true", help="the allocator keeps what is freed")
    options = parser.parse_args()
    if options.raised:
        raise_thresholds()
    torch.set_num_threads(options.threads)
    if options.memory:
        print(f"{peak_memory(options.memory, *models(options.clone)):.0f}")
        return
    if not (options.compile or options.inference):
        # First: a child's peak is never below what its parent occupies.
        report_memory(options.clone)
    theirs, ours = models(options.clone)
    for code, model in zip(MEMORY, (theirs, ours), strict=False):
        if code in options.compile:
            model.compile(dynamic=False)
    compiled = f"compiled: {' and '.join(options.compile) or 'none'}"
    compiled += ", thresholds raised" if options.raised else ""
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads, {compiled}")
    print(f"torch {torch.__version__}, python {platform.python_version()}, fp32")
    print("| what | published, ms | ours, ms | ratio |\n|---|---|---|---|")
    for batch in options.batches:
        report(f"inference, batch {batch}", *inference(theirs, ours, batch), options.rounds)
    for batch in () if options.inference else options.batches:
        steps = training(theirs, ours, batch)
        report(f"forward and backward, batch {batch}", *steps[:2], options.rounds)
        report(f"training step with fused AdamW, batch {batch}", *steps[2:], options.rounds)


class Ours(nn.Module):
    """The network with the published call."""

    def __init__(self, operator: nn.Module) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, pixel_values: Tensor, time: Tensor) -> Tensor:
        return self.operator.network(pixel_values, time)


def models(clone: Path) -> tuple[nn.Module, Ours]:
    """The published model with lively random weights, and ours with the same."""
    sys.path.insert(0, str(clone))
    from scOT.model import ScOT, ScOTConfig

    torch.manual_seed(0)
    theirs = ScOT(ScOTConfig(**CONFIG)).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "norm" in name and name.endswith("weight.bias"):
                parameter.add_(1)
            elif "norm" in name:
                parameter.normal_(0, 0.1)
            elif parameter.ndim > 1 and "logit_scale" not in name:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
            elif name.startswith("residual_blocks") and name.endswith(".weight"):
                parameter.fill_(0.5)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        return theirs, Ours(load_scot(folder))


def sample(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, 4, 128, 128)
    x, y = (torch.randn(shape, generator=generator) for _ in range(2))
    return x, torch.rand(batch, generator=generator), y


def inference(theirs: nn.Module, ours: nn.Module, batch: int) -> tuple[Callable, Callable]:
    x, t, _ = sample(batch)
    for model in (theirs, ours):
        model.eval()
    with torch.no_grad():
        expected, found = theirs(pixel_values=x, time=t).output, ours(x, t)
    check("outputs", found, expected, FORWARD_TOLERANCE)

    @torch.no_grad()
    def published() -> None:
        theirs(pixel_values=x, time=t)

    @torch.no_grad()
    def own() -> None:
        ours(x, t)

    return published, own


def training(theirs: nn.Module, ours: nn.Module, batch: int) -> tuple[Callable, ...]:
    """Forward, loss and backward, without and with an AdamW step (of rate 0: both stay equal)."""
    x, t, y = sample(batch)
    for model in (theirs, ours):
        model.train()
    predict = {theirs: lambda: theirs(pixel_values=x, time=t).output, ours: lambda: ours(x, t)}
    optimizers = {
        model: torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0, fused=True)
        for model in predict
    }

    def gradients(model: nn.Module) -> None:
        optimizers[model].zero_grad()
        (predict[model]() - y).square().mean().backward()

    def step(model: nn.Module) -> None:
        gradients(model)
        optimizers[model].step()

    for model in predict:
        step(model)
    name = "embeddings.patch_embeddings.projection.weight"
    expected = theirs.get_parameter(name).grad
    found = ours.get_parameter("operator.embedding.projection.weight").grad
    assert expected is not None
    assert found is not None
    check("gradients of the embedding", found, expected, GRADIENT_TOLERANCE)
    return tuple(partial(f, model) for f in (gradients, step) for model in (theirs, ours))


def peak_memory(kind: str, theirs: nn.Module, ours: Ours) -> float:
    """Growth of the process over one forward and backward pass, in MiB."""
    x, t, y = sample(4)
    if kind == "checkpointed":
        config = replace(ours.operator.config, checkpoint_activations=True)
        ours.operator.config = config
    model = theirs if kind == "published" else ours
    model.train()

    def step() -> None:
        output = theirs(pixel_values=x, time=t).output if kind == "published" else ours(x, t)
        (output - y).square().mean().backward()

    return growth(step)


def growth(function: Callable) -> float:
    """By how much the process grows at most while the function runs, in MiB (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # give back what building the models left behind
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = _status("VmRSS")
    function()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(key)))


def report_memory(clone: Path) -> None:
    print("Extra peak memory of forward and backward, batch 4:")
    for kind in MEMORY:
        command = [sys.executable, __file__, str(clone), "--memory", kind]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"{kind}: {found.strip()} MiB")


def check(what: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    print(f"<!-- {what} agree to {error:.1e} -->")
    if not error < tolerance:
        raise SystemExit(f"{what} differ by {error:.1e}; nothing was timed")


def report(what: str, published: Callable, own: Callable, rounds: int) -> None:
    rows = []
    for _ in range(2):
        published(), own()
    for _ in range(rounds):
        rows.append((seconds(published), seconds(own)))
    a, b = (1e3 * statistics.median(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(x / y for x, y in rows)
    print(f"| {what} | {a:.0f} | {b:.0f} | {ratio:.2f} |", flush=True)


def seconds(function: Callable) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    function()
    return clock() - start


if __name__ == "__main__":
    main()
