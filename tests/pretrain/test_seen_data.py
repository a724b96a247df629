"""A run goes on with the data that it began with, wherever they lie, and with no others unasked."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from accelerate.state import AcceleratorState

from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain.training import pretrain

RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 1, "modes": 2},
    "steps": 2,
    "batch": 2,
    "micro_batch": 2,
    "log_every": 1,
    "save_every": 1,
    "validation": {"every": 2, "trajectories": 1, "horizon": 2},
}


def made(folder: Path, seed: int = 0) -> Path:
    sizes = {"trajectories": {"train": 3, "valid": 2}, "resolution": 40, "frames": 6}
    return simulate("advection_1d", folder, **sizes, seed=seed)


def train(run: Path, data: Path, name: str | None = None, **options: bool) -> None:
    recipe = run.with_name("recipe.yaml")
    recipe.write_text(yaml.safe_dump({"data": [{"path": str(data), "name": name}], **RECIPE}))
    AcceleratorState._reset_state(reset_partial_state=True)
    pretrain(recipe, run, **options)


@pytest.fixture
def stopped(tmp_path: Path) -> tuple[Path, Path]:
    """A run that was killed before it was published, and its data."""
    run, data = tmp_path / "run", made(tmp_path / "data")
    train(run, data)
    shutil.rmtree(run / "checkpoint")
    shutil.rmtree(run / "state" / "step-00000002")
    return run, data


def replaced(data: Path) -> None:
    """Other data under the same name, of the same size and time."""
    other = made(data.parent.parent / "other", seed=1)
    times = {path.relative_to(data): path.stat().st_mtime_ns for path in data.rglob("*.hdf5")}
    shutil.rmtree(data)
    shutil.move(other, data)
    for name, time in times.items():
        os.utime(data / name, ns=(time, time))


def test_data_that_were_replaced_are_refused_unless_it_is_wanted_so(stopped):
    run, data = stopped
    replaced(data)
    with pytest.raises(ValueError, match=r"advection_1d \(train\) has .*other values.*--no-verify"):
        train(run, data, resume=True)
    assert len(json.loads((run / "data.json").read_text())["seen"]) == 1
    train(run, data, resume=True, verify=False)
    first, second = json.loads((run / "data.json").read_text())["seen"]
    assert first["advection_1d (valid)"]["values"] != second["advection_1d (valid)"]["values"]


def test_the_same_data_elsewhere_are_taken_and_it_is_on_record(stopped, tmp_path):
    run, data = stopped
    elsewhere = tmp_path / "scratch" / "node7"
    shutil.move(data, elsewhere)
    with pytest.raises(ValueError, match=r"other name \(mine; it was advection_1d\)"):
        train(run, elsewhere, "mine", resume=True)
    train(run, elsewhere, "advection_1d", resume=True)
    records = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    assert [r["change"] for r in records if r["kind"] == "recipe"] == [
        f"data[0].path was '{data}', now '{elsewhere}'",
        "data[0].name was None, now 'advection_1d'",
    ]


def test_a_run_of_an_earlier_version_gets_a_record(stopped, tmp_path):
    run, data = stopped
    (run / "data.json").unlink()
    for state in (run / "state").iterdir():
        progress = json.loads((state / "progress.json").read_text())
        del progress["data"]
        (state / "progress.json").write_text(json.dumps(progress))
        (state / "SHA256SUMS").unlink()
    elsewhere = shutil.copytree(data, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"another recipe: data\[0\]\.path was"):
        train(run, elsewhere, resume=True)
    train(run, data, resume=True)
    assert (run / "data.json").is_file()


@pytest.mark.parametrize(
    "text", ["", "{}", '{"seen": []}', '{"seen": [{"a": {"b": "c"}}], "sha256": "0"}']
)
def test_a_damaged_or_lost_record_is_refused(stopped, text):
    run, data = stopped
    if text:
        (run / "data.json").write_text(text)
    else:
        (run / "data.json").unlink()
    with pytest.raises(ValueError, match=r"data\.json.*(damaged|missing).*--no-verify"):
        train(run, data, resume=True)
    train(run, data, resume=True, verify=False)


def test_other_data_are_said_by_a_dry_run_too(stopped):
    run, data = stopped
    replaced(data)
    with pytest.raises(ValueError, match="trained on other data"):
        train(run, data, resume=True, dry_run=True)
