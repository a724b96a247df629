"""`pelagos doctor`: what this machine has, and what will be missed."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from ...datasets.base.requirements import unmet

FILES = 4096  # that a process should be allowed to open, for loading processes and many files
SHARED = 2**30  # bytes of /dev/shm that loading processes want
# What is optional -> what it is for, and how to get it.
EXTRAS = {
    "zarr": ("Zarr stores", "pip install 'pelagos[zarr]'"),
    "fastapi": ("pelagos serve", "pip install 'pelagos[serve]'"),
    "onnxruntime": ("export --format onnx", "pip install 'pelagos[onnx]'"),
    "hdf5plugin": ("HDF5 files with Blosc, Zstandard or LZ4", "pip install hdf5plugin"),
    "tensorboard": ("the tracker of that name", "pip install tensorboard"),
    "neuraloperator": ("benchmarks against it", "pip install 'pelagos[peers]'"),
    "the_well": ("benchmarks against its reader", "pip install 'pelagos[peers]'"),
    "pytest": ("the tests", "pip install 'pelagos[dev]'"),
    "mkdocs-material": ("the site", "pip install 'pelagos[docs]'"),
}


class Line(NamedTuple):
    """One thing about this machine.

    Attributes:
        rank: "ok", "note" (something optional is missing) or "problem".
        name: of the thing.
        text: what was found, and where something is missing the remedy.
    """

    rank: Literal["ok", "note", "problem"]
    name: str
    text: str


def doctor() -> None:
    """Say which versions and devices are here, whether disks, locks and limits will do, and what
    is missing for which optional part.

    Exits with 1 where something will not work.

    Examples:
        pelagos doctor
    """
    lines = list(examine(Path.cwd()))
    width = max(len(line.name) for line in lines)
    for rank, name, text in lines:
        print(f"{rank:8} {name:{width}}  {text}")
    if any(line.rank == "problem" for line in lines):
        raise SystemExit(1)


def examine(folder: Path) -> Iterator[Line]:
    """Everything about this machine, and about `folder`, in which runs and data are to be."""
    yield Line("ok", "pelagos", f"{version('pelagos')}, Python {platform.python_version()}")
    yield from _needed()
    if find_spec("torch"):
        yield from _devices()
    if find_spec("h5py"):
        yield from _hdf5()
    yield from _limits()
    yield from _disk(folder)
    yield from _extras()


def _needed() -> Iterator[Line]:
    """Python and packages against what Pelagos asks for."""
    wrong = [Line("problem", name, told) for name, told in unmet()]
    yield from wrong
    if not wrong:
        yield Line("ok", "packages", "all that Pelagos needs, in versions that it knows")


def _devices() -> Iterator[Line]:
    import torch

    yield Line("ok", "torch", f"{torch.__version__}, accelerate {version('accelerate')}")
    cores, threads = os.cpu_count(), torch.get_num_threads()
    said = os.environ.get("OMP_NUM_THREADS")
    hint = "" if said else "; with several processes set OMP_NUM_THREADS=1"
    yield Line("ok", "processor", f"{cores} cores, {threads} threads in a process{hint}")
    if not torch.cuda.is_available():
        yield Line("note", "GPU", "none that torch can use; training runs on the processor")
    for i in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(i)
        size = found.total_memory / 2**30
        yield Line("ok", f"GPU {i}", f"{found.name}, {size:.0f} GiB, bf16 {_bf16()}")
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        yield Line("note", "C++ compiler", "none: `compile` needs one (package g++ or clang)")
    else:
        yield Line("ok", "C++ compiler", compiler)


def _bf16() -> str:
    import torch

    return "yes" if torch.cuda.is_bf16_supported() else "no"


def _hdf5() -> Iterator[Line]:
    import h5py

    known = {"gzip": h5py.h5z.FILTER_DEFLATE, "lzf": h5py.h5z.FILTER_LZF,
             "szip": h5py.h5z.FILTER_SZIP, "blosc": 32001, "zstd": 32015}  # fmt: skip
    there = [name for name, number in known.items() if h5py.h5z.filter_avail(number)]
    yield Line(
        "ok", "HDF5", f"{h5py.version.hdf5_version}, h5py {h5py.__version__}: {', '.join(there)}"
    )


def _limits() -> Iterator[Line]:
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = allowed >= FILES
    hint = "" if enough else f"; many loading processes need more: ulimit -n {FILES}"
    yield Line("ok" if enough else "note", "open files", f"{allowed} (at most {most}){hint}")
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total
        hint = "" if size >= SHARED else "; loading processes need more (docker: --shm-size 16g)"
        rank = "ok" if size >= SHARED else "problem"
        yield Line(rank, "shared memory", f"{size / 2**30:.2g} GiB in /dev/shm{hint}")


def _disk(folder: Path) -> Iterator[Line]:
    free = shutil.disk_usage(folder).free / 2**30
    yield Line("ok" if free > 1 else "problem", "disk", f"{free:.1f} GiB free at {folder}")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".pelagos-doctor-") as file:
            locks = _can_lock(file.fileno())
            linked = Path(f"{file.name}.link")
            os.link(file.name, linked)
            linked.unlink()
    except OSError as error:
        yield Line("problem", "writing", f"not possible at {folder}: {error.strerror}")
        return
    hint = "yes" if locks else "no: runs are told apart by files alone"
    yield Line("ok" if locks else "note", "file locks", hint)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pelagos"
    size = sum(p.stat().st_size for p in caches.rglob("*") if p.is_file()) / 2**20
    yield Line("ok", "caches", f"{size:.0f} MiB in {caches} (may be deleted at any time)")


def _can_lock(descriptor: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _extras() -> Iterator[Line]:
    for name, (purpose, remedy) in EXTRAS.items():
        try:
            yield Line("ok", name, version(name))
        except PackageNotFoundError:
            yield Line("note", name, f"missing: {purpose}; {remedy}")
    if sys.version_info >= (3, 14):
        yield Line("note", "Python", "newer than what Pelagos is tested with (3.11 to 3.13)")
