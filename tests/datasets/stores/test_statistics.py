"""`pelagos data stats`: the numbers of The Well's stats.yaml, from any layout."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.stores.statistics import split_statistics, well_form, write_stats
from pelagos.finetune.cli.console import main

NAMES = ("p", "velocity_x", "velocity_y", "D_xx", "D_xy", "D_yx", "D_yy")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, split in enumerate(("train", "valid")):
        rng = np.random.default_rng(seed)
        shape = (2, 6, 5, 4)
        data = WellData(
            dataset="made",
            grid=Grid((5, 4), (1.0, 1.0), ("open", "open")),
            times=np.arange(6) * 1.0,
            fields={k: (3 * rng.standard_normal(shape) + 100).astype("f4") for k in NAMES},
            constant_fields={"depth": rng.random((2, 5, 4)).astype("f4")},
        )
        write_file(tmp_path / "made" / "data" / split / "a.hdf5", data)
    return tmp_path / "made"


def test_statistics_are_those_of_numpy(root: Path) -> None:
    store = open_store(root)
    found = split_statistics(store)
    assert list(found) == ["train", "valid"]
    for split, part in store.splits.items():
        values = np.stack([store.trajectory(i).numpy() for i in part])[:, :, 1].astype("f8")
        change = np.diff(values, axis=1)
        expected = {
            "mean": values.mean(),
            "std": values.std(),
            "rms": np.sqrt((values**2).mean()),
            "min": values.min(),
            "max": values.max(),
            "mean_delta": change.mean(),
            "std_delta": change.std(),
            "rms_delta": np.sqrt((change**2).mean()),
        }
        assert found[split]["velocity_x"] == pytest.approx(expected, rel=1e-10)
    assert set(found["train"]["depth"]) == {"mean", "std", "rms", "min", "max"}


def test_the_written_form_is_that_of_the_well(root: Path, tmp_path: Path) -> None:
    """Vectors and tensors are nested, constant fields have no changes: as from the files."""
    write_stats(root)
    out = tmp_path / "stats.yaml"
    main(["data", "stats", str(root), "--out", str(out)])
    found, expected = (
        yaml.safe_load(out.read_text()),
        yaml.safe_load((root / "stats.yaml").read_text()),
    )
    assert found.keys() == expected.keys()
    for statistic, fields in expected.items():
        assert found[statistic].keys() == fields.keys()
        for name, values in fields.items():
            np.testing.assert_allclose(found[statistic][name], values, rtol=1e-9, atol=1e-12)
    assert np.shape(found["mean"]["D"]) == (2, 2)


def test_frames_of_a_steady_problem_have_no_changes(tmp_path: Path) -> None:
    grid = Grid((8,), (1.0,), ("open",))
    values = np.random.default_rng(0).random((3, 1, 8)).astype("f4")
    data = WellData("a", grid, np.zeros(1), {"u": values}, {"k": values[:, 0]})
    write_file(tmp_path / "a.hdf5", data)
    (statistics,) = split_statistics(open_store(tmp_path / "a.hdf5")).values()
    form = well_form(statistics, 1)
    assert form["mean"].keys() == {"u", "k"}
    assert form["std_delta"] == {}


def test_the_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "stats", str(root), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["valid"]["p"]["mean"] == pytest.approx(100, abs=1)
    main(["data", "stats", str(root), "--split", "train"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["train", *["mean", "std", "rms", "min", "max"],
                                "mean_delta", "std_delta", "rms_delta"]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == [*NAMES, "depth"]


def test_what_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "stats.yaml"
    out.write_text("mine")
    with pytest.raises(SystemExit):
        main(["data", "stats", str(root), "--out", str(out)])
    assert "exists already" in capsys.readouterr().err
    assert out.read_text() == "mine"
    main(["data", "stats", str(root), "--out", str(out), "--overwrite"])
    with h5py.File(root / "data" / "train" / "a.hdf5", "r+") as file:
        file["t0_fields/p"][1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="'p' of trajectory 1 holds NaN"):
        split_statistics(open_store(root))
