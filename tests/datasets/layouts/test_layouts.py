"""One contract over every layout: what the file holds is what is read, axis by axis."""

from __future__ import annotations

import json
import os
from multiprocessing.reduction import ForkingPickler  # what workers use
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from hostile import deflated_zeros
from layout_files import FILES, Expected, N, write
from layout_files import values as random_values
from torch.utils.data import DataLoader

from pelagos.datasets import open_store
from pelagos.datasets.layouts import poseidon_tables as poseidon_published
from pelagos.datasets.layouts.detect import LAYOUTS, detect
from pelagos.datasets.stores.store import Store
from pelagos.datasets.tools.summary import summary
from pelagos.finetune.cli.console import main


@pytest.fixture(scope="module", params=FILES)
def expected(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Expected:
    if "zarr" in request.param:
        pytest.importorskip("zarr")
    return FILES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def store(expected: Expected) -> Store:
    return open_store(expected.path)


def test_every_layout_is_tried() -> None:
    tried = {name.split("-")[0] for name in FILES}
    assert {name.lower() for name in tried} == {name.lower() for name in LAYOUTS.names()}


def test_the_layout_is_detected(expected: Expected) -> None:
    found = detect(expected.path)
    assert found is not None
    assert found.name == expected.layout


def test_what_describes_the_data(expected: Expected, store: Store) -> None:
    assert store.fields == tuple(expected.fields)
    assert store.constant_fields == tuple(expected.constants)
    assert store.grid.shape == next(iter(expected.fields.values())).shape[2:]
    np.testing.assert_allclose(store.grid.lengths, expected.lengths, rtol=1e-6)
    if expected.boundary != "mixed":
        assert set(store.grid.boundary) == {expected.boundary}
    assert store.splits == expected.splits
    assert len(store) == N
    np.testing.assert_allclose(store.times, expected.times, rtol=1e-6)
    assert store.parameter_names == tuple(expected.parameters)
    for i, (name, values) in enumerate(expected.parameters.items()):
        np.testing.assert_allclose(store.parameter_table()[:, i], values, rtol=1e-6, err_msg=name)
    assert store.name in (expected.path.stem, "mine")
    assert store.name in summary(store)


def test_fields_are_those_of_the_file(expected: Expected, store: Store) -> None:
    whole = np.stack([*expected.fields.values()], axis=2)
    for i in range(N):
        np.testing.assert_array_equal(store.trajectory(i).numpy(), whole[i].astype(np.float32))
    last = whole[N - 1].astype(np.float32)
    frames = len(last)
    np.testing.assert_array_equal(store.read(N - 1, frames // 4, frames, 2), last[frames // 4 :: 2])
    chosen = store.read_raw(2, slice(0, 1), [len(expected.fields) - 1])
    np.testing.assert_array_equal(chosen, whole[2, :1, -1:].astype(np.float32))


def test_constant_fields_are_those_of_the_file(expected: Expected, store: Store) -> None:
    for i in range(N):
        found = store.constants(i)
        for k, values in enumerate(expected.constants.values()):
            assert found is not None
            np.testing.assert_allclose(found[k], values[i], rtol=1e-6, atol=1e-7)


def test_the_mask_says_where_fields_are_predicted(expected: Expected, store: Store) -> None:
    mask = store.mask(0)
    if expected.mask is None:
        assert mask is None
    else:
        np.testing.assert_array_equal(mask, expected.mask)


def test_splits_open_alone(expected: Expected, store: Store) -> None:
    for name, part in expected.splits.items():
        alone = open_store(expected.path, name)
        assert alone.splits == {name: range(len(part))}
        for mine, its in ((0, part[0]), (len(part) - 1, part[-1])):
            assert torch.equal(alone.trajectory(mine), store.trajectory(its))
        assert alone.origin(0) == (expected.path, part[0])


def test_windows_are_cut_from_trajectories(expected: Expected, store: Store) -> None:
    if len(expected.times) == 1:
        assert store.steady
        window, constants = store.window(3), store.constants(3)
        assert constants is not None
        assert torch.equal(window.history, constants[None])
        assert torch.equal(window.target, store.trajectory(3))
        assert window.lead_times.tolist() == [1.0]
        return
    window = store.window(3, 1, history=2, horizon=2, stride=2)
    whole = store.trajectory(3)
    assert torch.equal(window.history, whole[1:4:2])
    assert torch.equal(window.target, whole[5:8:2])
    times = store.trajectory_times(3)
    np.testing.assert_allclose(window.lead_times, times[[5, 7]] - times[3], rtol=1e-5)


def test_xarray_has_the_same_values(expected: Expected, store: Store) -> None:
    data = store.to_xarray()
    mask = store.mask(N - 1)
    for name, values in expected.fields.items():
        found = data[name]
        assert found.dims == ("trajectory", "time", *store.axes)
        whole = values[N - 1].astype(np.float32)
        there = True if mask is None else mask[store.fields.index(name)].numpy()
        if np.any(there):  # a field that is predicted nowhere keeps the values of its file
            whole = np.where(there, whole, np.float32(np.nan))
        np.testing.assert_array_equal(found[N - 1], whole)
    part = found.isel(trajectory=-1, time=slice(None, None, -2), **{store.axes[-1]: [2, 0]})
    np.testing.assert_array_equal(part, whole[::-2][..., [2, 0]])
    split = {name: (data["split"] == name).values.nonzero()[0].tolist() for name in store.splits}
    assert split == {name: [*part] for name, part in store.splits.items()}


def test_xarray_is_lazy(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, read_raw = [], store.read_raw
    monkeypatch.setattr(
        Store, "read_raw", lambda _, *args: calls.append(args[0]) or read_raw(*args)
    )
    data = store.to_xarray()
    _ = data.nbytes, repr(data)
    assert not calls
    _ = data[store.fields[-1]][4].values
    assert {*calls} == {4}  # its first frame once more, where its holes were not looked for yet


def test_what_was_read_belongs_to_the_caller(store: Store) -> None:
    before = store.trajectory(0).clone()
    store.trajectory(0).zero_()
    assert torch.equal(store.trajectory(0), before)


def test_a_pickled_store_reads_the_same(store: Store) -> None:
    before = store.trajectory(1)
    copied = ForkingPickler.loads(ForkingPickler.dumps(store))
    assert torch.equal(copied.trajectory(1), before)


def test_data_are_read_in_worker_processes(store: Store) -> None:
    store.trajectory(0)  # handles are open before the fork

    class Items(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> torch.Tensor:
            return store.window(i).target

    loader = DataLoader(Items(), batch_size=None, num_workers=1)
    for i, found in enumerate(loader):
        first = 0 if store.steady else 1
        assert torch.equal(found, store.trajectory(i)[first : first + 1])


# ------------------------------------------------------------------ folders, names, variants


def test_files_of_several_parameters_are_one_dataset(tmp_path: Path) -> None:
    for beta in (0.1, 0.4):
        FILES["pdebench-advection"](tmp_path).path.rename(tmp_path / f"1D_beta{beta}.hdf5")
        with h5py.File(tmp_path / f"1D_beta{beta}.hdf5", "a") as file:
            file.attrs["beta"] = beta
    store = open_store(tmp_path)
    assert store.name == tmp_path.name
    assert {name: len(part) for name, part in store.splits.items()} == {"train": 24, "test": 2}
    assert store.parameter_table()[:, 0].tolist() == [0.1] * 12 + [0.4] * 12 + [0.1, 0.4]
    assert store.origin(0) == (tmp_path / "1D_beta0.1.hdf5", 1)


def test_splits_of_the_published_sizes(tmp_path: Path) -> None:
    """Poseidon's from the end of the file; DyMixOp's from its start."""
    write(tmp_path / "NS-BB.nc", {"velocity": np.zeros((400, 2, 3, 2, 2), "f4")})
    write(tmp_path / "CE-RM.nc", {"solution": np.zeros((231, 2, 5, 2, 2), "f4")})
    write(
        tmp_path / "Wave-Layer.nc",
        {name: np.zeros((301, *n, 2, 2), "f4") for name, n in (("solution", (3,)), ("c", ()))},
    )
    scipy.io.savemat(tmp_path / "ks.mat", {"uu": np.zeros((1300, 2, 1, 4), "f4")})
    found = {path.stem: open_store(path).splits for path in tmp_path.iterdir()}
    assert found["NS-BB"] == {"train": range(40), "valid": range(40, 160), "test": range(160, 400)}
    assert found["CE-RM"] == {"train": range(1), "valid": range(1, 101), "test": range(101, 231)}
    assert found["Wave-Layer"]["valid"] == range(1, 61)
    assert found["ks"] == {
        "train": range(1000),
        "test": range(1000, 1200),
        "all": range(1200, 1300),
    }


def test_other_splits(tmp_path: Path) -> None:
    path = FILES["pdebench-advection"](tmp_path).path
    shares = {"train": 0.7, "valid": 0.2, "test": 0.1}
    store = open_store(path, splits=shares)
    assert store.splits == {"train": range(9), "valid": range(9, 12), "test": range(12, N)}
    assert torch.equal(open_store(path, "valid", splits=shares).trajectory(0), store.trajectory(9))
    with pytest.raises(ValueError, match="numbers of at most 13 trajectories"):
        open_store(path, splits={"train": 10, "valid": 5})
    well = FILES["the well"](tmp_path).path
    with pytest.raises(ValueError, match="The Well's layout, which says its splits itself"):
        open_store(well, splits=shares)


def test_published_constants() -> None:
    """The pressure that Poseidon subtracts is in the mean."""
    found = poseidon_published.statistics("CE-KH", "my-kh")
    assert found.mean["my-kh"]["pressure"] == 1.0
    assert found.std["my-kh"]["velocity_x"] == 0.391
    with pytest.raises(ValueError, match="no Poseidon data set 'CE-XX'; known: NS-Sines"):
        poseidon_published.statistics("CE-XX")


def test_what_the_contents_cannot_tell(tmp_path: Path) -> None:
    flow = FILES["pdebench-flow-1d"](tmp_path).path
    assert open_store(flow, layout="PDEBench:wall").grid.boundary == ("wall",)
    euler = FILES["poseidon-euler"](tmp_path).path
    assert open_store(euler).provenance["dataset"] == "CE-KH"
    assert open_store(euler, layout="poseidon:CE-Gauss").provenance["dataset"] == "CE-Gauss"
    for given, message in (
        ("Poseidon:CE-KG", "no variant 'CE-KG'; did you mean 'CE-KH'"),
        ("Posidon", "no layout 'Posidon'; did you mean 'Poseidon'"),
        ("Poseidon:ACE", "CE-KH.nc cannot be ACE: it has the layout of CE-RP"),
        ("nowhere.yaml", "no such description: nowhere.yaml"),
        ("The Well", "CE-KH.nc lacks a part of The Well's layout"),
        ("DyMixOp:uv", "has none of DyMixOp's arrays"),
    ):
        with pytest.raises(ValueError, match=message):
            open_store(euler, layout=given)


def test_commands_take_the_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = str(FILES["pdebench-flow-1d"](tmp_path).path)
    main(["data", "inspect", flow, "--layout", "PDEBench:wall"])
    assert "wall" in capsys.readouterr().out
    main(["data", "convert", flow, str(tmp_path / "out"), "--layout", "PDEBench:wall"])
    assert open_store(tmp_path / "out").grid.boundary == ("wall",)


def test_navier_stokes_has_two_arrays(tmp_path: Path) -> None:
    data = {"ws": np.zeros((3, 4, 1, 6, 5)), "uv": np.ones((3, 4, 2, 6, 5))}
    scipy.io.savemat(tmp_path / "2dNS_3x4x1x6x5_dt1_t[10_14]_nu1e-05.mat", data)
    (path,) = tmp_path.iterdir()
    assert open_store(path).fields == ("vorticity",)
    assert open_store(path).times.tolist() == [10, 11, 12, 13]
    assert open_store(path).parameter_table()[0, 0] == 1e-5
    assert open_store(path, layout="DyMixOp:uv").fields == ("velocity_x", "velocity_y")


def test_frames_that_were_not_written_yet_are_left_out(tmp_path: Path) -> None:
    path = FILES["pdebench-incompressible"](tmp_path).path
    with h5py.File(path, "a") as file:
        file.attrs["latestIndex"] = 4
    assert open_store(path).n_frames(0) == 5


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    path = FILES["pdebench-reaction-2d"](tmp_path).path
    with h5py.File(path, "a") as file:
        file["0012/data"][3, 1, 2, 1] = np.nan
    message = r"'inhibitor' at frame 3 \(time 1.25\) of trajectory 12 holds NaN"
    with pytest.raises(ValueError, match=message):
        open_store(path, "test").trajectory(1)


# ------------------------------------------------------------------ descriptions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes: [x]", "fields"),
        ("axes: [trajectory, time, x]\nfields: {u: w}\n", "no array 'w'.* There are: k \\(5, 4\\)"),
        ("axes: [trajectory, time, x]\nfields: {u: velocitty}\n", "did you mean 'velocity'?"),
        ("axes: [time, x]\nfields: {u: velocity}\n", r"shape \(3, 6, 5\), .* axes \['time', 'x'\]"),
        ("axes: [trajectory, time, x]\nfields: {u: velocity}\n", "time: 6 frames need times"),
        ("axes: [trajectory, time, x]\nfields: {u: velocity}\ntime: k\n", r"time: 'k' must have"),
        ("axes: [a, b, c, d]\nfields: {u: k}\n", "one to three space axes"),
        ("axes: [time, x]\nfield: {u: k}\n", "field"),
        ("axes: [trajectory, time, x]\nfields: {u: 'velocity[0]'}\n", "write 'velocity'"),
        ("axes: [time, x]\nfields: {u: k}\ntime: {step: 1}\nboundary: slip\n", "slip"),
        ("axes: [time, x]\nfields: {u: k}\ntime: {step: 1}\ngrid: {y: [0, 1]}\n", "no axis y"),
        ("axes: [time, x]\nfields: {u: k}\ntime: {step: 1}\nsplits: {train: 9}\n", "at most 1"),
        ("axes: [time, x]\nfields: {u: k}\ntime: {step: 1}\nparameters: {n: '@n'}\n", "no attr"),
        ("axes: {k: [time, x]}\nfields: {u: velocity}\n", "say those of 'velocity' as well"),
        ("axes: [time, x]\nfields: {u: k}\nunits: {v: m}\n", "no field.* v; there are: u, time"),
        ("axes: [time, x]\nfields: {u: k}\nparameters: {u: 1}\n", "'u' is there twice"),
        ("axes: [time, x]\nfields: {u: k}\ntime: {step: 1}\nsplits: {all: 1.5}\n", "at most 1"),
    ],
)  # fmt: skip
def test_descriptions_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "a.h5", {"velocity": np.zeros((3, 6, 5)), "k": np.zeros((5, 4))})
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        open_store(path, layout=str(tmp_path / "mine.yaml"))
    assert "\n" not in str(error.value)


def described(folder: Path, text: str, arrays: dict[str, Any]) -> Path:
    """A file of these arrays with a description beside it."""
    path = folder / "mine.h5"
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    (folder / "description.yaml").write_text(text)
    return path


def test_groups_say_their_own_times_and_parameters(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(11, 4, 8)).astype("f4")
    arrays: dict[str, Any] = {}
    for i, u in enumerate(values):
        arrays |= {f"out/run{i}/u": u, f"out/run{i}/t": 0.1 * (i + 1) * np.arange(4)}
        arrays |= {f"out/run{i}/nu": 0.5 * i}
    text = (
        "axes: [time, x]\nfields: {u: 'out/run*/u'}\ntime: 'out/run*/t'\n"
        "parameters: {nu: 'out/run*/nu', beta: 'out/run*@beta', speed: 'out/run3@beta'}\n"
    )
    path = described(tmp_path, text, arrays)
    with h5py.File(path, "a") as file:
        for i in range(11):
            file[f"out/run{i}"].attrs["beta"] = np.bytes_(f"{i}.5")
    store = open_store(path)
    assert store.dt is None
    for i in (0, 2, 10):  # run2 before run10
        assert torch.equal(store.trajectory(i), torch.from_numpy(values[i])[:, None])
        np.testing.assert_allclose(store.trajectory_times(i), 0.1 * (i + 1) * np.arange(4))
        np.testing.assert_allclose(store.parameters(i), [0.5 * i, i + 0.5, 3.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fields: {u: 'run*/v'}\n", r"'run0' has \(4, 8\), 'run1' none"),
        ("fields: {u: 'run0/u'}\nparameters: {a: 'run0@a'}\n", "no attribute run0@a; there are: b"),
        ("fields: {u: 'run0/pair'}\n", "real numbers.*whose parts must be stored as arrays of"),
        ("fields: {u: 'ru*'}\n", r"no array 'ru\*'. There are"),
    ],
)
def test_what_a_description_would_read_wrongly(tmp_path: Path, text: str, message: str) -> None:
    shared = "axes: [time, x]\ntime: {step: 0.5}\n"
    arrays = {"run0/u": np.ones((4, 8)), "run1/u": np.ones((6, 8)), "run0/v": np.ones((4, 8))}
    pair = np.zeros((4, 8), [("a", "f4"), ("b", "f4")])
    arrays |= {"run0/pair": pair}
    path = described(tmp_path, shared + text, arrays)
    with h5py.File(path, "a") as file:
        file["run0"].attrs["b"] = 1.0
        file["named"] = np.dtype("f4")  # a type is no array, and no harm
    with pytest.raises(ValueError, match=message):
        open_store(path)


@pytest.mark.parametrize(
    ("splits", "lengths"),
    [("{train: 1, valid: 1}", (1, 1)), ("{train: 0.5, valid: 0.5}", (5, 5)), ("{all: 1}", (10,))],
)
def test_splits_beyond_one_are_numbers(
    tmp_path: Path, splits: str, lengths: tuple[int, ...]
) -> None:
    text = f"axes: [trajectory, x]\nfields: {{u: u}}\nsplits: {splits}\n"
    path = described(tmp_path, text, {"u": np.ones((10, 8))})
    assert tuple(len(part) for part in open_store(path).splits.values()) == lengths


@pytest.mark.parametrize(("axis", "name"), [("sample", "trajectory"), ("t", "time")])
def test_usual_names_of_axes_are_not_taken_for_space(tmp_path: Path, axis: str, name: str) -> None:
    text = f"axes: [{axis}, x]\nfields: {{u: u}}\ntime: {{step: 0.5}}\n"
    path = described(tmp_path, text, {"u": np.ones((4, 8))})
    with pytest.raises(ValueError, match=f"axes: write '{name}' for '{axis}'"):
        open_store(path)


def test_a_steady_problem_described(tmp_path: Path) -> None:
    arrays = {"a": random_values("xny"), "u": random_values("xny", 1)}
    write(tmp_path / "train" / "one.h5", arrays)
    text = "axes: [x, trajectory, y]\nfields: {u: u}\nconstants: {coefficient: a}\n"
    (tmp_path / "description.yaml").write_text(text)
    store = open_store(tmp_path)
    assert store.steady
    assert store.splits == {"train": range(N)}
    assert torch.equal(store.window(2).target[0, 0], torch.from_numpy(arrays["u"][:, 2].copy()))
    assert torch.equal(store.window(2).history[0, 0], torch.from_numpy(arrays["a"][:, 2].copy()))


# ------------------------------------------------------------------ nothing outside the file


def test_nothing_is_read_outside_the_file(tmp_path: Path) -> None:
    path = FILES["pdebench-burgers"](tmp_path).path
    with h5py.File(path, "a") as file:
        file.move("tensor", "here")
        file["tensor"] = h5py.SoftLink("/here")
    inside = open_store(path).trajectory(0)  # a link inside the file is followed
    with h5py.File(tmp_path / "secret", "w") as file:
        file["tensor"] = inside
    with h5py.File(path, "a") as file:
        del file["tensor"]
        file["tensor"] = h5py.ExternalLink("secret", "tensor")
    with pytest.raises(ValueError, match="'tensor' is a link out of the file"):
        open_store(path, layout="PDEBench")


def test_chunks_that_unpack_to_more_than_they_declare_are_refused(tmp_path: Path) -> None:
    """HDF5 itself would unpack 256 MiB for an array of 2 KiB."""
    path = FILES["pdebench-burgers"](tmp_path).path
    for name in ("tensor", "t-coordinate"):
        with h5py.File(path, "a") as file:
            shape = file[name].shape
            del file[name]
            file.create_dataset(name, shape, "f4", chunks=shape, compression="gzip")
            try:
                file[name].id.write_direct_chunk((0,) * len(shape), deflated_zeros(256), 0)
            except OSError:
                pytest.skip("this HDF5 writes no such file")
        with pytest.raises(ValueError, match=rf"{path.name}: /{name} stores a chunk in .* damaged"):
            open_store(path).trajectory(0)


def test_names_that_would_steer_a_terminal_are_refused(tmp_path: Path) -> None:
    path = FILES["the well"](tmp_path).path
    with h5py.File(path, "a") as file:
        file.attrs["dataset_name"] = "red\n\x1b[31m"
    with pytest.raises(ValueError, match="cannot be printed; rename it") as refused:
        open_store(path)
    assert str(refused.value).isprintable()
    write(tmp_path / "b.h5", {"a\x1b[2J": np.zeros(3)})
    with pytest.raises(ValueError, match=r"is HDF5 with a\?\[2J \(3,\), which is no"):
        open_store(tmp_path / "b.h5")


def test_zarr_chunks_larger_than_they_declare_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    path = FILES["described-zarr2"](tmp_path).path
    chunk = next(item for item in (path / "state").iterdir() if item.name[0].isdigit())
    chunk.write_bytes(deflated_zeros(256))
    with pytest.raises(ValueError, match=r"stores a chunk in .* bytes"):
        open_store(path).trajectory(0)


def test_filters_that_run_code_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    path = FILES["described-zarr2"](tmp_path).path
    mark = path / "state" / ".zarray"
    entry = json.loads(mark.read_text())
    mark.write_text(json.dumps({**entry, "filters": [{"id": "pickle"}]}))
    with pytest.raises(ValueError, match=r"filters \['pickle'\], which are not read"):
        open_store(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.h5")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        open_store(tmp_path / "a.h5")
    with pytest.raises(ValueError, match="no HDF5 files in"):
        open_store(tmp_path)


@pytest.mark.parametrize("place", [3, 4, 7, 12, 15])
def test_damaged_blosc_chunks_are_refused(tmp_path: Path, place: int) -> None:
    """Blosc reads where the header says, and would crash the process."""
    pytest.importorskip("zarr")
    path = FILES["described-zarr2"](tmp_path).path
    for chunk in (path / "state").iterdir():
        if chunk.name[0].isdigit():
            raw = bytearray(chunk.read_bytes())
            raw[place] ^= 0xFF if place != 3 else raw[3]
            chunk.write_bytes(bytes(raw))
    with pytest.raises(ValueError, match="is damaged; copy or make it again"):
        open_store(path).trajectory(0)
