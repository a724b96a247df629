"""`pelagos data convert`: nothing is lost, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from layout_files import FILES

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.source import Header, Source
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.layouts.well_reader import WellFile
from pelagos.datasets.stores.store import Store
from pelagos.datasets.tools import convert as module
from pelagos.datasets.tools.check import check
from pelagos.datasets.tools.convert import convert
from pelagos.finetune.cli.console import main

SAMPLE = Path(__file__).parents[2] / "samples" / "well_edge_cases.hdf5"
SHAPE = (6, 4)


def write(path: Path, n: int, seed: int, **changes: Any) -> None:
    rng = np.random.default_rng(seed)
    names = ("velocity_y", "p", "velocity_x", "D_xx", "D_xy", "D_yx", "D_yy")
    values: dict[str, Any] = {
        "dataset": "a [b]",
        "grid": Grid(SHAPE, (2.0, 3.0), ("periodic", "wall"), (0.5, 0.0)),
        "times": 1.0 + 0.25 * np.arange(5),
        "fields": {name: rng.standard_normal((n, 5, *SHAPE)).astype("f4") for name in names},
        "constant_fields": {"depth": rng.random((n, *SHAPE)).astype("f4")},
        "parameters": {"nu": np.array(0.01), "speed": rng.random(n)},
        "units": {"p": "Pa", "velocity_x": "m/s", "velocity_y": "m/s", "time": "s", "nu": "m^2/s"},
        "provenance": {"seed": seed},
    }
    write_file(path, WellData(**{**values, **changes}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, n, seed in (("train", 3, 0), ("valid", 2, 1), ("test", 1, 2)):
        write(tmp_path / "source" / "data" / split / "x.hdf5", n, seed)
    return tmp_path / "source"


def assert_same(one: Store, two: Store) -> None:
    """The same but for the order of the fields."""
    assert sorted(one.fields) == sorted(two.fields)
    for name in ("grid", "parameter_names", "constant_fields", "inputs", "dt"):
        assert getattr(one, name) == getattr(two, name), name
    assert {k: list(v) for k, v in one.splits.items()} == {
        k: list(v) for k, v in two.splits.items()
    }
    np.testing.assert_allclose(one.parameter_table(), two.parameter_table(), rtol=1e-6)
    order = [two.fields.index(name) for name in one.fields]
    for i in range(len(one)):
        assert one.trajectory(i).equal(two.trajectory(i)[:, order])
        np.testing.assert_array_equal(one.trajectory_times(i), two.trajectory_times(i))
        np.testing.assert_array_equal(one.constants_raw(i), two.constants_raw(i))
        (first, a), (second, b) = one.source_of(i), two.source_of(i)
        for name, values in first.header.series.items():
            expected = np.broadcast_to(values, (len(first), values.shape[-1]))[a]
            np.testing.assert_allclose(second.header.series[name][b], expected, rtol=1e-6)
        masks = one.mask(i), two.mask(i)
        assert (masks[0] is None) == (masks[1] is None)
        if masks[0] is not None and masks[1] is not None:
            assert masks[0].equal(masks[1][order])


def contents(root: Path) -> dict[str, bytes]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_a_dataset_comes_out_as_it_was(root: Path, tmp_path: Path) -> None:
    out = convert(root, tmp_path / "out", shard=2)
    source, found = open_store(root), open_store(out)
    assert_same(source, found)
    assert found.fields == ("p", "velocity_x", "velocity_y", "D_xx", "D_xy", "D_yx", "D_yy")
    assert {k: v for k, v in found.units.items() if k != "length"} == source.units
    assert found.provenance["source"] == {"seed": 0}
    assert found.name == "a__b_"
    names = [path.relative_to(out / "data").as_posix() for path in sorted(out.rglob("*.hdf5"))]
    assert names == [
        "test/a__b__0000.hdf5",
        "train/a__b__0000.hdf5",
        "train/a__b__0001.hdf5",
        "valid/a__b__0000.hdf5",
    ]
    with h5py.File(out / "data" / "train" / "a__b__0000.hdf5") as file:
        assert file["t2_fields/D"].shape == (2, 5, *SHAPE, 2, 2)
        for name in ("t0_fields/p", "t1_fields/velocity", "t2_fields/D"):
            assert file[name].id.get_offset() is not None  # contiguous


def test_statistics_are_those_of_the_training_data(root: Path, tmp_path: Path) -> None:
    out = convert(root, tmp_path / "out")
    stats = yaml.safe_load((out / "stats.yaml").read_text())
    store = open_store(root, "train")
    values = torch.stack([store.trajectory(i) for i in range(len(store))]).double()
    c = store.fields.index("velocity_x")
    assert stats["mean"]["velocity"][0] == pytest.approx(values[:, :, c].mean().item())
    change = values[:, 1:, c] - values[:, :-1, c]
    assert stats["rms_delta"]["velocity"][0] == pytest.approx(change.square().mean().sqrt().item())


def test_edge_cases_come_out_as_they_were(tmp_path: Path) -> None:
    """Scalars in time, times of their own, constant fields and masks of The Well."""
    out = convert(SAMPLE, tmp_path / "out", name="edge")
    source, found = open_store(SAMPLE), open_store(out)
    assert list(found.splits) == ["train"]  # files outside of the splits
    assert found.constant_fields == source.constant_fields
    assert source.sources[0].header.times.ndim == 2
    assert source.sources[0].header.series
    for i in range(len(source)):
        assert source.trajectory(i).equal(found.trajectory(i))
        np.testing.assert_array_equal(source.trajectory_times(i), found.trajectory_times(i))
        np.testing.assert_array_equal(source.constants_raw(i), found.constants_raw(i))


class Made(Source):
    """A source in memory: a steady problem whose solution is masked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = Header(
            name="steady",
            axes=("x", "y"),
            grid=Grid(SHAPE, (1.0, 1.0), ("open", "open")),
            times=np.zeros(1),
            rows=range(3),
            fields=("temperature", "flux"),
            constant_fields=("conductivity",),
            units={"temperature": "K"},
        )
        self.values = np.random.default_rng(0).random((3, 1, 2, *SHAPE), dtype="f4")

    def read(self, trajectory: int, frames: slice, channels: Sequence[int]) -> np.ndarray:
        return self.values[trajectory, frames][:, list(channels)]

    def constants(self, trajectory: int) -> np.ndarray:
        return np.full((1, *SHAPE), trajectory + 1, np.float32)

    def mask(self, trajectory: int) -> np.ndarray | None:
        if trajectory == 1:
            return None
        return self.values[trajectory, 0] > 0.5

    def close(self) -> None:
        pass


def test_steady_problems_and_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.bin").write_bytes(b"x")
    store = Store([("train", Made(tmp_path / "x.bin"))])
    monkeypatch.setattr(module, "open_store", lambda *_, **more: store)
    found = open_store(convert("x.bin", tmp_path / "out"))
    assert found.steady
    assert found.inputs == ("conductivity",)
    for i in (0, 2):
        mask = found.mask(i)
        assert mask is not None
        np.testing.assert_array_equal(mask.numpy(), store.sources[0].values[i, 0] > 0.5)
    whole = found.mask(1)
    assert whole is not None
    assert whole.all()
    window, expected = found.window(2), store.window(2)
    assert window.history.equal(expected.history)
    assert window.target.equal(expected.target)


@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_an_interrupted_conversion_continues_to_the_same_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    whole = contents(convert(root, tmp_path / "whole", shard=2))
    out, left = tmp_path / "out", [after]
    original = module._blocks

    def interrupted(store: Store, i: int):
        for first, values in original(store, i):
            if store.name != "a__b_":  # the source, not what is read back
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
            yield first, values

    monkeypatch.setattr(module, "_blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(root, out, shard=2)
    assert not any(".partial" in path.name for path in out.rglob("*"))
    if any(out.rglob("*.hdf5")):
        with pytest.raises(ValueError, match="conversion was interrupted"):
            open_store(out)
    monkeypatch.setattr(module, "_blocks", original)
    found = contents(convert(root, out, shard=2))
    assert found.keys() == whole.keys()
    assert all(found[name] == whole[name] for name in found)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    convert(root, out, shard=2)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_blocks_of_any_size_give_the_same_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(convert(root, tmp_path / "whole"))
    monkeypatch.setattr(module, "BLOCK", 1)
    assert contents(convert(root, tmp_path / "parts")) == whole


def test_trajectories_of_unequal_length_have_files_of_their_own(tmp_path: Path) -> None:
    for k, frames in enumerate((5, 5, 3, 5)):
        data = np.random.default_rng(k).random((1, frames, 8), dtype="f4")
        grid = Grid((8,), (1.0,), ("periodic",))
        path = tmp_path / "source" / "data" / "train" / f"{k}.hdf5"
        write_file(path, WellData("a", grid, np.arange(frames) * 1.0, {"u": data}))
    out = convert(tmp_path / "source", tmp_path / "out")
    assert [s.header.n_frames for s in open_store(out).sources] == [5, 3, 5]
    assert_same(open_store(tmp_path / "source"), open_store(out))


def test_only_one_split(root: Path, tmp_path: Path) -> None:
    out = convert(root, tmp_path / "out", split="test")
    assert [path.parent.name for path in out.rglob("*.hdf5")] == ["test"]
    assert (out / "stats.yaml").exists()


def test_nothing_is_overwritten(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="no converted dataset"):
        convert(root, other)
    with pytest.raises(ValueError, match="no converted dataset"):
        convert(root, root)
    out = convert(root, tmp_path / "out")
    with pytest.raises(ValueError, match=r"was converted with shard .*--overwrite"):
        convert(root, out, shard=1)
    convert(root, out, shard=1, overwrite=True)
    assert len(list(out.rglob("*.hdf5"))) == 6
    (root / "data" / "test" / "x.hdf5").touch()
    with pytest.raises(ValueError, match="a source that has changed since"):
        convert(root, out, shard=1)


def test_values_that_are_not_finite_are_refused(root: Path, tmp_path: Path) -> None:
    with h5py.File(root / "data" / "valid" / "x.hdf5", "r+") as file:
        file["t0_fields/p"][1, 3, 2, 2] = np.nan
    with pytest.raises(ValueError, match=r"'p' at frame 3 .* of trajectory 1 holds NaN"):
        convert(root, tmp_path / "out")


def test_what_cannot_be_read_back_does_not_count(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = WellFile.read

    def read(self: WellFile, *args: Any) -> np.ndarray:
        values = original(self, *args)
        return values + 1 if self.header.name == "a__b_" else values

    monkeypatch.setattr(WellFile, "read", read)
    with pytest.raises(ValueError, match="cannot be read back"):
        convert(root, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.hdf5"))


def test_the_command(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "convert", str(root), str(tmp_path / "out"), "--name", "fresh", "--shard", "2"])
    assert f"dataset: {tmp_path / 'out'}" in capsys.readouterr().out
    assert open_store(tmp_path / "out").name == "fresh"


def test_the_wells_reader_accepts_it(root: Path, tmp_path: Path) -> None:
    data = pytest.importorskip("the_well.data", reason="the peer package is not installed")
    out = convert(root, tmp_path / "out", shard=2)
    theirs = data.WellDataset(path=str(out), well_split_name="train", n_steps_input=2)
    assert len(theirs) == 3 * (5 - 2)
    ours = open_store(out, "train").window(0, 1, 2, 1)
    item = theirs[1]
    np.testing.assert_array_equal(np.moveaxis(item["input_fields"].numpy(), -1, 1), ours.history)


def test_what_the_layout_fills_is_no_warning_after_conversion(tmp_path: Path) -> None:
    """Poseidon's incompressible flows have the density 1 everywhere."""
    out = convert(FILES["poseidon-incompressible"](tmp_path / "a").path, tmp_path / "out")
    report = check(open_store(out))
    constant = [finding for finding in report.findings if finding.kind == "constant"]
    assert [finding.text for finding in constant if "density" in finding.text] == [
        "'density' is 1 everywhere, as its layout fills it"
    ]
    assert all(finding.rank == "note" for finding in constant)


def test_trajectories_of_no_split_follow_those_of_train(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 5, 16)).astype("f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["u"] = values
    text = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: {step: 1}\n"
    text += "splits: {train: 8, test: 4, all: 8}\n"
    (tmp_path / "description.yaml").write_text(text)
    for _ in range(2):  # the second finds it complete
        made = open_store(convert(tmp_path / "x.h5", tmp_path / "out", shard=5))
        assert {name: len(part) for name, part in made.splits.items()} == {"train": 16, "test": 4}
        kept = torch.stack([made.trajectory(i)[:, 0] for i in made.splits["train"]])
        assert torch.equal(kept, torch.from_numpy(values[[*range(8), *range(12, 20)]]))


def test_checksums_that_a_full_disk_left_out_are_written_later(root: Path, tmp_path: Path) -> None:
    out = convert(root, tmp_path / "converted")
    before = contents(out)
    (out / "SHA256SUMS").unlink()
    convert(root, out)
    assert contents(out) == before
