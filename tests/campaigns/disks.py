"""Disks that are full, fail once, or write less than they are told."""

from __future__ import annotations

import random
import resource
import signal

import faults
from kills import _after, _calls
from ledger import Case
from made import TASKS, Made, contents, started

WAYS = {"full": faults.FULL, "failing": faults.FAIL, "short writes": faults.SHORT, "no larger": 0}


def case(made: Made, number: int) -> Case:
    """A command meets such a disk, says so in a line, and runs again on a good one."""
    draw = random.Random(f"disk {number}")
    names = [name for name, task in TASKS.items() if task.processes == 1]
    name, way = names[number % len(names)], list(WAYS)[number // len(names) % len(WAYS)]
    task, place = TASKS[name], made.place(f"disk {name}")
    expected, most = made.expected(name), max(2, _calls(made, name)[1])
    at = draw.randrange(1, most + 1)
    largest = int(2 ** draw.uniform(12, 16))  # more than a child says

    def before(_: int) -> None:
        if WAYS[way]:
            faults.arm(WAYS[way], at, place, changes=True)
            return
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does: then it is an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    [ended] = [child.wait() for child in started(place, task, before)]
    outcome = "refused" if ended.status == 2 else "done" if ended.status == 0 else "failed"
    wrong = ended.wrong
    if not wrong and outcome == "done" and way == "short writes":
        wrong = _after(place, task, [ended], expected)
    if not wrong and outcome == "refused":
        left = [n for n in contents(place) if ".partial" in n or "-old-" in n]
        wrong = f"left {left}" if left and way != "failing" else ""
    if wrong:
        return Case("disks", number, f"{way}", outcome, f"{name}: {wrong}")
    again = [child.wait() for child in started(place, task)]
    wrong = _after(place, task, again, expected)
    return Case("disks", number, way, outcome, wrong and f"{name}: {wrong}")
