"""What can go wrong, tried many times: kills, damage, starts at once, bad disks, odd inputs, hours.

    make campaign [CAMPAIGN="--folder FOLDER --scale 0.1 kills disks"]

prints a table; `test_campaign.py` runs a short part. Nothing may be lost, nothing that was changed
be taken; no traceback, no hang, no crash. With a folder, a campaign that was stopped goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COUNTS = {  # of cases at scale 1, to which a release is held
    "damaged files": 1_000,
    "mutated inputs": 10_000,
    "simultaneous starts": 100,
    "kills": 450,
    "kills inside imports": 60,
    "disks": 200,
    "soak": 3,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(COUNTS))
    parser.add_argument("--folder", type=Path, help="for all that is made and found; kept")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--minutes", type=float, default=60.0, help="of each soak")
    parser.add_argument("--within", type=float, default=1e9, help="minutes; then it ends")
    parser.add_argument("--table", action="store_true", help="print what is there, and end")
    given = parser.parse_args()
    unknown = set(given.sections) - set(COUNTS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(COUNTS)}")
    if "FAULTS_LIBRARY" in os.environ:
        return run(Path(os.environ["CAMPAIGN_FOLDER"]), given)
    folder = given.folder or Path(tempfile.mkdtemp())
    try:
        return start_again(folder.absolute())
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


def start_again(folder: Path) -> int:
    """This program with the library that makes faults (see faults.py), built in `folder`."""
    compiler, path, here = shutil.which("cc"), folder / "faults.so", Path(__file__).parent
    if compiler is None:
        sys.exit("the campaign needs a C compiler (cc)")
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-O2", "-shared", "-fPIC", "-o", str(path), str(here / "faults.c"), "-ldl"]
    subprocess.run([compiler, *options], check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": str(path),
        "FAULTS_LIBRARY": str(path),
        "CAMPAIGN_FOLDER": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join(map(str, (here, here.parent / "support"))),
    }
    command = [sys.executable, "-P", *sys.argv]
    return subprocess.run(command, env=environment, check=False).returncode


def run(folder: Path, given: argparse.Namespace) -> int:
    """Cases that are missing, then the table; 1: something was wrong."""
    from ledger import Ledger

    ledger, end = Ledger(folder / "results.jsonl"), time.monotonic() + 60 * given.within
    if not given.table:
        from sections import cases

        for section in given.sections or COUNTS:
            missing = ledger.missing(section, max(1, round(COUNTS[section] * given.scale)))
            for case in cases(section, missing, folder, given.minutes):
                ledger.add(case)
                if case.wrong:
                    print(f"{section} {case.number} ({case.kind}): {case.wrong}", flush=True)
                if time.monotonic() > end:
                    break
    print(ledger.table(list(COUNTS)))
    return int(bool(ledger.wrong))


if __name__ == "__main__":
    sys.exit(main())
