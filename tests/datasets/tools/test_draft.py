"""A drafted description opens its file, and says what it guessed."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.layouts.description import Description
from pelagos.datasets.tools.draft import draft
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
