"""A drafted description opens its file, and says what it guessed."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import xarray
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.layouts.description import Description
from pelagos.datasets.tools.draft import draft
from pelagos.datasets.tools.findings import time_findings
from pelagos.finetune.cli.console import main

U = np.random.default_rng(0).normal(size=(3, 7, 8, 6)).astype("f4")


def test_what_the_file_says_is_taken_from_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["t"], file["x"] = U, 0.5 * np.arange(7), np.arange(8) / 4
        file["nu"], file["h"], file.attrs["beta"] = 0.1, U[0, 0], 0.3
    main(["data", "describe", str(tmp_path / "a.h5"), "--out", f"{tmp_path}/description.yaml"])
    store = open_store(tmp_path)
    assert np.array_equal(store.trajectory(2)[:, 0].numpy(), U[2])
    assert (store.dt, store.grid.lengths, store.constant_fields) == (0.5, (2.0, 1.0), ("h",))
    assert dict(zip(store.parameter_names, store.parameter_table()[0], strict=True)) == {
        "nu": 0.1,
        "beta": 0.3,
    }
    text = (tmp_path / "description.yaml").read_text()
    assert "#   y: 6 points (a guess, from its place)" in text
    assert "boundary: open  # not in the file" in text


def test_groups_are_trajectories(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for r, run in enumerate(U):
            file[f"run{r}/u"] = run
    said = yaml.safe_load(draft(tmp_path / "a.h5"))
    assert (said["axes"], said["fields"]) == (["time", "x", "y"], {"u": "*/u"})
    (tmp_path / "description.yaml").write_text(draft(tmp_path / "a.h5"))
    assert np.array_equal(open_store(tmp_path).trajectory(1)[:, 0].numpy(), U[1])


def test_frames_of_numpy(tmp_path: Path) -> None:
    for k, frame in enumerate(U[0]):
        np.save(tmp_path / f"u{k}.npy", frame)
    (tmp_path / "description.yaml").write_text(draft(tmp_path).replace("trajectory, time, x]", ""))
    assert "u" in yaml.safe_load(draft(tmp_path))["fields"]


def test_the_page_names_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    main(["help", "data"])
    page = capsys.readouterr().out
    assert [key for key in Description.__dataclass_fields__ if f"{key}:" not in page] == []


def test_components_on_faces_are_told_of(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p"], file["u"] = np.zeros((3, 8, 6)), np.zeros((3, 9, 6))
    text = "axes: [time, x, y]\nfields: {p: p, u: u}\ntime: {step: 1}\n"
    (tmp_path / "description.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"to cell centres: staggered: \{u: x\}"):
        open_store(tmp_path)
    (tmp_path / "description.yaml").write_text(text + "staggered: {u: x}\n")
    assert open_store(tmp_path).fields == ("p", "u")
    (tmp_path / "description.yaml").write_text(text)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        v = file["u"][()]
        del file["u"]
        file["u"] = (v[:, 1:] + v[:, :-1]) / 2
    assert open_store(tmp_path).fields == ("p", "u")


def _kinds(path: Path) -> list[str]:
    return [finding.kind for finding in time_findings(open_store(path))]


def _monthly(folder: Path) -> Path:
    """A run over three files, the times of each since its own first day."""
    folder.mkdir()
    u = np.random.default_rng(0).normal(size=(12, 4, 8))
    for part in range(3):
        dataset = xarray.Dataset(
            {"u": (("time", "y", "x"), u[4 * part : 4 * part + 4])},
            {"time": ("time", np.arange(4.0)), "y": np.arange(4.0), "x": np.arange(8.0)},
        )
        dataset["time"].attrs = {"units": f"days since 2000-01-{1 + 4 * part:02d}"}
        dataset.to_netcdf(folder / f"part{part}.nc", engine="h5netcdf")
    return folder


def test_files_that_continue_each_other_are_joined(tmp_path: Path) -> None:
    folder = _monthly(tmp_path / "run")
    assert "parts_of_a_run" in _kinds(folder)
    text = draft(folder)
    assert "join: [time]" in text
    assert "It opens so: 1 trajectory of 12 frames" in text
    (folder / "description.yaml").write_text(text)
    store = open_store(folder)
    assert store.trajectory_times(0).tolist() == list(range(12))
    assert "parts_of_a_run" not in _kinds(folder)


def test_files_of_one_field_each_are_joined(tmp_path: Path) -> None:
    rng, lines = np.random.default_rng(0), {"y": np.arange(4.0), "x": np.arange(8.0)}
    for name in ("t", "q"):
        values = {name: (("time", "y", "x"), rng.normal(size=(5, 4, 8)))}
        path = tmp_path / f"{name}.nc"
        xarray.Dataset(values, {"time": np.arange(5.0), **lines}).to_netcdf(path)
    with pytest.raises(ValueError, match=r"or as one by `join: fields` in a description\.yaml"):
        open_store(tmp_path)
    text = draft(tmp_path)
    assert "join: [fields]" in text
    (tmp_path / "description.yaml").write_text(text)
    assert set(open_store(tmp_path).fields) == {"t", "q"}


def test_runs_that_begin_alike_are_trajectories(tmp_path: Path) -> None:
    lines = {"time": np.arange(5.0), "y": np.arange(4.0), "x": np.arange(8.0)}
    for run in range(3):
        u = np.random.default_rng(run).normal(size=(5, 4, 8))
        xarray.Dataset({"u": (("time", "y", "x"), u)}, lines).to_netcdf(tmp_path / f"{run}.nc")
    assert "join" not in draft(tmp_path)
    assert "parts_of_a_run" not in _kinds(tmp_path)


def test_rows_of_matlab_are_coordinates(tmp_path: Path) -> None:
    values = {"u": np.zeros((20, 16, 12)), "x": np.linspace(0, 1, 20), "y": np.linspace(0, 1, 16)}
    scipy.io.savemat(tmp_path / "a.mat", {**values, "t": np.arange(12.0)})
    text = draft(tmp_path / "a.mat")
    assert "axes: [x, y, time]" in text
    assert "It opens so: 1 trajectory of 12 frames, (20, 16) points" in text
