"""Files that were changed: none may be taken for what was written."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from ledger import Case
from made import CONTAINERS, Made

from pelagos.datasets.base.manifest import MANIFEST, faults
from pelagos.datasets.layouts import index as indices
from pelagos.operators import from_pretrained
from pelagos.operators.core.adapter import read_adapter
from pelagos.pretrain.run.fingerprints import DATA, other_data
from pelagos.pretrain.run.history import require_record
from pelagos.pretrain.run.records import read_runs
from pelagos.pretrain.run.state import latest, recorded_in, set_damaged_aside

REFUSED, ACCEPTED = "refused", "accepted"
UNCHECKED = "without checksums"  # as copies of two files are, and what earlier versions wrote


def damage(data: bytes, draw: random.Random) -> bytes:
    """Bytes with one bit flipped, a part lost, or a part doubled."""
    kind, at = draw.randrange(4), draw.randrange(max(1, len(data)))
    if kind < 2 and data:
        changed = bytearray(data)
        changed[at] ^= 1 << draw.randrange(8)
        return bytes(changed)
    length = draw.randrange(1, 9)
    return data[:at] + data[at + length :] if kind == 2 else data[: at + length] + data[at:]


def case(made: Made, number: int) -> Case:
    """Damage one file of a kind, and open what it belongs to."""
    draw = random.Random(f"damage {number}")
    kind = list(KINDS)[number % len(KINDS)]
    source, opened = KINDS[kind](made)
    place = made.place("damaged") / source.name
    if source.is_dir():
        shutil.copytree(source, place)
    else:
        shutil.copyfile(source, place)
    path = _victim(kind, place, draw)
    before = path.read_bytes()
    lost = draw.random() < 0.05
    after = b"" if lost else damage(before, draw)
    while after == before:
        after = damage(before, draw)
    path.write_bytes(after)
    if lost:
        path.unlink()
    try:
        outcome, wrong = opened(place), ""
    except ValueError as error:
        outcome = REFUSED
        wrong = f"several lines: {error!r}" if "\n" in str(error) else ""
    except Exception as error:
        outcome, wrong = "traceback", f"{path.name}: {error!r}"
    if outcome == ACCEPTED and _same(path, before, after):
        outcome = "same meaning"
    elif outcome == ACCEPTED and lost and path.name == MANIFEST:
        outcome = UNCHECKED
    elif outcome == ACCEPTED:
        wrong = f"{path} was changed, and taken"
    return Case("damaged files", number, kind, outcome, wrong)


def _victim(kind: str, place: Path, draw: random.Random) -> Path:
    """The file that is damaged."""
    if kind == "log":
        return place / "log.jsonl"
    if kind == "record of data":
        known = place.with_name("known")
        known.mkdir()
        shutil.copyfile(place / DATA, known / DATA)
        return place / DATA
    files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
    return draw.choice(_newest(files, place) if kind.startswith("state") else files)


def _newest(files: list[Path], run: Path) -> list[Path]:
    state = latest(run)
    assert state is not None
    return [path for path in files if path.is_relative_to(state)]


def _same(path: Path, before: bytes, after: bytes) -> bool:
    """Whether only spaces and ends of lines of a text are others."""
    if not after:
        return False
    if path.name in ("evaluation.json", "an index.json", DATA):
        return json.loads(before) == json.loads(after)
    return path.name == MANIFEST and before.strip() == after.strip()


def _checkpoint(place: Path) -> str:
    from_pretrained(place)
    from_pretrained(place / "best")
    return ACCEPTED


def _adapter(place: Path) -> str:
    read_adapter(place)
    return ACCEPTED


def _state(run: Path) -> str:
    """The newest is set aside, by name; the one before is taken."""
    newest, said = latest(run), list[str]()
    assert newest is not None
    set_damaged_aside(run, said.append)
    if latest(run) == newest:
        return ACCEPTED
    assert str(newest) in said[0], said
    return REFUSED


def _log(run: Path) -> str:
    """Of the lines that were there when the last state was saved."""
    state = latest(run)
    assert state is not None
    require_record(run, recorded_in(state))
    return ACCEPTED


def _data(run: Path) -> str:
    """What a run knows of its data."""
    known = json.loads((run.with_name("known") / DATA).read_text())["seen"][-1]
    return REFUSED if other_data(run, known, recorded=True) else ACCEPTED


def _dataset(place: Path) -> str:
    return REFUSED if list(faults(place)) else ACCEPTED


def _unchecked(place: Path) -> str:
    """A dataset that lost its manifest is one without; all else is as above."""
    return _dataset(place) if (place / MANIFEST).is_file() else ACCEPTED


def _evaluation(place: Path) -> str:
    run = place.with_name("run")
    run.mkdir()
    (run / "recipe.yaml").write_text("steps: 1\n")
    if not place.is_file():
        return REFUSED
    shutil.copyfile(place, run / "evaluation.json")
    return REFUSED if read_runs([run])[0].evaluation is None else ACCEPTED


def _index(place: Path) -> str:
    return REFUSED if indices._load(place) is None else ACCEPTED


def _kept_index(made: Made) -> Path:
    """An index, as the opening of a large store leaves it."""
    path = made.folder / "an index.json"
    if not path.is_file():
        content = {"valid_for": [1, "path"], "headers": [{"name": "u"}], "files": {"a": 0.25}}
        path.write_text(json.dumps({"digest": indices._digest(content), **content}))
    return path


def _log_run(made: Made) -> Path:
    """A run whose log ends with its last state."""
    path = made.folder / "logged" / "run"
    if not path.is_dir():
        shutil.copytree(made.whole, path)
        state = latest(path)
        assert state is not None
        length, _ = recorded_in(state)
        log = path / "log.jsonl"
        log.write_bytes(log.read_bytes()[:length])
    return path


Opened = tuple[Path, Callable[[Path], str]]
KINDS: dict[str, Callable[[Made], Opened]] = {
    "checkpoint": lambda made: (made.whole / "checkpoint", _checkpoint),
    "state": lambda made: (made.whole, _state),
    "state of an adapter": lambda made: (made.made / "adapted", _state),
    "adapter": lambda made: (made.made / "adapter", _adapter),
    "record of data": lambda made: (made.whole, _data),
    "log": lambda made: (_log_run(made), _log),
    "evaluation": lambda made: (made.made / "evaluation.json", _evaluation),
    "index": lambda made: (_kept_index(made), _index),
    "dataset": lambda made: (made.data, _unchecked),
    **{
        f"dataset: {name}": lambda made, name=name: (made.made / name, _unchecked)
        for name in CONTAINERS
    },
}
