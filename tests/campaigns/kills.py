"""Commands that are killed, at random moments and at calls for files, and run again."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import faults
from children import PATIENCE, Ended
from ledger import Case
from made import TASKS, Made, Task, contents, started

_PEER = 30.0  # seconds that a process may go on after another one was killed
_MEETS = "init_process_group"  # in the stack of one that waits for others to start


def case(made: Made, number: int) -> Case:
    """Kill a command once or several times; then it must end as if nothing had been."""
    draw = random.Random(f"kill {number}")
    name = list(TASKS)[number % len(TASKS)]
    task, place = TASKS[name], made.place(f"killed {name}")
    expected = made.expected(name)
    calls = _calls(made, name)
    words, wrong = [], ""
    for _ in range(draw.choice((1, 1, 2, 3)) if task.continues else 1):
        word, wrong = _killed(place, task, calls, draw)
        words.append(word)
        if wrong:
            return Case("kills", number, name, "not resumed", wrong)
    ended = [child.wait() for child in started(place, task)]
    return Case("kills", number, name, max(words), _after(place, task, ended, expected))


def _killed(
    place: Path, task: Task, calls: tuple[int, int], draw: random.Random
) -> tuple[str, str]:
    """Run and kill one process; which way, and what was wrong with how others ended."""
    victim, changes = draw.randrange(task.processes), draw.random() < 0.5
    most = max(2, calls[changes])
    at = int(math.exp(draw.uniform(0, math.log(most)))) if draw.random() < 0.3 else 0
    at = at or draw.randrange(1, most + 1)
    timed = draw.random() < 0.2

    def before(rank: int) -> None:
        if rank == victim and not timed:
            faults.arm(faults.KILL, at, place, changes=changes)

    children = started(place, task, before)
    if timed:
        time.sleep(draw.expovariate(1.0))
        children[victim].kill()
    killed = children[victim].wait()
    others = [
        c.wait(_PEER if killed.killed else PATIENCE) for c in children if c != children[victim]
    ]
    # One that waits for a process which never came is for the launcher to end.
    met = [ended for ended in others if not (killed.killed and _MEETS in ended.said)]
    wrong = [ended.wrong for ended in met if ended.status != 1 or "Traceback" in ended.said]
    wrong = [words for words in ("" if killed.killed else killed.wrong, *wrong) if words]
    way = "at a moment" if timed else "at a change" if changes else "at a call"
    return (way if killed.killed else "done before"), "; ".join(wrong)


def _after(place: Path, task: Task, ended: list[Ended], expected: dict[str, str]) -> str:
    """What is wrong with how a command ended that ran again, and with what it left."""
    refused = all(e.status == 2 and "exists" in e.last for e in ended) and not task.continues
    if not refused and any(e.status for e in ended):
        return f"cannot go on: {[e.said[-500:] for e in ended]}"
    found = contents(place)
    differing = [
        name
        for name in found.keys() | expected.keys()
        if name not in found
        or name not in expected
        or (expected[name] or found[name]) != found[name]
    ]
    return f"differs: {sorted(differing)}" if differing else ""


def _calls(made: Made, name: str) -> tuple[int, int]:
    """How many calls for files a task makes, and how many of them change something."""
    path = made.folder / "expected" / f"{name}.calls"
    if not path.is_file():
        path.write_text(f"{_counted(made, name, False)} {_counted(made, name, True)}")
    found = path.read_text().split()
    return int(found[0]), int(found[1])


def _counted(made: Made, name: str, changes: bool) -> int:
    place, count = made.place(f"count {name}"), made.folder / "count"

    def before(rank: int) -> None:
        if not rank:
            faults.arm(faults.KILL, 0, place, changes=changes)
            _at_exit(count)

    for child in started(place, TASKS[name], before):
        ended = child.wait()
        assert not ended.status, (name, ended)
    return int(count.read_text())


def _at_exit(path: Path) -> None:
    """Write the number of calls when this process ends, which ends by `os._exit`."""
    leave = os._exit

    def counting(status: int) -> None:
        path.write_text(str(faults.counted()))
        leave(status)

    os._exit = counting


def importing(made: Made, number: int) -> Case:
    """Kill a command while it starts: of its imports every file is a call; then run it again."""
    draw = random.Random(f"import {number}")
    name = ("simulate", "pretrain", "predict", "convert")[number % 4]
    task, place = TASKS[name], made.place("killed early")
    expected = made.expected(name)
    at = int(math.exp(draw.uniform(math.log(50), math.log(4_000))))
    start = "from pelagos.finetune.cli.console import main; main()"
    command = [sys.executable, "-P", "-c", start, *task.argv]
    environment = {**os.environ, "FAULTS_KILL_AT": str(at)}
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    early = Ended(done.returncode, said)
    if early.wrong or early.status > 0:
        return Case("kills inside imports", number, name, "wrong", early.wrong or said[-300:])
    ended = [child.wait() for child in started(place, task)]
    outcome = "killed" if early.killed else "done before"
    wrong = _after(place, task, ended, expected)
    return Case("kills inside imports", number, name, outcome, wrong)
