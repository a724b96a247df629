"""A run belongs to one job at a time: `RUN/jobs/00003.json` says who trains there, or did.

A job takes the next number by creating its file, which one process alone can do, on local and on
network disks; it may do so when the job before it has ended. Files stay, so that a number is never
given twice. A job that was killed cannot say that it ended: on its own machine its process is
looked for; from elsewhere, whether its file still gets younger, which a job sees to while it runs.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from ...datasets.base.config import build
from ...datasets.base.texts import MOST_JSON, parse_json, read_text

JOBS = "jobs"
BEAT = 5.0  # seconds between two signs of life
PATIENCE = 4  # beats without one: the job is dead
_STALE = 60.0  # seconds after which nobody is about to name a file any more


@dataclass(frozen=True)
class Job:
    """One job, as its file has it.

    Attributes:
        host: name of the machine.
        space: in which process numbers mean the same: a container, since the machine started.
        process: its number.
        began: when the process began, on the machine's own clock.
        since: when the job took the run, for people.
        ended: whether it let go of the run.
    """

    host: str
    space: str
    process: int
    began: float
    since: str
    ended: bool = False

    @property
    def here(self) -> bool:
        """Whether its process would be seen from here."""
        return (self.host, self.space) == (platform.node(), _space())

    def runs(self) -> bool:
        """Whether its process is there; only where it would be seen."""
        return _began(self.process) == self.began

    def told(self) -> str:
        """For messages."""
        return f"process {self.process} on {self.host}, since {self.since}"


def require_unheld(run: Path) -> None:
    """Refuse a run in which a job trains; writes nothing.

    Raises:
        ValueError: one does.
    """
    numbers = _numbers(run / JOBS)
    if numbers:
        _require_over(run, _file(run, max(numbers)))


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Keep other jobs out of a run, which is made if it is not there.

    Raises:
        ValueError: another job trains there, or came first just now.
    """
    folder = run / JOBS
    folder.mkdir(parents=True, exist_ok=True)
    own = _myself()
    path = _take(run, own)
    _remove_unnamed(folder, path)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    beating.start()
    try:
        yield
    finally:
        stop.set()
        beating.join()
        with suppress(OSError):  # the disk may be full, or the run gone
            draft = _written(folder, replace(own, ended=True))
            draft.replace(path)


def _take(run: Path, own: Job) -> Path:
    """The file of the next number, created by this process alone."""
    folder = run / JOBS
    last = max(_numbers(folder), default=0)
    while True:
        if last:
            _require_over(run, _file(run, last))
        path = _file(run, last + 1)
        if _create(folder, path, own):
            return path
        last += 1  # somebody was quicker


def _create(folder: Path, path: Path, own: Job) -> bool:
    """Create a file with its contents, unless it is there."""
    draft = _written(folder, own)
    try:
        os.link(draft, path)
    except FileExistsError:
        return draft.samefile(path)  # over a network, a link may be made and its answer lost
    except OSError:  # a disk without links
        return _create_empty(path, draft)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _create_empty(path: Path, draft: Path) -> bool:
    """As `_create`; for a moment the file is empty, which counts as held."""
    try:
        with path.open("x") as file:
            file.write(draft.read_text())
    except FileExistsError:
        return False
    return True


def _written(folder: Path, job: Job) -> Path:
    path = folder / f".{secrets.token_hex(8)}.json"
    with path.open("x") as file:
        file.write(json.dumps(asdict(job)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return path


def _remove_unnamed(folder: Path, own: Path) -> None:
    """Remove what killed jobs left; younger files may be another job's that is just starting."""
    for path in folder.glob(".*.json"):
        with suppress(OSError):
            if path.stat().st_mtime < own.stat().st_mtime - _STALE:
                path.unlink()


def _require_over(run: Path, path: Path) -> None:
    """Refuse unless the job of this file has ended or is dead.

    Raises:
        ValueError: it trains.
    """
    job = _read(path)
    if job is not None and job.ended:
        return
    alive = job.runs() if job is not None and job.here else _gets_younger(path)
    if alive:
        who = "" if job is None else f" ({job.told()})"
        raise ValueError(f"another process is training in {run}{who}; wait for it, or stop it")


def _gets_younger(path: Path) -> bool:
    """Whether somebody gives signs of life; no two clocks are compared."""
    try:
        before = path.stat().st_mtime_ns
        for _ in range(int(PATIENCE * 2)):
            time.sleep(BEAT / 2)
            if path.stat().st_mtime_ns != before:
                job = _read(path)
                return job is None or not job.ended
    except FileNotFoundError:
        return False
    return False


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def _read(path: Path) -> Job | None:
    """The job of a file; None: it says nothing, or not yet."""
    try:
        return build(Job, parse_json(read_text(path, MOST_JSON)))
    except (ValueError, OSError):
        return None


def _numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return [int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal()]


def _file(run: Path, number: int) -> Path:
    return run / JOBS / f"{number:05d}.json"


def _myself() -> Job:
    process, since = os.getpid(), datetime.now(UTC).isoformat(timespec="seconds")
    began = _began(process)
    assert began is not None, "this process is there"
    return Job(platform.node(), _space(), process, began, since)


def _began(process: int) -> float | None:
    """When a process began; None: it is not there, or dead and not yet buried."""
    if Path("/proc/self/stat").exists():  # clock ticks since the machine started: no clock is set
        try:
            state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if state in "ZX" else float(rest[18])
    try:
        found = psutil.Process(process)
        return None if found.status() == psutil.STATUS_ZOMBIE else found.create_time()
    except psutil.Error:
        return None


def _space() -> str:
    words = []
    with suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        words.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(words)
