"""Rollouts per second and memory against the published codes and neuraloperator's FNO.

    git clone https://github.com/Lain-PY/DyMixOp ~/DyMixOp
    git clone https://github.com/camlab-ethz/poseidon ~/poseidon
    python benchmarks/rollout_speed.py speeds.jsonl --dymixop ~/DyMixOp/DyMixOp/Models \\
        --scot ~/poseidon --fno --threads 1 --limit 600
    python benchmarks/rollout_speed.py speeds.jsonl --table

Both codes have the same weights and must agree to 1e-4 after the first step before anything is
timed; FNO (the `[peers]` extra) is another network, of about as many parameters, on the same grid
and batch. A rollout feeds every frame back, step by step, without gradients. The two take turns
within a rollout, some steps each, so that whatever else runs meets both; every pair of turns gives
a ratio. With one thread the time is CPU time. Memory is the growth of a fresh process's peak over a
rollout. Every row is appended to the file when it is measured, and rows that are there are left
out: an interrupted run goes on. What would take longer than `--limit` seconds is not run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pelagos.datasets.fields import Context, Grid
from pelagos.operators import create

sys.path.insert(0, str(Path(__file__).parent))
import dymixop_speed
import scot_speed

STEPS = (1, 10, 100, 1_000, 10_000)
TURNS = 10  # pairs of turns of a rollout, at most: of one with fewer steps, rollouts
CASES = {
    "dymixop 1D, 256, batch 32": ("dymixop", "1D KS"),
    "dymixop 2D, 64², batch 4": ("dymixop", "2D NS"),
    "multiscale 2D, 128², batch 1": ("scot", 1),
    "multiscale 2D, 128², batch 4": ("scot", 4),
    "FNO against dymixop 2D, 64², batch 4": ("fno", "2D NS"),
}

Rollout = Callable[[], Iterator[Tensor]]  # endless


def dymixop(models: Path, name: str) -> tuple[Rollout, Rollout]:
    """Published and ours with equal weights, one step at a time."""
    sys.path.insert(0, str(models))
    dymixop_speed.STEPS = 1
    case = dymixop_speed.CASES[name]
    published, ours, _ = dymixop_speed.build(case)
    # What the two callables close over: weights, history and coordinates.
    closed = {
        key: cell.cell_contents
        for call in (published, ours)
        for key, cell in zip(call.__code__.co_freevars, call.__closure__ or (), strict=True)
    }
    model, operator, x = closed["published"], closed["operator"], closed["x"]

    def theirs() -> Iterator[Tensor]:
        history = x
        while True:
            frame = model(history, [closed["coordinates"]]).reshape(len(x), 1, *x.shape[2:])
            yield frame
            history = torch.cat((history[:, 1:], frame), 1)

    def own() -> Iterator[Tensor]:
        context = Context(("u",), Grid.unit(tuple(x.shape[2:])))
        return operator.rollout(x.unsqueeze(2), context, dt=1.0, steps=10**9)

    return theirs, own


def scot(clone: Path, batch: int) -> tuple[Rollout, Rollout]:
    """Published and ours with equal weights, every step the same lead time."""
    theirs, ours = scot_speed.models(clone)
    x, t, _ = scot_speed.sample(batch)

    def published() -> Iterator[Tensor]:
        frame = x
        while True:
            frame = theirs(pixel_values=frame, time=t).output
            yield frame

    def own() -> Iterator[Tensor]:
        frame = x
        while True:
            frame = ours(frame, t)
            yield frame

    return published, own


def fno(_: Path, name: str) -> tuple[Rollout, Rollout]:
    """An FNO of neuraloperator of about our operator's parameters, and our operator."""
    from neuralop.models import FNO

    case = dymixop_speed.CASES[name]
    grid, history = case["grid"], dymixop_speed.HISTORY
    operator = create(
        "dymixop", fields=("u",), ndim=len(grid), history=history, hidden=case["hidden_dim"],
        layers=case["num_layers"], modes=dymixop_speed.MODES,
    ).eval()  # fmt: skip
    wanted = sum(p.numel() for p in operator.parameters())
    made = (
        FNO(n_modes=(2 * dymixop_speed.MODES,) * len(grid), in_channels=history, out_channels=1,
            hidden_channels=width, n_layers=4)
        for width in range(8, 257, 8)
    )  # fmt: skip
    network = min(made, key=lambda m: abs(sum(p.numel() for p in m.parameters()) - wanted)).eval()
    x = torch.randn(case["batch"], history, *grid, generator=torch.Generator().manual_seed(1))

    def theirs() -> Iterator[Tensor]:
        frames = x
        while True:
            frame = network(frames)
            yield frame
            frames = torch.cat((frames[:, 1:], frame), 1)

    def own() -> Iterator[Tensor]:
        context = Context(("u",), Grid.unit(tuple(grid)))
        return operator.rollout(x.unsqueeze(2), context, dt=1.0, steps=10**9)

    return theirs, own


KINDS: dict[str, Callable[[Path, Any], tuple[Rollout, Rollout]]] = {
    "dymixop": dymixop, "scot": scot, "fno": fno,
}  # fmt: skip


def timed(steps: int, rollouts: tuple[Rollout, Rollout], equal: bool) -> dict[str, Any]:
    """Seconds of a rollout of either, and the median ratio of the turns."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    turns, each = min(TURNS, steps), max(1, steps // TURNS)
    spent: list[list[float]] = []
    with torch.inference_mode():
        running = [rollout() for rollout in rollouts]
        first = [next(one) for one in running]
        if equal:
            error = (first[0].flatten() - first[1].flatten()).abs().max() / first[0].abs().max()
            assert error < 1e-4, f"the codes differ by {error:.1e}; nothing is timed"
        for _ in range(turns if steps > 1 else TURNS):
            row = []
            for one in running:
                began = clock()
                for _ in range(each):
                    next(one)
                row.append(clock() - began)
            spent.append(row)
    scale = steps / (each * len(spent))
    theirs, ours = (scale * sum(column) for column in zip(*spent, strict=True))
    ratios = [a / b for a, b in spent]
    return {
        "theirs": theirs, "ours": ours, "ratio": statistics.median(ratios),
        "least": min(ratios), "most": max(ratios),
    }  # fmt: skip


def measured(kind: str, path: Path, what: Any, steps: int, threads: int) -> dict[str, Any]:
    """Times of a case, in a process of its own."""
    torch.set_num_threads(threads)
    return timed(steps, KINDS[kind](path, what), equal=kind != "fno")


def memory(kind: str, path: Path, what: Any, steps: int, which: int) -> float:
    """Growth of the peak over a rollout of one code, in MiB, in a process of its own."""
    torch.set_num_threads(1)
    rollout = KINDS[kind](path, what)[which]

    def run() -> None:
        with torch.inference_mode():
            for _ in zip(range(steps), rollout(), strict=False):
                pass

    return scot_speed.growth(run)


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def run(given: argparse.Namespace) -> None:
    """Measure what is not in the file."""
    paths = {"dymixop": given.dymixop, "scot": given.scot, "fno": Path() if given.fno else None}
    known = [json.loads(line) for line in given.file.read_text().splitlines()] if (
        given.file.exists()) else []  # fmt: skip
    for name, (kind, what) in CASES.items():
        path, per_step = paths[kind], 0.0
        if path is None:
            continue
        for steps in STEPS:
            key = {"case": name, "steps": steps, "threads": given.threads}
            found = next((row for row in known if key.items() <= row.items()), None)
            if found is None and per_step * steps > given.limit:
                print(f"{name}, {steps} steps: would take {per_step * steps:.0f} s; not run")
                continue
            if found is None:
                row = in_fresh_process(measured, kind, path, what, steps, given.threads)
                shown = min(steps, 100)  # memory does not grow after that, or does so by then
                grown = [in_fresh_process(memory, kind, path, what, shown, i) for i in (0, 1)]
                found = key | row | {"memory": grown, "torch": torch.__version__}
                with given.file.open("a") as file:
                    file.write(json.dumps(found) + "\n")
                print(json.dumps(found), flush=True)
            per_step = (found["theirs"] + found["ours"]) / steps


def table(file: Path) -> None:
    """What was measured, as Markdown."""
    print("| case | threads | steps | rollouts/s, theirs, ours | ratio | MiB, theirs, ours |")
    print("|---|---|---|---|---|---|")
    for row in map(json.loads, file.read_text().splitlines()):
        rates = ", ".join(f"{1 / row[code]:.3g}" for code in ("theirs", "ours"))
        grown = ", ".join(f"{x:.0f}" for x in row["memory"])
        ratio = f"{row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f})"
        print(
            f"| {row['case']} | {row['threads']} | {row['steps']:,} | {rates} | {ratio} | {grown} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="of the rows, JSON lines")
    parser.add_argument("--dymixop", type=Path, help="the folder Models of a clone of DyMixOp")
    parser.add_argument("--scot", type=Path, help="a clone of poseidon (needs transformers 4.45)")
    parser.add_argument("--fno", action="store_true", help="neuraloperator's FNO")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=600, help="seconds that a row may take")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    given = parser.parse_args()
    if not given.table:
        run(given)
    table(given.file)


if __name__ == "__main__":
    main()
