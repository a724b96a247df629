"""DyMixOp against the published code: same weights, equal outputs, interleaved timings.

    git clone https://github.com/Lain-PY/DyMixOp ~/DyMixOp
    python benchmarks/dymixop_speed.py ~/DyMixOp/DyMixOp/Models --threads 2

Every case is measured in a process of its own, as what ran before changes how much memory the
allocator has to map anew; with `--raised` it keeps what is freed, for both codes. Printed are, as
they come: the median ratio (published / ours) of interleaved pairs for inference (10 steps) and for
a training step (10 steps unrolled, forward and backward), the median seconds and page faults of
either, and the largest difference of the outputs; then the memory that a training step adds to the
resident set. With one thread the time is CPU time, which other jobs on the machine disturb less.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators.compat import load_dymixop

sys.path.insert(0, str(Path(__file__).parent))  # a safe path leaves it out
from allocator import raise_thresholds

CASES = {
    "1D KS": {"grid": (256,), "batch": 32, "hidden_dim": 48, "num_layers": 8},
    "2D NS": {"grid": (64, 64), "batch": 4, "hidden_dim": 96, "num_layers": 4},
}
STEPS, HISTORY, MODES = 10, 10, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="the folder Models of a clone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--raised", action="store_true", help="the allocator keeps what is freed")
    arguments = parser.parse_args()
    if arguments.raised:
        raise_thresholds()
    models, threads = arguments.models, arguments.threads
    kept = ", thresholds raised" if arguments.raised else ""
    print(f"torch {torch.__version__}, {threads} threads, {arguments.pairs} pairs{kept}")
    print("| case | ratio | published, ours: seconds | page faults | difference |")
    print("|---|---|---|---|---|", flush=True)
    for train in (False, True):
        for name in CASES:
            row = in_fresh_process(ratio, models, name, train, threads, arguments.pairs)
            print(f"| {name}, {'training' if train else 'inference'} | {row} |", flush=True)
    for name in CASES:
        published, ours = (in_fresh_process(extra_memory, models, name, i) for i in (0, 1))
        print(f"{name}: a training step adds {published:.0f}, {ours:.0f} MiB", flush=True)


def in_fresh_process(function, *arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def build(case):
    """Two callables, published and ours, that unroll the same weights from the same input."""
    from DyMixOp import DyMixOp as Published

    grid, ndim = case["grid"], len(case["grid"])
    config = {
        "input_dim": 1,
        "output_dim": 1,
        "inp_involve_history_step": HISTORY - 1,
        "ar_nseq_train": STEPS,
        "ar_nseq_test": 0,
        "coor_input_dim": ndim,
        "hidden_dim": case["hidden_dim"],
        "num_layers": case["num_layers"],
        "global_modes": MODES,
    }
    torch.manual_seed(0)
    published = Published(SimpleNamespace(**config), torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        operator = load_dymixop(export(published, config, Path(folder)))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(case["batch"], HISTORY, *grid, generator=generator)
    axes = [torch.arange(n) / n for n in grid]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(x), ndim, *grid)
    context = Context(("u",), Grid.unit(grid))

    history, target = x.unsqueeze(2), torch.zeros(len(x), STEPS, 1, *grid)
    lead_times = torch.arange(1.0, STEPS + 1).expand(len(x), STEPS)
    window = Window(history, target, lead_times, context)

    def ours():
        return operator(window)

    def theirs():
        return published(x, [coordinates])

    with torch.no_grad():
        a, b = theirs(), ours()
    return theirs, ours, ((a - b).abs().max() / a.abs().max()).item()


def export(published, config, folder):
    """The published weights in the layout that `load_dymixop` reads."""
    state = {}
    for name, value in published.state_dict().items():
        if value.is_complex():
            state[f"{name}_real"] = value.real.contiguous()
            state[f"{name}_imag"] = value.imag.contiguous()
        else:
            state[name] = value.clone()
    save_file(state, folder / "state_dict.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def ratio(models, name, train, threads, pairs):
    """A row: published over ours, over interleaved pairs of which the first warms up."""
    torch.set_num_threads(threads)
    sys.path.insert(0, str(models))
    theirs, ours, difference = build(CASES[name])
    seconds, faults = [], []
    for _ in range(pairs + 1):
        before = [page_faults()]
        seconds.append([])
        for function in (theirs, ours):
            seconds[-1].append(timed(function, train))
            before.append(page_faults())
        faults.append([after - began for began, after in pairwise(before)])
    found = [a / b for a, b in seconds[1:]]
    return (
        f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}) | "
        f"{middle(seconds[1:], '.3f')} | {middle(faults[1:], '.0f')} | {difference:.1e}"
    )


def middle(rows, form):
    """Medians of the columns."""
    return ", ".join(format(statistics.median(column), form) for column in zip(*rows, strict=True))


def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def extra_memory(models, name, which):
    """Peak of the resident set in one training step, over that before it, MiB."""
    torch.set_num_threads(1)
    sys.path.insert(0, str(models))
    function = build(CASES[name])[which]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    timed(function, train=True)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def timed(function, train):
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    if train:
        function().square().mean().backward()
    else:
        with torch.no_grad():
            function()
    return clock() - began


if __name__ == "__main__":
    main()
