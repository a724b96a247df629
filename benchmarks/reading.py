"""Reading data: ours against the disk, The Well's reader, and h5py as PDEBench uses it.

    pip install -e '.[peers]'
    OMP_NUM_THREADS=1 python benchmarks/reading.py contiguous well pdebench
    OMP_NUM_THREADS=1 python benchmarks/reading.py memory files
    OMP_NUM_THREADS=1 python benchmarks/reading.py decoding

Data are made in a temporary folder (2 GB), read once to warm the cache, and then read in turn by
every reader, in random order. Values are compared. Given are the medians and the ratio of medians.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import psutil
import torch

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.sampling.windows import Windows
from pelagos.datasets.stores.statistics import write_stats
from pelagos.datasets.tools.rechunk import rechunk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="+", choices=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}")
    for name in arguments.sections:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
            SECTIONS[name](Path(folder), arguments.rounds)


def interleaved(readers, count, rounds):
    """Median seconds of each reader over random items; every reader reads the same ones."""
    rng = np.random.default_rng(0)
    took = {name: [] for name in readers}
    for _ in range(rounds):
        item = int(rng.integers(count))
        for name in rng.permutation(list(readers)):
            began = time.perf_counter()
            value = readers[name](item)
            took[name].append(time.perf_counter() - began)
            del value
    return {name: statistics.median(times) for name, times in took.items()}


def report(title, seconds, peer, size):
    print(f"\n{title}")
    for name, value in seconds.items():
        rate = size / value / 1e9
        ratio = seconds[peer] / value
        print(f"  {name:34} {1e3 * value:9.3f} ms  {rate:6.2f} GB/s  {ratio:6.2f} × {peer}")


def make(root, n, frames, shape, names):
    rng = np.random.default_rng(0)
    grid = Grid(shape, (1.0,) * len(shape), ("periodic",) * len(shape))
    fields = {name: rng.random((n, frames, *shape), dtype="f4") for name in names}
    data = WellData("made", grid, 0.1 * np.arange(frames), fields)
    write_file(root / "data" / "train" / "a.hdf5", data)
    write_stats(root)
    return root


def contiguous(folder, rounds):
    """Windows of 10 frames of one field: 10 MiB that lie in a row."""
    root = make(folder / "contiguous", 2, 60, (512, 512), ("u",))
    store = open_store(root)
    path, frame = store.sources[0].path, 512 * 512 * 4
    with h5py.File(path) as file:
        offset = file["t0_fields/u"].id.get_offset()
    descriptor, size = os.open(path, os.O_RDONLY), 10 * frame

    def raw(k):
        buffer = np.empty(size, np.uint8)
        assert os.preadv(descriptor, [buffer], offset + k * frame) == size
        return buffer

    def ours(k):
        return store.window(0, k, 5, 5)

    first = torch.from_numpy(raw(7).view(np.float32).reshape(10, 1, 512, 512))
    assert first[:5].equal(ours(7).history)
    for k in range(50):  # every frame is checked for NaN when it is read first
        ours(k)
    seconds = interleaved({"raw read": raw, "window": ours}, 50, rounds)
    report("contiguous windows of 10 MiB", seconds, "raw read", size)
    fresh = []
    for _ in range(20):
        store = open_store(root)
        began = time.perf_counter()
        ours(20)
        fresh.append(time.perf_counter() - began)
    print(f"  first time a process reads a window: {1e3 * statistics.median(fresh):.3f} ms")


def well(folder, rounds):
    """The Well's own reader, on its own layout."""
    from the_well.data import WellDataset

    names = ("density", "pressure", "velocity_x", "velocity_y")
    for title, shape, n in (("small items", (32, 32), 16), ("items of 10 MiB", (256, 512), 2)):
        root = make(folder / title.replace(" ", "_"), n, 50, shape, names)
        theirs = WellDataset(path=str(root), well_split_name="train", n_steps_input=4)
        ours = Windows(open_store(root), 4, 1)
        assert len(theirs) == len(ours)
        item = theirs[31]["input_fields"].movedim(-1, 1)
        assert item.equal(ours[31].history)
        for k in range(len(ours)):
            ours[k]
        readers = {"The Well": theirs.__getitem__, "ours": ours.__getitem__}
        seconds = interleaved(readers, len(ours), rounds)
        report(f"The Well's layout, {title}", seconds, "The Well", 5 * 16 * np.prod(shape))


def pdebench(folder, rounds):
    """2D diffusion–reaction: a group per trajectory, auto-chunked, lzf."""
    path, n = folder / "2D_diff-react_NA_NA.h5", 10
    write_diffusion_reaction(path, n)
    # HDF5 opens a file only once for each process: a copy, so that neither uses the other's cache.
    shutil.copyfile(path, folder / "theirs.h5")
    stored = open_store(path)
    fast = open_store(rechunk(path, folder / "fast.h5"))
    for k in range(n):
        assert theirs(folder / "theirs.h5", k).equal(stored.trajectory(k))
        assert fast.trajectory(k).equal(stored.trajectory(k))
    size = 101 * 128 * 128 * 2 * 4
    readers = {
        "PDEBench's way": lambda k: theirs(folder / "theirs.h5", k),
        "ours, in place": lambda k: stored.window(k, 0, 10, 91),
        "ours, after rechunk": lambda k: fast.window(k, 0, 10, 91),
    }
    seconds = interleaved(readers, n, max(rounds // 4, 10))
    report("PDEBench, whole trajectories of 13 MB", seconds, "PDEBench's way", size)

    def plain(k):
        with h5py.File(folder / "theirs.h5") as file:
            return np.array(file[f"{k % n:04d}"]["data"][k // n : k // n + 11], dtype="f")

    readers = {
        "h5py, opened for each item": plain,
        "ours, in place": lambda k: stored.window(k % n, k // n, 10, 1),
        "ours, after rechunk": lambda k: fast.window(k % n, k // n, 10, 1),
    }
    seconds = interleaved(readers, 90 * n, rounds)
    report("PDEBench, windows of 11 frames", seconds, "h5py, opened for each item", size * 11 / 101)


def write_diffusion_reaction(path, n):
    """Smooth fields, as the published file stores them."""
    rng = np.random.default_rng(0)
    k = np.fft.fftfreq(128, 1 / 128)
    weight = 1 / (1 + (k[:, None] ** 2 + k**2) / 16) ** 1.5
    axis = (np.arange(128) + 0.5) / 64 - 1
    with h5py.File(path, "w") as file:
        for i in range(n):
            noise = rng.standard_normal((101, 2, 128, 128)).cumsum(0)
            values = np.fft.ifft2(np.fft.fft2(noise) * weight).real
            group = file.create_group(f"{i:04d}")
            data = np.moveaxis(values, 1, -1).astype("f4")
            group.create_dataset("data", data=data, compression="lzf")
            group.attrs["config"] = "sim: {}"
            for name, points in (("x", axis), ("y", axis), ("t", np.linspace(0, 5, 101))):
                group.create_dataset(f"grid/{name}", data=points.astype("f4"), compression="lzf")


def theirs(path, k):
    """Open the file, read a whole trajectory, make tensors: once for each item."""
    with h5py.File(path, "r") as file:
        data = np.array(file[f"{k:04d}"]["data"], dtype="f")
    return torch.tensor(data, dtype=torch.float).permute(0, 3, 2, 1)  # stored (t, y, x, v)


def memory(folder, rounds):
    """A million items of a store of 300 files."""
    for k in range(300):
        shape, names = (16,), ("u",)
        make(folder / "one", 1, 8, shape, names) if k == 0 else None
        target = folder / "many" / f"{k:03d}.hdf5"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / "one" / "data" / "train" / "a.hdf5", target)
    windows = Windows(open_store(folder / "many"), 4, 1)
    rng = np.random.default_rng(0)
    for part in range(10):
        began = time.perf_counter()
        for k in rng.integers(len(windows), size=100_000).tolist():
            windows[k]
        each = (time.perf_counter() - began) / 100_000
        used = psutil.Process().memory_info().rss / 2**20
        files = len(list(Path("/proc/self/fd").iterdir()))
        print(
            f"  {(part + 1) * 100_000:9,} items: {used:.1f} MiB resident, {files} open files, "
            f"{1e6 * each:.0f} µs an item",
            flush=True,
        )


def files(folder, rounds):
    """A store of 10,000 files, opened with and without its index."""
    make(folder / "one", 2, 8, (64,), ("u",))
    target = folder / "many" / "data" / "train"
    target.mkdir(parents=True)
    for k in range(10_000):
        shutil.copyfile(folder / "one" / "data" / "train" / "a.hdf5", target / f"{k:05d}.hdf5")
    for kind in ("first opening", "again", "again", "again"):
        began = time.perf_counter()
        store = open_store(folder / "many")
        print(f"  {kind}: {time.perf_counter() - began:.2f} s, {len(store)} trajectories")


def decoding(folder, rounds):
    """Windows of 10 frames of packed numbers with a fill value: NetCDF 4, chunked and not, Zarr."""
    import xarray

    shape, frames = (181, 360), 120
    values = np.random.default_rng(0).normal(280, 10, (frames, *shape)).astype("f4")
    values[:, 40:60, 100:200] = np.nan
    dims = {
        "time": 6.0 * np.arange(frames),
        "lat": np.linspace(-90, 90, 181),
        "lon": np.arange(360.0),
    }
    data = xarray.Dataset({"t": (("time", "lat", "lon"), values)}, dims)
    packed = {
        "dtype": "i2",
        "scale_factor": 0.01,
        "add_offset": 280.0,
        "_FillValue": np.int16(-32768),
    }
    forms = {
        "contiguous": (folder / "plain.nc", {}),
        "chunked, zlib": (folder / "zlib.nc", {"zlib": True, "chunksizes": (1, *shape)}),
        "Zarr": (folder / "data.zarr", {"chunks": (1, *shape)}),
    }
    for title, (path, encoding) in forms.items():
        if path.suffix == ".zarr":
            data.to_zarr(path, encoding={"t": packed | encoding}, consolidated=False)
            truth = xarray.open_zarr(path, chunks=None, consolidated=False)["t"]
        else:
            data.to_netcdf(path, engine="h5netcdf", encoding={"t": packed | encoding})
            # HDF5 opens a file only once for each process: a copy for the other one.
            shutil.copyfile(path, path.with_suffix(".copy.nc"))
            truth = xarray.open_dataset(path.with_suffix(".copy.nc"), engine="h5netcdf")["t"]
        store = open_store(path)
        store.mask(0)
        same = truth[7:17].to_numpy().astype("f4")
        np.testing.assert_array_equal(store.read_raw(0, slice(7, 17))[:, 0], same)
        readers = {
            "xarray, decoded": lambda k, truth=truth: truth[k : k + 10].to_numpy(),
            "values": lambda k, store=store: store.read_raw(0, slice(k, k + 10)),
            "window, masked and filled": lambda k, store=store: store.window(0, k, 5, 5),
        }
        seconds = interleaved(readers, frames - 10, rounds)
        report(f"packed numbers, {title}, 10 frames", seconds, "xarray, decoded", 40 * 181 * 360)


SECTIONS = {
    "contiguous": contiguous,
    "well": well,
    "pdebench": pdebench,
    "decoding": decoding,
    "memory": memory,
    "files": files,
}


if __name__ == "__main__":
    main()
