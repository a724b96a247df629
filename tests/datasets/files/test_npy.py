"""Arrays of NumPy: single files, archives, and folders of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pelagos.datasets import open_store
from pelagos.datasets.stores.store import Store

U = np.random.default_rng(0).normal(size=(3, 12, 8, 6)).astype("f4")
TEXT = "axes: [trajectory, time, x, y]\nfields: {u: u}\ntime: {step: 0.5}\n"


def described(folder: Path, text: str = TEXT) -> Store:
    (folder / "description.yaml").write_text(text)
    return open_store(folder)


def same(store: Store, values: np.ndarray) -> bool:
    frames = [store.trajectory(i)[:, 0].numpy() for i in range(len(store))]
    return np.array_equal(np.stack(frames), values)


def test_one_file(tmp_path: Path) -> None:
    np.save(tmp_path / "u.npy", U)
    assert same(described(tmp_path), U)
    assert same(open_store(tmp_path / "u.npy"), U)


def test_an_archive(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", u=U.astype("f8"), t=0.25 * np.arange(12))
    store = described(tmp_path, TEXT.replace("{step: 0.5}", "t"))
    assert same(store, U)
    assert store.dt == 0.25


def test_a_folder_of_frames_is_one_run(tmp_path: Path) -> None:
    for k, frame in enumerate(U[0]):
        np.save(tmp_path / f"u_{k}.npy", frame)  # 10 after 9
    assert same(described(tmp_path, TEXT.replace("trajectory, ", "")), U[:1])
    np.save(tmp_path / "u_3.npy", U[0, 0, :4])
    with pytest.raises(ValueError, match=r"u_3\.npy has shape \(4, 6\)"):
        open_store(tmp_path).trajectory(0)


def test_a_folder_of_frames_for_each_run(tmp_path: Path) -> None:
    for r, run in enumerate(U):
        (tmp_path / f"run{r}").mkdir()
        for k, frame in enumerate(run):
            np.save(tmp_path / f"run{r}" / f"{k:04d}.npy", frame)
    text = TEXT.replace("trajectory, ", "").replace("u: u", "u: 'run*/frames'")
    assert same(described(tmp_path, text), U)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    with (tmp_path / "u.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"\x80\x04]\x94}\x94a.")  # what an array of one object holds
    with pytest.raises(ValueError, match=r"u\.npy cannot be read \(it holds objects"):
        described(tmp_path)
