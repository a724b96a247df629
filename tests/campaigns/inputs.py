"""Inputs that were mutated: opened, or refused in a line, within bounds of time and memory."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import yaml
from children import start
from damage import damage
from fuzz_layouts import read_all
from layout_files import DESCRIPTION, FILES
from ledger import Case
from made import OBSERVATIONS, RECIPE, Made

from pelagos.datasets.base.config import read
from pelagos.datasets.fields.grid import Grid
from pelagos.finetune.assimilate.observations import Domain, ObservationFile
from pelagos.operators.core.checkpoint import read_config
from pelagos.pretrain.recipe import TrainRecipe

SECTION = "mutated inputs"
SLOWEST, LARGEST = 2.0, 2**30  # seconds of a processor, and bytes, that a case may take
BATCH = 50  # cases of one child
_HANGS = 120.0  # seconds of the clock


def batch(made: Made, numbers: Sequence[int]) -> list[Case]:
    """Some cases in a child; one that ends the child is a finding, and the others come later."""
    folder = made.place("inputs")
    results = folder / "results.jsonl"

    def all_of_them() -> None:
        with results.open("w") as file:
            for number in numbers:
                print(json.dumps(number), file=file, flush=True)
                print(
                    json.dumps(asdict(_case(made, number, folder / "case"))), file=file, flush=True
                )

    ended = start(all_of_them, folder / "words").wait(_HANGS + SLOWEST * len(numbers))
    found = [json.loads(line) for line in results.read_text().splitlines()]
    cases = [Case(**each) for each in found if isinstance(each, dict)]
    if ended.status:
        begun = [each for each in found if isinstance(each, int)][-1]
        wrong = f"ended its process: {ended.wrong or ended}"
        cases.append(Case(SECTION, begun, _kind(begun), "died", wrong))
    return cases


def _case(made: Made, number: int, place: Path) -> Case:
    """Mutate one input, and open it."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    kind = _kind(number)
    opened = KINDS[kind](made, number, place)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is resident now
    before, began = _peak(), time.process_time()
    try:
        opened()
        outcome, wrong = "opened", ""
    except ValueError as error:
        outcome, wrong = "refused", "" if "\n" not in str(error) else f"several lines: {error!r}"
    except BaseException as error:
        outcome, wrong = "traceback", repr(error)[:300]
    seconds, grown = time.process_time() - began, _peak() - before
    if not wrong and (seconds > SLOWEST or grown > LARGEST):
        wrong = f"{seconds:.1f} s, {grown / 2**20:.0f} MiB"
    return Case(SECTION, number, kind, outcome, wrong, seconds, grown)


def _kind(number: int) -> str:
    return list(KINDS)[number % len(KINDS)]


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _mutated(path: Path, text: str, number: int) -> None:
    """A text with bytes damaged, words exchanged, or a value replaced by an odd one."""
    draw = random.Random(f"input {number}")
    way, data = draw.randrange(3), text.encode()
    path.write_bytes(data)
    if way == 0:
        for _ in range(draw.randrange(1, 4)):
            data = damage(data, draw)
        path.write_bytes(data)
    elif way == 1:
        hostile.damage_text(path, np.random.default_rng(number))
    else:
        lines = text.splitlines()
        at = draw.randrange(len(lines))
        key, colon, _ = lines[at].rpartition(":")
        lines[at] = f"{key}{colon} {draw.choice(ODD)}" if colon else draw.choice(ODD)
        path.write_text("\n".join(lines) + "\n")


ODD = (
    *("-1", "0", "1e308", "1e400", "-1e-320", ".nan", ".inf", "null", "true", "''", "[]", "{}"),
    *("18446744073709551616", "9" * 5000, "100000", "1:1:1", "010", "0x10", "1_000", "2026-01-01"),
    *("[" * 200, "{a: " * 200, "&a [*a]", "*b", "!!python/object:os.system x", "!!binary ///"),
    *(
        "../../etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "file:///etc/passwd",
        "\\u202e",
        "a" * 100_000,
    ),
)


def _recipe(made: Made, number: int, place: Path) -> Callable[[], Any]:
    text = yaml.safe_dump({"data": [{"path": "x", "weight": 1.0}], **RECIPE}, sort_keys=False)
    _mutated(place / "recipe.yaml", text, number)
    return lambda: read(TrainRecipe, place / "recipe.yaml")


def _description(made: Made, number: int, place: Path) -> Callable[[], Any]:
    shutil.copytree(made.made / "described-hdf5", place, dirs_exist_ok=True)
    _mutated(place / "description.yaml", DESCRIPTION.replace("0.8", "10"), number)
    return lambda: read_all(place / "my data [1].dat")


def _config(made: Made, number: int, place: Path) -> Callable[[], Any]:
    name = "model" if number // len(KINDS) % 2 else "observer"
    text = (made.made / name / "config.json").read_text()
    _mutated(place / "config.json", text, number)
    return lambda: read_config(place)


def _observations(made: Made, number: int, place: Path) -> Callable[[], Any]:
    domain = Domain(("u",), Grid.unit((8,)), 0.0, reach=1e4)
    _mutated(place / "seen.csv", OBSERVATIONS, number)
    return lambda: ObservationFile(place / "seen.csv", domain)


def _data(made: Made, number: int, place: Path) -> Callable[[], Any]:
    """A file of any layout, damaged as accident or malice does it."""
    name = list(FILES)[number // len(KINDS) % len(FILES)]
    template = made.folder / "templates" / name
    if not template.is_dir():
        template.mkdir(parents=True)
        path = FILES[name](template).path
        (template / ".path").write_text(str(path.relative_to(template)))
    shutil.copytree(template, place / "data")
    path = place / "data" / (template / ".path").read_text()
    hostile.damage(path, np.random.default_rng(number))
    return lambda: read_all(path)


KINDS: dict[str, Callable[[Made, int, Path], Callable[[], Any]]] = {
    "recipe": _recipe,
    "description": _description,
    "config": _config,
    "observations": _observations,
    "data": _data,
}
