"""A layout that another package adds is read, detected and named like our own."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from pelagos.datasets import open_store
from pelagos.datasets.layouts.detect import LAYOUTS, choose, detect, named

CODE = """
import numpy as np
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.files.hdf5 import Hdf5File, metadata
from pelagos.datasets.layouts.arrays import ArraySource, Variable
from pelagos.datasets.layouts.layout import Layout
from pelagos.datasets.layouts.source import Header


def matches(path):
    try:
        with metadata(path) as root:
            return "theirs" in root
    except ValueError:
        return False


def open_file(path, split, variant):
    file = Hdf5File(path)
    n, frames, points = file.array("theirs").shape
    header = Header(
        axes=("x",),
        grid=Grid.unit((points,)),
        times=np.arange(float(frames)),
        rows=range(n),
    )
    channels = {"u": Variable("theirs", ("trajectory", "time", "x"))}
    return {split: ArraySource(file, header, channels)}


LAYOUT = Layout("Theirs", matches, open_file)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "site"
    (folder / "theirs-1.2.dist-info").mkdir(parents=True)
    (folder / "their_layout.py").write_text(CODE)
    (folder / "theirs-1.2.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1.2\n")
    entries = "[pelagos.layouts]\nTheirs = their_layout:LAYOUT\n"
    (folder / "theirs-1.2.dist-info" / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(folder)
    return "Theirs"


def test_it_is_used_like_our_own(package: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((3, 4, 5), dtype="f4")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["theirs"] = values
    assert LAYOUTS.names()[-1] == package
    found = detect(path)
    assert found is not None
    assert found.name == package
    for layout in (None, package, "theirs"):
        store = open_store(path, layout=layout)
        np.testing.assert_array_equal(store.trajectory(2)[:, 0].numpy(), values[2])
    assert store.name == "x"
    with pytest.raises(ValueError, match="Theirs has no variant 'a'"):
        choose("theirs:a")
    with pytest.raises(ValueError, match="no layout 'Thiers'; did you mean 'Theirs'"):
        choose("Thiers")


def test_it_must_be_registered_under_its_name(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = LAYOUTS.get(package)
    monkeypatch.setitem(LAYOUTS.added, "Other", other)
    with pytest.raises(ValueError, match="calls itself 'Theirs'; give it the name"):
        named("Other")
