"""What stays on record when training goes on from a state."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pelagos.pretrain.run.history import extent, require_record


def line(kind: str, step: int, **values: object) -> str:
    return json.dumps({"kind": kind, "step": step, **values}) + "\n"


BEFORE = line("valid", 0) + line("train", 1) + line("rewound", 2) + line("train", 2)
BEFORE += line("speed", 2)
AFTER = line("valid", 2, vrmse=0.5) + line("early_stopping", 2)


@pytest.mark.parametrize("after", ["", AFTER, AFTER + line("train", 3), AFTER + '{"kind": "tr'])
@pytest.mark.parametrize("more", [0, 3, 5_000])
def test_it_ends_with_the_last_line_before_a_save(tmp_path: Path, after: str, more: int) -> None:
    later = after and after + (line("train", 3) * more if after.endswith("\n") else "")
    (tmp_path / "log.jsonl").write_text(BEFORE + later)
    expected = len(BEFORE), hashlib.sha256(BEFORE.encode()).hexdigest()
    assert extent(tmp_path, 2) == expected
    require_record(tmp_path, expected)


def test_a_log_of_later_steps_alone_has_nothing_before(tmp_path: Path) -> None:
    nothing = 0, hashlib.sha256().hexdigest()
    assert extent(tmp_path, 2) == nothing
    (tmp_path / "log.jsonl").write_text(line("train", 3) * 5_000)
    assert extent(tmp_path, 2) == nothing


@pytest.mark.parametrize("text", [BEFORE.replace("1", "7", 1), BEFORE[:-1], BEFORE[20:], ""])
def test_other_lines_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(BEFORE + AFTER)
    known = extent(tmp_path, 2)
    path.write_text(text)
    with pytest.raises(ValueError, match=r"log\.jsonl is (damaged|missing or empty)"):
        require_record(tmp_path, known)


def test_what_an_earlier_version_saved_says_nothing_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(BEFORE)
    require_record(tmp_path, (0, ""))
