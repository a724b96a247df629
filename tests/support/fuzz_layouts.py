"""Damaged and hostile files in every layout: each is read or refused with a one-line ValueError.

A case is a pure function of its number. Cases run in processes of their own, with bounded memory
and time, so that a crash or a hang is a finding. A line after each batch says how far it is; a run
that was stopped continues with `--first`:

    python -P tests/fuzz_layouts.py --cases 10000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hostile import SECRET, damage
from layout_files import FILES

from pelagos.datasets import open_store

MEMORY = 6 * 2**30  # bytes of address space
GROWTH = 2**28  # bytes that the resident size may grow by while a file is read
SECONDS = 60  # for a case
BATCH = 250


def read_all(path: Path) -> None:
    """Open a store and read what there is of its first and last trajectories."""
    store = open_store(path)
    for i in {0, len(store) - 1}:
        for values in (store.read(i, 0, min(store.n_frames(i), 50)), store.constants(i)):
            if values is not None and (values == np.float32(SECRET)).any():
                raise AssertionError("read outside the file")
        store.mask(i)
        store.parameters(i)


def outcome(path: Path) -> str:
    """ "read", "refused", or what is wrong."""
    try:
        read_all(path)
    except ValueError as error:
        said = str(error)
        if not said.isprintable():
            return f"several lines, or codes for a terminal: {said!r:.300}"
        if path.name not in said and "description.yaml" not in said:
            return f"no name: {said:.300}"
        return "refused" if type(error) is ValueError else f"{type(error).__name__}: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error!s:.300}"
    return "read"


def run_case(number: int, templates: Path, folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    names = [name for name in FILES if (templates / name).is_dir()]
    name = names[number % len(names)]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(templates / name / "files", folder)
    path = folder / (templates / name / "path.txt").read_text()
    kind = damage(path, rng)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is resident now
    before, start = peak(), time.monotonic()
    signal.alarm(SECONDS)
    found = outcome(path)
    signal.alarm(0)
    grown = peak() - before
    if grown > GROWTH:
        found = f"memory grew by {grown} bytes ({found})"
    seconds = time.monotonic() - start
    case = {"case": number, "layout": name, "kind": kind, "outcome": found}
    return {**case, "seconds": seconds, "grown": grown}


def peak() -> int:
    """The largest resident size of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def run_batch(first: int, last: int, templates: Path, results: Path) -> None:
    """Cases first … last − 1, one JSON line each, after a line that announces it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder, results.open("a") as out:
        for number in range(first, last):
            print(json.dumps({"begin": number}), file=out, flush=True)
            case = run_case(number, templates, Path(folder) / "files" / "x")
            print(json.dumps(case), file=out, flush=True)


def make_templates(folder: Path) -> None:
    for name, make in FILES.items():
        (folder / name / "files").mkdir(parents=True)
        path = make(folder / name / "files").path
        (folder / name / "path.txt").write_text(str(path.relative_to(folder / name / "files")))


def fuzz(first: int, cases: int) -> Iterator[list[dict[str, Any]]]:
    """The outcomes of every case, batch by batch; a process that dies is an outcome too."""
    with tempfile.TemporaryDirectory() as base:
        templates, results = Path(base) / "templates", Path(base) / "results"
        make_templates(templates)
        number = first
        while number < first + cases:
            last = min(number + BATCH, first + cases)
            arguments = ["--batch", str(number), str(last), str(templates), str(results)]
            results.write_text("")
            ended = subprocess.run(
                [sys.executable, "-P", __file__, *arguments],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                check=False,
            )
            lines = [json.loads(line) for line in results.read_text().splitlines()]
            found = [line for line in lines if "outcome" in line]
            number = last
            if ended.returncode:
                begun = [line["begin"] for line in lines if "begin" in line]
                stopped = begun[-1] if begun else last - 1
                found.append({"case": stopped, "outcome": f"process ended: {ended.returncode}"})
                number = stopped + 1
            yield found


def good(case: dict[str, Any]) -> bool:
    """Whether a case ended as it should."""
    return case["outcome"] in ("read", "refused")


def summary(found: list[dict[str, Any]], cases: int, seconds: float) -> str:
    """One line: how far, outcomes, the slowest case, the one of most memory and the time left."""
    counts = Counter(case["outcome"] if good(case) else "wrong" for case in found)
    slowest = max(found, key=lambda case: case.get("seconds", 0.0))
    largest = max(found, key=lambda case: case.get("grown", 0))
    left = seconds * (cases - len(found)) / len(found)
    return (
        f"{len(found)}/{cases} cases, next {found[-1]['case'] + 1}: "
        f"{counts['refused']} refused, {counts['read']} read, {counts['wrong']} wrong; "
        f"at most {slowest.get('seconds', 0.0):.2f} s (case {slowest['case']}) "
        f"and {largest.get('grown', 0) / 2**20:.0f} MiB (case {largest['case']}); "
        f"{seconds:.0f} s so far, {left:.0f} s left"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--batch", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch:
        first, last, templates, results = options.batch
        run_batch(int(first), int(last), Path(templates), Path(results))
        return 0
    start, found = time.monotonic(), []
    for batch in fuzz(options.first, options.cases):
        found += batch
        for case in batch:
            if not good(case):
                print(json.dumps(case))
        print(summary(found, options.cases, time.monotonic() - start), flush=True)
    kinds = Counter(f"{case.get('kind')} {case['outcome']}" for case in found if good(case))
    print(", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())))
    return int(not all(map(good, found)))


if __name__ == "__main__":
    sys.exit(main())
