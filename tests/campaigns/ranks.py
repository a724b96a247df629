"""Jobs of several processes, killed many times: in steps, saves, validations and publishing.

`python tests/campaigns/ranks.py [--jobs 60] [--seed 0] [--folder FOLDER]` prints a table;
`test_ranks.py` runs a short part of it. With a folder, a campaign that was stopped goes on.

Every job is started again until it is done, each time with another number of processes, with or
without data-loading processes and sharded parameters, its states written by one process or by all,
at once or in the background. It must end with the bits of a job that nobody disturbed, and within
seconds where a process is killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain.command import Launch
from pelagos.pretrain.training import launched

KILLED = 9
PATIENCE = 60.0  # seconds from a kill to the end of all processes; they need about five
CALLS = ("open", "rename", "replace", "mkdir", "unlink", "rmdir", "link", "fsync", "utime")
STEPS = 8
RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 1, "modes": 2},
    "objective": {"horizon": 1},
    "optimizer": {"clip": None},  # the norm of shards is summed in another order
    "steps": STEPS,
    "batch": 2,
    "micro_batch": 1,
    "log_every": 1,
    "save_every": 1,
    "validation": {"every": 2, "trajectories": 2, "horizon": 1},
    "average": {"decay": 0.5},
}


@dataclass
class Row:
    """A line of the table: how a job was ended, how often, and how long that took at most."""

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    bad: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Attempt:
    """How a job is started: processes, the options of the command line, sharded parameters."""

    processes: int
    options: tuple[str, ...]
    shards: bool


def drawn(draw: random.Random) -> Attempt:
    """An attempt."""
    processes = draw.choice([1, 2, 2, 2])
    options = ("--workers", draw.choice("001"))
    options += ("--states.background", draw.choice(["true", "false"]))
    options += ("--states.sharded", draw.choice(["true", "false"]))
    return Attempt(processes, options, processes > 1 and draw.random() < 0.5)


def job(recipe: str, run: str, options: tuple[str, ...]) -> None:
    """What `pelagos pretrain RECIPE RUN --resume auto` does; all of it is imported already."""
    launched(recipe, run, options, Launch(resume="auto"))


def started(
    attempt: Attempt, command: list[str], number: dict[int, int], folder: Path
) -> list[int]:
    """The processes of an attempt; `number`: at which file-system call a rank is killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"ACCELERATE_USE_FSDP": str(attempt.shards).lower()}
    if attempt.processes > 1:
        size = str(attempt.processes)
        variables |= {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = []
    for rank in range(attempt.processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if attempt.processes > 1 else {}
        call = _killing(number.get(rank, 0), lambda: job(*command, attempt.options))
        children.append(_forked(call, {**variables, **own}, folder / f"said-{rank}.txt"))
    return children


def _forked(call: Callable[[], Any], variables: dict[str, str], said: Path) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    os.environ.update(variables)
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            call()
            status = 0
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _killing(number: int, call: Callable[[], Any]) -> Callable[[], Any]:
    """`call`, in whose course this process is killed at a file-system call of this number."""

    def prepared() -> None:
        counted, own = 0, os.getpid()

        def counting(real: Callable[..., Any]) -> Callable[..., Any]:
            def counts(*arguments: Any, **options: Any) -> Any:
                nonlocal counted
                counted += 1
                if counted == number and os.getpid() == own:
                    os._exit(KILLED)
                return real(*arguments, **options)

            return counts

        if number:
            for name in CALLS:
                setattr(os, name, counting(getattr(os, name)))
        call()

    return prepared


def disturbed(
    attempt: Attempt, command: list[str], run: Path, draw: random.Random, row: Row
) -> None:
    """Start a job and end it in some way, unless it is done before."""
    way = draw.choice(["at a file", "at a file", "at a line", "at a line", "told", "all", "reader"])
    rank = draw.randrange(attempt.processes)
    number = {rank: int(10 ** draw.uniform(0.5, 2.6))} if way == "at a file" else {}
    children = started(attempt, command, number, run.parent)
    lines = _lines(run) + draw.randrange(1, 12)
    delay = draw.uniform(0.0, 0.2)
    ended: dict[int, int] = {}
    while not ended and way != "at a file" and _lines(run) < lines:
        time.sleep(0.01)
        ended |= _ended(children)
    if not ended and way != "at a file":
        time.sleep(delay)
        _end(way, children, rank)
    while not ended:
        time.sleep(0.01)
        ended |= _ended(children)
    since = time.monotonic()
    while len(ended) < len(children) and time.monotonic() < since + PATIENCE:
        time.sleep(0.01)
        ended |= _ended([child for child in children if child not in ended])
    row.slowest = max(row.slowest, time.monotonic() - since)
    for child in [child for child in children if child not in ended]:
        row.bad.append(f"{way}: rank {children.index(child)} of {attempt} hangs")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    done = all(code == 0 for code in ended.values())
    row.outcomes["done before" if done else f"{way}, {attempt.processes} process(es)"] += 1


def _end(way: str, children: list[int], rank: int) -> None:
    victims, kind = [children[rank]], signal.SIGKILL
    if way == "all":
        victims = children
    if way == "told":
        kind = signal.SIGTERM
    if way == "reader":
        try:
            victims = [each.pid for each in psutil.Process(children[rank]).children()] or victims
        except psutil.Error:
            return
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim, kind)


def _ended(children: list[int]) -> dict[int, int]:
    found = {}
    for child in children:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            found[child] = os.waitstatus_to_exitcode(status)
    return found


def _lines(run: Path) -> int:
    path = run / "log.jsonl"
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def published(run: Path) -> list[bytes]:
    """The weights of the checkpoint and the best ones."""
    return [(run / "checkpoint" / name / "model.safetensors").read_bytes() for name in ("", "best")]


def campaign(jobs: int, seed: int, folder: Path) -> Row:
    """So many jobs, each disturbed two to five times, if it lasts; done ones are in `folder`."""
    recipe, whole = folder / "recipe.yaml", folder / "whole"
    results = folder / "results.jsonl"
    if not (whole / "checkpoint").is_dir():
        sizes: dict[str, Any] = {"trajectories": {"train": 2, "valid": 2}, "resolution": 40}
        data = simulate("advection_1d", folder, frames=5, **sizes)
        recipe.write_text(yaml.safe_dump({"data": [{"path": str(data)}], **RECIPE}))
        [alone] = started(Attempt(1, (), shards=False), [str(recipe), str(whole)], {}, folder)
        assert os.waitpid(alone, 0)[1] == 0, (folder / "said-0.txt").read_text()
    expected = published(whole)
    done = results.read_text().splitlines() if results.is_file() else []
    for number in range(len(done), jobs):
        shutil.rmtree(folder / f"job{number}", ignore_errors=True)
        row = one(recipe, folder / f"job{number}", random.Random(f"{seed} {number}"), expected)
        with results.open("a") as file:
            file.write(json.dumps({**vars(row), "outcomes": dict(row.outcomes)}) + "\n")
        print(f"after {number + 1} jobs:\n{table(total(results))}", file=sys.stderr)
    return total(results)


def one(recipe: Path, run: Path, draw: random.Random, expected: list[bytes]) -> Row:
    """A job that is disturbed, and started until it is done."""
    row, folder, command = Row("jobs"), run.parent, [str(recipe), str(run)]
    for _ in range(draw.randrange(2, 6)):
        if not (run / "checkpoint").exists():
            disturbed(drawn(draw), command, run, draw, row)
    attempt = drawn(draw)
    codes = [os.waitpid(child, 0)[1] for child in started(attempt, command, {}, folder)]
    if any(codes):
        said = (folder / "said-0.txt").read_text()[-500:]
        row.bad.append(f"{run} cannot go on as {attempt}: {said}")
        return row
    if published(run) != expected:
        row.bad.append(f"{run} ended with other weights; last as {attempt}")
    records = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    steps = [record["step"] for record in records if record["kind"] == "train"]
    if steps != [*range(1, STEPS + 1)]:
        row.bad.append(f"{run} has on record the steps {steps}")
    left = [path for path in run.rglob("*") if ".partial" in path.name or "-old-" in path.name]
    row.bad += [f"{run} left {path}" for path in left]
    row.outcomes["same bits in the end"] += not row.bad
    if not row.bad:
        shutil.rmtree(run)
    return row


def total(results: Path) -> Row:
    """Of all jobs."""
    row = Row("jobs")
    for line in results.read_text().splitlines():
        found = Row(**json.loads(line))
        row.outcomes.update(found.outcomes)
        row.slowest = max(row.slowest, found.slowest)
        row.bad += found.bad
    return row


def table(row: Row) -> str:
    """For people."""
    lines = ["| how | times |", "| --- | --- |"]
    lines += [f"| {name} | {count} |" for name, count in sorted(row.outcomes.items())]
    lines.append(
        f"| from the first process's end to the last one's, at most | {row.slowest:.1f} s |"
    )
    lines.append(f"| wrong | {len(row.bad)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for all that is made and found; kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = given.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        found = campaign(given.jobs, given.seed, place.absolute())
    print(table(found))
    print("\n".join(found.bad[:40]))
    sys.exit(bool(found.bad))
