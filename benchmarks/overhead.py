"""What Pelagos adds to the work itself: small windows, steps, saves and openings.

    OMP_NUM_THREADS=1 python benchmarks/overhead.py windows steps hand save checksums groups
    OMP_NUM_THREADS=1 python benchmarks/overhead.py windows --against /path/to/other/bin/python

Every section runs in a process of its own. With --against also in one of each interpreter that is
named, whose pelagos may be another version: they take turns, a tenth of a second each, so that what
disturbs one disturbs all. Given are medians over turns of CPU time (of `save` and `checksums` wall
time, as they wait for disks), and the median over turns of the ratio to the first interpreter.

windows  microseconds for a window of 5 frames of 64 points of a store
steps    milliseconds for a step of `pelagos pretrain` of a small operator, without saves
hand     the same step in a plain loop, its batches made before
save     milliseconds to save a training state of about 200 MB
checksums  the time of that save over that of one that hashes no tensors; they take turns
groups   seconds to open a described HDF5 file of 10,000 groups for the first time
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

OPERATOR = {
    "history": 2,
    "hidden": 8,
    "layers": 2,
    "modes": 8,
    "structure_change": 0.5,
    "resolution": [64],
    "time_input": False,
}
GROUPS = 10_000
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--against", nargs="*", default=[], metavar="PYTHON")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)  # in a process of a section
    given = parser.parse_args()
    if given.serve:
        serve(given.sections[0], given.serve)
        return
    for section in given.sections:
        with tempfile.TemporaryDirectory() as folder:
            take_turns(section, [*given.against, sys.executable], given.turns, Path(folder))


def take_turns(section: str, pythons: list[str], turns: int, folder: Path) -> None:
    """Run a section by every interpreter, one turn each, and print what it took."""
    _, unit, most = SECTIONS[section]
    make_small(folder / "small")  # by this version, for all of them
    contestants = []
    for number, python in enumerate(pythons):
        place = folder / str(number)
        place.mkdir()
        contestants.append(
            subprocess.Popen(
                [python, __file__, section, "--serve", str(place)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "XDG_CACHE_HOME": str(place / "cache")},
            )
        )
    took: list[list[float]] = [[] for _ in pythons]
    for _ in range(min(turns, most)):
        for one, times in zip(contestants, took, strict=True):
            assert one.stdin is not None
            assert one.stdout is not None
            print("go", file=one.stdin, flush=True)
            times.append(float(one.stdout.readline()))
    for one in contestants:
        one.kill()
        one.wait()
    print(f"\n{section}: median of {len(took[0])} turns")
    for python, times in zip(pythons, took, strict=True):
        middle = statistics.median(times)
        ratio = statistics.median(b / a for a, b in zip(took[0], times, strict=True))
        print(f"  {middle:9.3f} {unit}  {ratio:6.3f} × the first  {python}", flush=True)


def serve(section: str, folder: Path) -> None:
    """Answer each line on the standard input with what the next turn took."""
    import torch

    torch.set_num_threads(1)
    with contextlib.redirect_stdout(sys.stderr):  # where a training talks
        for took in SECTIONS[section][0](folder):
            answer(took)


def answer(took: float) -> None:
    """Say what a turn took."""
    print(took, file=sys.__stdout__, flush=True)


def wait() -> None:
    """For this process's turn."""
    if not sys.stdin.readline():
        sys.exit()


def windows(folder: Path) -> Iterator[float]:
    from pelagos.datasets import open_store

    store = open_store(folder.parent / "small", "train")

    def hundred() -> None:
        for k in range(100):
            store.window(k % len(store), k % 30, 4, 1)

    for _ in range(20):
        hundred()
    while True:
        wait()
        began = time.process_time()
        for _ in range(20):
            hundred()
        yield 1e6 * (time.process_time() - began) / 2000


def steps(folder: Path) -> Iterator[float]:
    """Every tenth step of a training looks whether it is this process's turn."""
    from importlib import import_module

    from accelerate import Accelerator

    recipe = {
        "data": [{"path": str(folder.parent / "small")}],
        "operator": {"name": "dymixop", **OPERATOR},
        "normalizer": {"name": "identity"},
        "objective": {"horizon": 2},
        "steps": 100_000,
        "batch": BATCH,
        "micro_batch": BATCH,
        "log_every": 50,
        "save_every": 100_000,
        "validation": {"every": 100_000, "trajectories": 1, "horizon": 2},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    clip, done, began = Accelerator.clip_grad_norm_, 0, 0.0

    def clip_and_count(self, *arguments, **options):  # called once a step, by any version
        nonlocal done, began
        done += 1
        if done % 10 == 0:
            if done > 50:
                answer(1e3 * (time.process_time() - began) / 10)
            if done >= 50:
                wait()
            began = time.process_time()
        return clip(self, *arguments, **options)

    Accelerator.clip_grad_norm_ = clip_and_count
    command = import_module("pelagos.pretrain.command")
    with contextlib.redirect_stderr(io.StringIO()):
        command.main([str(folder / "recipe.yaml"), str(folder / "run")])
    yield from ()


def hand(folder: Path) -> Iterator[float]:
    import torch

    from pelagos.datasets import open_store
    from pelagos.datasets.fields import collate
    from pelagos.operators import create

    store = open_store(folder.parent / "small", "train")
    batches = [
        collate([store.window((8 * k + i) % len(store), (5 * k + i) % 36, 2, 2) for i in range(8)])
        for k in range(50)
    ]
    operator = create("dymixop", fields=("u",), ndim=1, **OPERATOR)
    operator.train()
    optimizer = torch.optim.AdamW(operator.parameters(), lr=1e-3)

    def step(window) -> None:
        error = (operator(window) - window.target).square().mean(-1)
        truth = window.target.var(-1, correction=0)
        (error / (truth + 1e-7)).sqrt().mean().backward()
        torch.nn.utils.clip_grad_norm_(operator.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for window in batches:
        step(window)
    while True:
        wait()
        began = time.process_time()
        for window in batches[:10]:
            step(window)
        yield 1e3 * (time.process_time() - began) / 10


def make_small(root: Path) -> None:
    """Trajectories of 40 frames of 64 points."""
    import numpy as np

    from pelagos.datasets import Grid, WellData, write_file, write_stats

    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 40, 64), dtype="f4").cumsum(1)
    grid = Grid((64,), (1.0,), ("periodic",))
    for split, part in (("train", values[:32]), ("valid", values[32:])):
        data = WellData("small", grid, 0.1 * np.arange(40), {"u": part})
        write_file(root / "data" / split / "a.hdf5", data)
    write_stats(root)


def save(folder: Path) -> Iterator[float]:
    yield from saves(folder, lambda once: 1e3 * once())


def checksums(folder: Path) -> Iterator[float]:
    import hashlib

    class Nothing:
        """In the place of a hash."""

        def update(self, _: memoryview) -> None: ...

        def hexdigest(self) -> str:
            return 64 * "0"

    real, first = hashlib.sha256, True

    def both(once: Callable[[], float]) -> float:
        nonlocal first
        first, took = not first, {}
        for made in (real, Nothing) if first else (Nothing, real):
            hashlib.sha256 = made
            took[made] = once()
        hashlib.sha256 = real
        return took[real] / took[Nothing]

    yield from saves(folder, both)


def saves(folder: Path, turn: Callable[[Callable[[], float]], float]) -> Iterator[float]:
    """What each turn gives, which is given a save that says what it took, in seconds."""
    import torch
    from accelerate import Accelerator

    from pelagos.operators import create

    try:
        from pelagos.pretrain.run import state
    except ImportError:  # before there were wings
        from pelagos.pretrain import resume as state

    config = {"history": 1, "hidden": 64, "layers": 4, "modes": 16}
    operator = create("dymixop", fields=("u",), ndim=2, resolution=(64, 64), **config)
    count = sum(parameter.numel() for parameter in operator.parameters())
    print(f"{12 * count / 1e6:.0f} MB", file=sys.stderr)
    optimizer = torch.optim.AdamW(operator.parameters())
    for parameter in operator.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    step, accelerator = 0, Accelerator(cpu=True)
    (folder / "run").mkdir()

    def once() -> float:
        nonlocal step
        step += 1
        progress = state.Progress(step, step, 1.0)
        began = time.perf_counter()
        state.save_state(folder / "run", operator, operator, optimizer, progress, accelerator)
        return time.perf_counter() - began

    for _ in range(3):  # until older states are removed
        once()
    while True:
        wait()
        yield turn(once)


def groups(folder: Path) -> Iterator[float]:
    import h5py
    import numpy as np

    from pelagos.datasets import open_store

    path = folder / "many.h5"
    with h5py.File(path, "w") as file:
        for i in range(GROUPS):
            group = file.create_group(f"run{i}")
            group["u"], group["t"] = np.full((5, 32), i, "f4"), np.linspace(0, 1, 5)
            group.attrs["nu"] = 0.1 + i
    path.with_name("description.yaml").write_text(
        'axes: [time, x]\nfields: {u: "run*/u"}\ntime: "run*/t"\nparameters: {nu: "run*@nu"}\n'
    )
    while True:
        wait()
        shutil.rmtree(folder / "cache", ignore_errors=True)
        began = time.process_time()
        assert len(open_store(path)) == GROUPS
        yield time.process_time() - began


SECTIONS: dict[str, tuple[Callable[[Path], Iterator[float]], str, int]] = {
    "windows": (windows, "µs", 1000),
    "steps": (steps, "ms", 1000),
    "hand": (hand, "ms", 1000),
    "save": (save, "ms", 12),
    "checksums": (checksums, "× a save without", 20),
    "groups": (groups, "s", 5),
}


if __name__ == "__main__":
    main()
