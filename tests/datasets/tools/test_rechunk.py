"""`pelagos data rechunk`: the same contents in other chunks, whatever the file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pelagos.datasets import open_store
from pelagos.datasets.base.progress import Bar
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.stores.statistics import write_stats
from pelagos.datasets.stores.store import Store
from pelagos.datasets.tools import rechunk as module
from pelagos.datasets.tools.rechunk import _Target, frame_chunks, rechunk
from pelagos.finetune.cli.console import main

SHAPE, FRAMES = (32, 24), 30


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Chunked as h5py does by itself, with compression."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 3), ("valid", 2)):
        fields = {k: rng.random((n, FRAMES, *SHAPE), dtype="f4") for k in ("p", "v_x", "v_y")}
        grid = Grid(SHAPE, (1.0, 2.0), ("periodic", "wall"))
        path = tmp_path / "source" / "data" / split / "a.hdf5"
        write_file(path, WellData("made", grid, np.arange(FRAMES) * 0.1, fields))
        with h5py.File(path, "r+") as file:
            for name in ("t0_fields/p", "t1_fields/v"):
                values, flags = file[name][()], dict(file[name].attrs)
                del file[name]
                file.create_dataset(name, data=values, compression="lzf").attrs.update(flags)
    write_stats(tmp_path / "source")
    return tmp_path / "source"


def assert_same(one: Store, two: Store) -> None:
    assert (one.fields, one.grid, one.units, one.splits) == (
        two.fields,
        two.grid,
        two.units,
        two.splits,
    )
    for i in range(len(one)):
        assert one.trajectory(i).equal(two.trajectory(i))


def same_tree(one: h5py.Group, two: h5py.Group) -> None:
    """Names in order, attributes with their types, types and values of datasets."""
    assert list(one) == list(two)
    same_attributes(one, two)
    for name in one:
        kind = one.get(name, getlink=True)
        if isinstance(kind, h5py.SoftLink):
            assert two.get(name, getlink=True).path == kind.path
        elif isinstance(one[name], h5py.Group):
            same_tree(one[name], two[name])
        else:
            a, b = one[name], two[name]
            same_attributes(a, b)
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_array_equal(a[()], b[()])


def same_attributes(one: h5py.HLObject, two: h5py.HLObject) -> None:
    references = {"DIMENSION_LIST", "REFERENCE_LIST"}
    assert list(one.attrs) == list(two.attrs) or references & set(one.attrs)
    assert set(one.attrs) == set(two.attrs)
    for name in set(one.attrs) - references:
        a, b = (h5py.h5a.open(item.id, name.encode()) for item in (one, two))
        assert a.get_type().equal(b.get_type()), name
        assert a.get_space().get_simple_extent_type() == b.get_space().get_simple_extent_type()
        if not isinstance(one.attrs[name], h5py.Empty):
            np.testing.assert_array_equal(one.attrs[name], two.attrs[name])


def test_arrays_become_contiguous(root: Path, tmp_path: Path) -> None:
    out = rechunk(root, tmp_path / "out")
    assert_same(open_store(root), open_store(out))
    with (
        h5py.File(root / "data/train/a.hdf5") as one,
        h5py.File(out / "data/train/a.hdf5") as two,
    ):
        same_tree(one, two)
        assert one["t1_fields/v"].chunks is not None
        assert two["t1_fields/v"].chunks is None
        assert two["t1_fields/v"].id.get_offset() % 4096 == 0
    assert (out / "stats.yaml").read_bytes() == (root / "stats.yaml").read_bytes()


@pytest.mark.parametrize("compression", ["lzf", "gzip"])
def test_or_get_chunks_of_whole_frames(root: Path, tmp_path: Path, compression: str) -> None:
    out = rechunk(root, tmp_path / "out", compression=compression)
    assert_same(open_store(root), open_store(out))
    with h5py.File(out / "data/train/a.hdf5") as file:
        dataset = file["t1_fields/v"]
        assert dataset.compression == compression
        assert dataset.chunks == (1, FRAMES, *SHAPE, 2)  # all frames are less than 256 KiB
        assert file["dimensions/x"].chunks is None


@pytest.mark.parametrize(
    ("shape", "lead", "grid", "expected"),
    [
        ((1000, 201, 1024), {1000, 201, 202}, (1024,), (1, 64, 1024)),
        ((1000, 21, 128, 128), {1000, 21, 22}, (128, 128), (1, 4, 128, 128)),
        ((101, 128, 128, 2), {1, 101, 102}, (128, 128), (2, 128, 128, 2)),
        ((9, 128, 128, 128, 3), {9, 1}, (128, 128, 128), (1, 128, 128, 128, 3)),
        ((64, 1, 22, 1200), {1200, 22, 23}, (64,), (64, 1, 22, 1)),  # MATLAB: axes reversed
        ((50, 64, 64), {50, 64}, (64, 64), (16, 64, 64)),
        ((2, 2, 256, 256, 2), {2, 3}, (256, 256), (1, 1, 256, 256, 2)),
    ],
)
def test_chunks_hold_frames(
    shape: tuple[int, ...], lead: set[int], grid: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    target = _Target("lzf", frozenset(lead), grid)
    assert frame_chunks(shape, np.dtype("f4"), target) == expected


def write_everything(path: Path) -> None:
    """A file with a user block, links, odd attributes, types and dimension scales."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w", userblock_size=512, track_order=True) as file:
        file.attrs["text"] = "grün"
        file.attrs["fixed"] = np.bytes_(b"abc")
        file.attrs["list"] = np.array(["a", "bc"], dtype=h5py.string_dtype())
        file.attrs["none"] = h5py.Empty("f8")
        file.attrs["flag"] = True
        file.attrs["half"] = np.float16([1.5, 2.5])
        zebra = file.create_group("zebra", track_order=True)
        zebra["one"] = np.int64(3)
        zebra["empty"] = np.empty((0, 4))
        zebra["names"] = np.array(["x", "y"], dtype=h5py.string_dtype())
        zebra["table"] = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
        data = file.create_dataset(
            "data", data=rng.random((6, 40, 64)), chunks=(2, 3, 5), compression="gzip",
            fillvalue=-1.0, maxshape=(None, 40, 64),
        )  # fmt: skip
        file["apple"] = np.arange(40.0)
        file["apple"].make_scale("time")
        data.dims[1].attach_scale(file["apple"])
        data.dims[1].label = "t"
        file["again"] = data
        file["soft"] = h5py.SoftLink("/zebra/one")
        file["dangling"] = h5py.SoftLink("/nowhere")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3".ljust(512, b"."))


def test_everything_else_stays(tmp_path: Path) -> None:
    write_everything(tmp_path / "a.h5")
    target = _Target("none", frozenset({6, 40}), (64,))
    module._rewrite(tmp_path / "a.h5", tmp_path / "b.h5", target, Bar("", 1, active=False))
    assert (tmp_path / "b.h5").read_bytes()[:512] == (tmp_path / "a.h5").read_bytes()[:512]
    with h5py.File(tmp_path / "a.h5") as one, h5py.File(tmp_path / "b.h5") as two:
        same_tree(one, two)
        assert two["again"] == two["data"]  # one object under two names
        assert two["data"].fillvalue == -1
        assert two["data"].dims[1][0] == two["apple"]
        assert two["data"].dims[1].label == "t"
        assert two["apple"].is_scale


def test_netcdf_stays_netcdf(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    values = np.random.default_rng(0).random((5, 4, 40, 48)).astype("f4")
    data = xarray.Dataset(
        {"u": (("sample", "time", "x", "y"), values)}, {"time": np.arange(4.0)}, {"title": "a"}
    )
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", unlimited_dims=["sample"])

    for compression in ("none", "lzf"):
        out = tmp_path / f"{compression}.nc"
        target = _Target(compression, frozenset({5, 4}), (40, 48))
        module._rewrite(tmp_path / "a.nc", out, target, Bar("", 1, active=False))
        with xarray.open_dataset(out, engine="h5netcdf") as found:
            xarray.testing.assert_identical(found.load(), data)


def test_pieces_cover_everything(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (60_000, 200_000):
        monkeypatch.setattr(module, "BLOCK", size)
        assert_same(open_store(root), open_store(rechunk(root, tmp_path / str(size))))


def test_an_interrupted_rewrite_leaves_no_half_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, left = module._parts, [3]

    def interrupted(dataset: h5py.Dataset):
        for part in original(dataset):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(module, "_parts", interrupted)
    monkeypatch.setattr(module, "BLOCK", 100_000)
    with pytest.raises(KeyboardInterrupt):
        rechunk(root, tmp_path / "out")
    kept = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert kept == [module.RECORD]
    with pytest.raises(ValueError, match="rechunking was interrupted; run the same"):
        open_store(tmp_path / "out")
    monkeypatch.setattr(module, "_parts", original)
    assert_same(open_store(root), open_store(rechunk(root, tmp_path / "out")))


def test_an_interrupted_rewrite_continues_to_the_same_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    whole = contents(rechunk(root, tmp_path / "whole"))
    original, done = module._rewrite, []

    def interrupted(source: Path, *rest: Any) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(source)
        original(source, *rest)

    monkeypatch.setattr(module, "_rewrite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rechunk(root, tmp_path / "out")
    monkeypatch.setattr(module, "_rewrite", original)
    first = next((tmp_path / "out").rglob(done[0].name))
    made = first.stat().st_mtime_ns
    assert contents(rechunk(root, tmp_path / "out")) == whole
    assert first.stat().st_mtime_ns == made


def test_files_of_two_rewrites_never_mix(root: Path, tmp_path: Path) -> None:
    rechunk(root, tmp_path / "out")
    with pytest.raises(ValueError, match="compression none, not lzf"):
        rechunk(root, tmp_path / "out", compression="lzf")
    (root / "data/train/a.hdf5").touch()
    with pytest.raises(ValueError, match="a source that has changed since; choose another folder"):
        rechunk(root, tmp_path / "out")


def test_what_is_refused(root: Path, tmp_path: Path) -> None:
    file = root / "data/train/a.hdf5"
    rechunk(file, tmp_path / "b.hdf5")
    with pytest.raises(ValueError, match="exists already"):
        rechunk(file, tmp_path / "b.hdf5")
    with pytest.raises(ValueError, match="lies in"):
        rechunk(root, root / "out")
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.h5").write_bytes((tmp_path / "b.hdf5").read_bytes())
    with pytest.raises(ValueError, match="holds another dataset"):
        rechunk(root, other)


def test_the_command(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "rechunk", str(root), str(tmp_path / "out"), "--compression", "lzf"])
    assert "pelagos data inspect" in capsys.readouterr().out
    assert_same(open_store(root), open_store(tmp_path / "out"))
