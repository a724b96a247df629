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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Case:
    """What is rolled out: the code compared with, its configuration, batch and points per axis."""

    kind: str
    name: str
    batch: int
    points: int

    @property
    def label(self) -> str:
        """As in the file of rows."""
        against = "FNO against dymixop" if self.kind == "fno" else self.kind
        grid = self.points if self.name.startswith("1D") else f"{self.points}²"
        return f"{against} {self.name[:2]}, {grid}, batch {self.batch}"


CASES = (
    Case("dymixop", "1D KS", 32, 256),
    Case("dymixop", "1D KS", 1, 256),
    Case("dymixop", "2D NS", 4, 64),
    Case("dymixop", "2D NS", 1, 32),
    Case("multiscale", "2D", 1, 128),
    Case("multiscale", "2D", 4, 128),
    Case("multiscale", "2D", 1, 64),
    Case("fno", "2D NS", 4, 64),
    Case("fno", "2D NS", 1, 32),
)

Rollout = Callable[[], Iterator[Tensor]]  # endless


def sized(case: Case) -> dict[str, Any]:
    """The configuration of the DyMixOp benchmark, on the case's grid."""
    known = dymixop_speed.CASES[case.name]
    return known | {"batch": case.batch, "grid": (case.points,) * len(known["grid"])}


def dymixop(models: Path, case: Case) -> tuple[Rollout, Rollout]:
    """Published and ours with equal weights, one step at a time."""
    sys.path.insert(0, str(models))
    dymixop_speed.STEPS = 1
    published, ours, _ = dymixop_speed.build(sized(case))
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


def multiscale(clone: Path, case: Case) -> tuple[Rollout, Rollout]:
    """Published and ours with equal weights, every step the same lead time."""
    scot_speed.CONFIG["image_size"] = case.points
    theirs, ours = scot_speed.models(clone)
    x, t, _ = scot_speed.sample(case.batch)
    x = x[..., : case.points, : case.points].contiguous()

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


def fno(_: Path, case: Case) -> tuple[Rollout, Rollout]:
    """An FNO of neuraloperator of about our operator's parameters, and our operator."""
    from neuralop.models import FNO

    size, history = sized(case), dymixop_speed.HISTORY
    grid = size["grid"]
    operator = create(
        "dymixop", fields=("u",), ndim=len(grid), history=history, hidden=size["hidden_dim"],
        layers=size["num_layers"], modes=dymixop_speed.MODES,
    ).eval()  # fmt: skip
    wanted = sum(p.numel() for p in operator.parameters())
    made = (
        FNO(n_modes=(2 * dymixop_speed.MODES,) * len(grid), in_channels=history, out_channels=1,
            hidden_channels=width, n_layers=4)
        for width in range(8, 257, 8)
    )  # fmt: skip
    network = min(made, key=lambda m: abs(sum(p.numel() for p in m.parameters()) - wanted)).eval()
    x = torch.randn(case.batch, history, *grid, generator=torch.Generator().manual_seed(1))

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


KINDS: dict[str, Callable[[Path, Case], tuple[Rollout, Rollout]]] = {
    "dymixop": dymixop, "multiscale": multiscale, "fno": fno,
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


def measured(path: Path, case: Case, steps: int, threads: int) -> dict[str, Any]:
    """Times of a case, in a process of its own."""
    torch.set_num_threads(threads)
    return timed(steps, KINDS[case.kind](path, case), equal=case.kind != "fno")


def memory(path: Path, case: Case, steps: int, which: int) -> float:
    """Growth of the peak over a rollout of one code, in MiB, in a process of its own."""
    torch.set_num_threads(1)
    rollout = KINDS[case.kind](path, case)[which]

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
    paths = {
        "dymixop": given.dymixop, "multiscale": given.scot, "fno": Path() if given.fno else None,
    }  # fmt: skip
    known = [json.loads(line) for line in given.file.read_text().splitlines()] if (
        given.file.exists()) else []  # fmt: skip
    for case in CASES:
        path, per_step, name = paths[case.kind], 0.0, case.label
        if path is None or not name.endswith(given.only):
            continue
        for steps in given.steps:
            key = {"case": name, "steps": steps, "threads": given.threads}
            found = next((row for row in known if key.items() <= row.items()), None)
            if found is None and per_step * steps > given.limit:
                print(f"{name}, {steps} steps: would take {per_step * steps:.0f} s; not run")
                continue
            if found is None:
                row = in_fresh_process(measured, path, case, steps, given.threads)
                shown = min(steps, 100)  # memory does not grow after that, or does so by then
                same = {"case": name, "steps": shown}  # and is measured with one thread
                grown = next((r["memory"] for r in known if same.items() <= r.items()), None)
                if grown is None:
                    grown = [in_fresh_process(memory, path, case, shown, i) for i in (0, 1)]
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
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="of a rollout")
    parser.add_argument("--only", default="", help="cases that end so, as `batch 1`")
    parser.add_argument("--limit", type=float, default=600, help="seconds that a row may take")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    given = parser.parse_args()
    if not given.table:
        run(given)
    table(given.file)


if __name__ == "__main__":
    main()
