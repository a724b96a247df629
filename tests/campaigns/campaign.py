"""What can go wrong with a run, tried many times: bits, bytes, kills, simultaneous starts.

`python tests/campaigns/campaign.py [--scale 1.0] [--seed 0]` prints a table; `test_campaign.py`
runs a short part of it. Nothing may be lost, nothing that was changed accepted; no traceback, no
hang.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pelagos.datasets.base.config import read
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.assimilate.observations import Domain, ObservationFile
from pelagos.operators import create, from_pretrained
from pelagos.operators.core.checkpoint import read_config
from pelagos.pretrain.command import main
from pelagos.pretrain.recipe import TrainRecipe
from pelagos.pretrain.run.jobs import held
from pelagos.pretrain.run.state import latest, set_damaged_aside

SLOWEST = 2.0  # seconds to refuse anything
KILLED = 9
# At which a process is killed, before they are done.
CALLS = ("open", "rename", "replace", "mkdir", "unlink", "rmdir", "link", "fsync", "utime")
RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 2, "layers": 1, "modes": 2},
    "objective": {"horizon": 1},
    "steps": 6,
    "batch": 2,
    "micro_batch": 2,
    "log_every": 1,
    "save_every": 2,
    "validation": {"every": 6, "trajectories": 1, "horizon": 1},
}
OBSERVATIONS = "time,x,field,value,std\n" + "".join(
    f"{0.1 * i:.1f},0.{i % 10},u,{0.3 * i:.2f},0.1\n" for i in range(1, 20)
)


@dataclass
class Row:
    """A line of the table: how often what happened."""

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    bad: list[str] = field(default_factory=list)

    def tried(self, call: Callable[[], Any]) -> str:
        """Call; a refusal is a ValueError in one line, anything else is bad."""
        begin = time.perf_counter()
        try:
            call()
            outcome = "accepted"
        except ValueError as error:
            outcome = "refused"
            if "\n" in str(error):
                self.bad.append(f"{self.name}: several lines: {error!r}")
        except Exception as error:
            outcome = "traceback"
            self.bad.append(f"{self.name}: {error!r}")
        self.slowest = max(self.slowest, time.perf_counter() - begin)
        if self.slowest > SLOWEST:
            self.bad.append(f"{self.name}: {self.slowest:.1f} s")
        self.outcomes[outcome] += 1
        return outcome


def damage(data: bytes, draw: random.Random) -> bytes:
    """Bytes with one bit flipped, a part lost, or a part doubled."""
    kind, at = draw.randrange(4), draw.randrange(max(1, len(data)))
    if kind < 2 and data:
        changed = bytearray(data)
        changed[at] ^= 1 << draw.randrange(8)
        return bytes(changed)
    length = draw.randrange(1, 9)
    return data[:at] + data[at + length :] if kind == 2 else data[: at + length] + data[at:]


def damaged_files(folder: Path, draw: random.Random) -> Iterator[Path]:
    """Damages one file of the folder after another, and mends it afterwards."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    while True:
        path = draw.choice(files)
        data = path.read_bytes()
        changed = damage(data, draw)
        if changed == data:
            continue
        path.write_bytes(changed)
        yield path
        path.write_bytes(data)


def checkpoints(count: int, folder: Path, draw: random.Random) -> Row:
    """Damaged checkpoints: none may open."""
    row = Row("damaged checkpoints")
    operator = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=1, modes=2)
    path = operator.save_pretrained(folder / "model")
    for _, file in zip(range(count), damaged_files(path, draw), strict=False):
        if row.tried(lambda: from_pretrained(path)) == "accepted":
            row.bad.append(f"{row.name}: {file.name} was changed, and opened")
    return row


def states(count: int, run: Path, draw: random.Random) -> Row:
    """Damaged newest states: the one before must be taken, and the newest named."""
    row = Row("damaged states")
    newest = latest(run)
    assert newest is not None
    before = {path.name for path in (run / "state").iterdir()}
    said: list[str] = []
    for _ in zip(range(count), damaged_files(newest, draw), strict=False):
        said.clear()
        row.tried(lambda: set_damaged_aside(run, said.append))
        if latest(run) == newest or not said or str(newest) not in said[0]:
            row.bad.append(f"{row.name}: taken all the same")
        for path in (run / "state").glob("damaged-*"):
            path.rename(newest)
        assert {path.name for path in (run / "state").iterdir()} == before
    return row


def texts(count: int, folder: Path, draw: random.Random) -> list[Row]:
    """Mutated recipes, configs and observations: opened or refused, in a line and quickly."""
    model = create("dymixop", fields=("u",), ndim=1, hidden=2, layers=1, modes=2)
    config = (model.save_pretrained(folder / "texts") / "config.json").read_bytes()
    recipe = yaml.safe_dump({"data": [{"path": "x"}], **RECIPE}).encode()
    domain = Domain(("u",), Grid.unit((8,)), 0.0, reach=1e4)
    kinds: dict[str, tuple[bytes, str, Callable[[Path], Any]]] = {
        "recipes": (recipe, "recipe.yaml", lambda path: read(TrainRecipe, path)),
        "configs": (config, "config.json", lambda path: read_config(path.parent)),
        "observations": (
            OBSERVATIONS.encode(),
            "seen.csv",
            lambda path: ObservationFile(path, domain),
        ),
    }
    rows = []
    for name, (data, file, opened) in kinds.items():
        row, place = Row(f"mutated {name}"), folder / name
        place.mkdir()
        for _ in range(count):
            changed = data
            for _ in range(draw.randrange(1, 4)):
                changed = damage(changed, draw)
            (place / file).write_bytes(changed)
            row.tried(lambda opened=opened, path=place / file: opened(path))
        rows.append(row)
    return rows


def forked(call: Callable[[], Any]) -> int:
    """The exit status of a child that does it: of libraries, all is imported already."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    with Path(os.devnull).open("w") as nowhere:
        try:
            with redirect_stdout(nowhere), redirect_stderr(nowhere):
                call()
            status = 0
        except BaseException:
            traceback.print_exc()
    os._exit(status)


def killed_at(number: int) -> None:
    """From now on, this process is killed at the file-system call of this number."""
    counted = 0

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal counted
            counted += 1
            if counted == number:
                os._exit(KILLED)
            return real(*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, counting(getattr(os, name)))


def kills(count: int, arguments: list[str], whole: Path, draw: random.Random) -> Row:
    """Training killed at file-system calls, several times in a row; then it must end the same."""
    row = Row("killed trainings")
    expected = (whole / "checkpoint" / "model.safetensors").read_bytes()
    for i in range(count):
        run = whole.with_name(f"killed{i}")
        command = [arguments[0], str(run), "--resume", "auto"]
        for _ in range(draw.randrange(1, 4)):
            number = int(10 ** draw.uniform(0, 2.7))
            status = forked(lambda n=number, c=command: (killed_at(n), main(c)))
            row.outcomes["killed" if status == KILLED else "done"] += 1
        if forked(lambda c=command: main(c)):
            row.bad.append(f"{row.name}: {run} cannot go on")
            continue
        if (run / "checkpoint" / "model.safetensors").read_bytes() != expected:
            row.bad.append(f"{row.name}: {run} ended with other weights")
        left = [path for path in run.rglob("*") if ".partial" in path.name or "-old-" in path.name]
        row.bad += [f"{row.name}: left {path}" for path in left]
        row.outcomes["same weights"] += 1
        shutil.rmtree(run)
    return row


def starts(count: int, folder: Path) -> Row:
    """Pairs of jobs that take a run at once: one must have it."""
    row = Row("simultaneous starts")
    for i in range(count):
        run, begin = folder / f"start{i % 5}", time.time() + 0.03

        def claim(run: Path = run, begin: float = begin) -> None:
            time.sleep(max(0.0, begin - time.time()))
            with held(run):
                time.sleep(0.2)

        children = []
        for _ in range(2):
            child = os.fork()
            if not child:
                status = 1
                with suppress(ValueError):
                    claim()
                    status = 0
                os._exit(status)
            children.append(child)
        ends = sorted(os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children)
        row.outcomes["one had it" if ends == [0, 1] else f"{ends}"] += 1
        if ends != [0, 1]:
            row.bad.append(f"{row.name}: {ends}")
    return row


def campaign(scale: float, seed: int, folder: Path) -> list[Row]:
    """All of it; `scale` 1 is what a release is held to."""
    draw = random.Random(seed)
    simulate(
        "advection_1d",
        folder,
        trajectories={"train": 2, "valid": 1, "test": 1},
        resolution=48,
        frames=4,
    )
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"data": [{"path": str(folder / "advection_1d")}], **RECIPE}))
    whole, arguments = folder / "whole", [str(recipe), str(folder / "whole")]
    assert forked(lambda: main(arguments)) == 0
    return [
        checkpoints(int(500 * scale), folder, draw),
        states(int(500 * scale), whole, draw),
        *texts(int(3400 * scale), folder, draw),
        starts(int(100 * scale), folder),
        kills(int(250 * scale), arguments, whole, draw),
    ]


def table(rows: list[Row]) -> str:
    """For people."""
    lines = ["| what | outcomes | slowest | wrong |", "| --- | --- | --- | --- |"]
    for row in rows:
        outcomes = ", ".join(f"{count} {name}" for name, count in sorted(row.outcomes.items()))
        lines.append(f"| {row.name} | {outcomes} | {row.slowest:.2f} s | {len(row.bad)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = campaign(given.scale, given.seed, Path(temporary))
    print(table(found))
    wrong = [line for row in found for line in row.bad]
    print("\n".join(wrong[:40]))
    sys.exit(bool(wrong))
