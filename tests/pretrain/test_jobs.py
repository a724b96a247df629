"""A run belongs to one job: also when two start at once, and when the last one was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pelagos.pretrain.run import jobs
from pelagos.pretrain.run.jobs import held, require_unheld

CLAIM = """
import sys, pathlib
from pelagos.pretrain.run.jobs import held
run = pathlib.Path(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:  # a folder to take
    try:
        with held(run / line.strip()):
            print("took", flush=True)
            sys.stdin.readline()
    except ValueError as error:
        print(error, flush=True)
        sys.stdin.readline()
"""


def claimers(folder: Path, count: int) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CLAIM, str(folder)]
    found = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for each in found:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    return found


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_of_two_that_start_at_once_one_takes_the_run(tmp_path: Path) -> None:
    both = claimers(tmp_path, 2)
    try:
        for i in range(20):
            for process in both:
                tell(process, f"run{i % 3}")  # also one that had jobs before
            answers = sorted(answer(process) for process in both)
            assert answers[1] == "took\n"
            assert answers[0].startswith("another process is training in ")
            for process in both:
                tell(process, "go on")
            time.sleep(0.02)
    finally:
        for process in both:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


def test_a_killed_job_is_followed_by_the_next_at_once(tmp_path: Path) -> None:
    (process,) = claimers(tmp_path, 1)
    tell(process, "run")
    assert answer(process) == "took\n"
    with pytest.raises(ValueError, match=rf"\(process {process.pid} on .*, since .*\); wait for"):
        require_unheld(tmp_path / "run")
    process.kill()  # and not waited for: it is a zombie
    time.sleep(0.2)
    with held(tmp_path / "run"):
        names = sorted(path.name for path in (tmp_path / "run" / "jobs").iterdir())
        assert names == ["00001.json", "00002.json"]
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def elsewhere(run: Path) -> Path:
    """The file of a job on another machine."""
    with held(run):
        pass
    path = run / "jobs" / "00001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "far", "ended": False}))
    return path


def test_a_job_elsewhere_lives_as_long_as_its_file_gets_younger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = elsewhere(tmp_path / "run")
    monkeypatch.setattr(jobs, "BEAT", 0.05)
    sleep = time.sleep

    def beat(seconds: float) -> None:
        os.utime(path)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", beat)
    with pytest.raises(ValueError, match=r"another process is training in .* on far"):
        held(tmp_path / "run").__enter__()
    monkeypatch.setattr(time, "sleep", sleep)
    with held(tmp_path / "run"):
        assert (tmp_path / "run" / "jobs" / "00002.json").is_file()


def test_a_file_that_a_killed_job_left_empty_does_not_keep_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(tmp_path / "run").write_text("")
    monkeypatch.setattr(jobs, "BEAT", 0.01)
    with held(tmp_path / "run"):
        pass


def test_another_process_of_the_same_number_is_not_the_job(tmp_path: Path) -> None:
    path = elsewhere(tmp_path / "run")
    own = jobs._myself()
    values = {**json.loads(path.read_text()), "host": own.host, "began": own.began - 1}
    path.write_text(json.dumps(values))
    with held(tmp_path / "run"):
        pass
