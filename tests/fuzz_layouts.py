"""Damaged and hostile files in every layout: each is read or refused with a one-line ValueError.

A case is a pure function of its number. Cases run in processes of their own, with bounded memory
and time, so that a crash or a hang is a finding:

    python -P tests/fuzz_layouts.py --cases 10000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from layout_files import FILES

from pelagos.datasets.store import open_store

MEMORY = 6 * 2**30  # bytes of address space
GROWTH = 2**30  # bytes that the largest resident size may grow by
SECONDS = 20  # for a case
SECRET = 1234.5678  # stands only in a file beside the one that is opened
BATCH = 250


# ---------------------------------------------------------------- damage to bytes


def truncate(raw: bytearray, rng: np.random.Generator) -> None:
    del raw[int(rng.integers(0, len(raw))) :]


def flip_bits(raw: bytearray, rng: np.random.Generator) -> None:
    reach = len(raw) if rng.random() < 0.4 else min(len(raw), 8192)  # most structure lies in front
    for place in rng.integers(0, reach, int(2 ** rng.integers(0, 8))):
        raw[place] ^= 1 << int(rng.integers(0, 8))


def extreme_bytes(raw: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(raw), int(2 ** rng.integers(0, 5))):
        size = int(2 ** rng.integers(0, 4))
        raw[place : place + size] = rng.choice([b"\xff", b"\x00", b"\x7f"]) * size


def repeat_block(raw: bytearray, rng: np.random.Generator) -> None:
    start, size = int(rng.integers(0, len(raw))), int(2 ** rng.integers(2, 12))
    place = int(rng.integers(0, len(raw)))
    raw[place : place + size] = raw[start : start + size]


BYTES = (truncate, flip_bits, flip_bits, flip_bits, extreme_bytes, repeat_block)


def damage_bytes(path: Path, rng: np.random.Generator) -> None:
    """Damage one file; of a folder one of its files."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    chosen = files[int(rng.integers(len(files)))]
    raw = bytearray(chosen.read_bytes())
    if raw:
        BYTES[int(rng.integers(len(BYTES)))](raw, rng)
    chosen.write_bytes(bytes(raw))


# ---------------------------------------------------------------- hostile structure


def datasets(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(
        lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
    )
    return sorted(found)


def replace(file: h5py.File, name: str, make: Callable[[], Any]) -> None:
    """Put another dataset in the place of one, with the same attributes."""
    attributes = dict(file[name].attrs)
    del file[name]
    make()
    if isinstance(file.get(name, getlink=True), h5py.HardLink):
        file[name].attrs.update(attributes)


def wrong_type(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    shape = file[name].shape
    kinds = [
        lambda: np.full(shape, b"text"),
        lambda: np.zeros(shape, dtype=[("a", "f4"), ("b", "i8")]),
        lambda: np.zeros(shape, dtype="c8"),
        lambda: np.zeros(shape, dtype="i1"),
        lambda: np.full(shape, "vlen", dtype=h5py.string_dtype()),
        lambda: np.full(shape, file.ref, dtype=h5py.ref_dtype),
        lambda: np.zeros(shape, dtype="f2"),
        lambda: h5py.Empty("f4"),
    ]
    kind = kinds[int(rng.integers(len(kinds)))]
    replace(file, name, lambda: file.create_dataset(name, data=kind()))


def wrong_shape(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    values = file[name][()]
    shapes = [
        lambda: values[None],
        lambda: values[..., None],
        lambda: values.reshape(-1),
        lambda: values[:0] if values.ndim else values[None][:0],
        lambda: values[..., :-1] if values.ndim else values[None],
        lambda: values.T,
        lambda: np.zeros(()),
    ]
    shape = shapes[int(rng.integers(len(shapes)))]
    replace(file, name, lambda: file.create_dataset(name, data=shape()))


def hostile_size(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """Petabytes are declared and nothing is there, or a chunk is huge."""
    ndim = max(1, file[name].ndim)
    size = int(10 ** rng.integers(3, 14 // ndim + 1 if ndim < 4 else 4))
    chunk = int(rng.choice([1, 2, 16])) if rng.random() < 0.7 else min(size, 2**30)
    chunks = (min(chunk, size), *(1,) * (ndim - 1))
    options = {"compression": "gzip"} if rng.random() < 0.5 else {}
    shape = (size,) * ndim
    replace(file, name, lambda: file.create_dataset(name, shape, "f4", chunks=chunks, **options))


def bomb(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """Zeros that unpack to a thousand times their size."""
    old = file[name].shape
    shape = tuple(max(1, n) * (8 if axis else 2) for axis, n in enumerate(old)) or (2**20,)
    zeros = np.zeros(shape, "f4")
    options: dict[str, Any] = {"chunks": shape, "compression": "gzip", "compression_opts": 9}
    replace(file, name, lambda: file.create_dataset(name, data=zeros, **options))


def outside(path: Path, shape: tuple[int, ...]) -> Path:
    """A file with a secret, beside the one that is opened."""
    secret = path.parent / "secret.bin"
    with h5py.File(secret, "w") as file:
        file["secret"] = np.full(shape, SECRET, "f4")
    return secret


def external_link(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    secret = outside(Path(file.filename), file[name].shape)
    del file[name]
    if rng.random() < 0.5:
        file[name] = h5py.ExternalLink(str(secret), "/secret")
        return
    file["elsewhere"] = h5py.ExternalLink(str(secret), "/")
    file[name] = h5py.SoftLink("/elsewhere/secret")


def external_storage(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    shape = file[name].shape or (1,)
    raw = Path(file.filename).parent / "secret.raw"
    np.full(shape, SECRET, "f4").tofile(raw)
    where = [(str(raw), 0, h5py.h5f.UNLIMITED)]
    replace(file, name, lambda: file.create_dataset(name, shape, "f4", external=where))


def virtual(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    shape = file[name].shape or (1,)
    secret = outside(Path(file.filename), shape)
    layout = h5py.VirtualLayout(shape=shape, dtype="f4")
    layout[...] = h5py.VirtualSource(str(secret), "secret", shape=shape)
    replace(file, name, lambda: file.create_virtual_dataset(name, layout))


def cycle(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    kind = int(rng.integers(3))
    if kind == 0:
        del file[name]
        file[name] = file["/"]
    elif kind == 1:
        del file[name]
        file[name] = h5py.SoftLink(f"/{name}")
    else:
        file[f"{name}_loop"] = file["/"]


def bad_times(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """NaN, infinite, constant or falling values in a short array, as times and coordinates are."""
    short = [key for key in datasets(file) if 1 <= file[key].ndim <= 2 and file[key].size < 2000]
    if short:
        key = short[int(rng.integers(len(short)))]
        values = np.array(file[key][()], dtype=np.float64)
        how = int(rng.integers(4))
        values = [values * np.nan, values + np.inf, values * 0, -values][how]
        replace(file, key, lambda: file.create_dataset(key, data=values))


def bad_attributes(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    items = [file, *(file[key] for key in datasets(file)), *(file[k] for k in list(file)[:4])]
    named = [(item, key) for item in items for key in item.attrs]
    if not named:
        return
    item, key = named[int(rng.integers(len(named)))]
    values = [
        np.nan, -1, 10**9, "text", b"\xff\xfe", np.zeros(7000), np.zeros((0,)), file.ref,
        h5py.Empty("f4"), "a: &a [*a]", "sim: {t: 1e999, Du: [1]}", "[" * 3000,
    ]  # fmt: skip
    item.attrs[key] = values[int(rng.integers(len(values)))]


def missing(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    del file[name]


STRUCTURE = (
    *(wrong_type, wrong_type, wrong_shape, wrong_shape, hostile_size, bomb, external_link),
    *(external_storage, virtual, cycle, bad_times, bad_attributes, missing),
)


def damage_structure(path: Path, rng: np.random.Generator) -> None:
    try:
        with h5py.File(path, "a") as file:
            names = datasets(file)
            name = names[int(rng.integers(len(names)))]
            STRUCTURE[int(rng.integers(len(STRUCTURE)))](file, name, rng)
    except (TypeError, ValueError, OSError, RuntimeError, MemoryError):
        damage_bytes(path, rng)  # HDF5 itself does not write such a file


def damage_text(path: Path, rng: np.random.Generator) -> None:
    """A description or metadata in JSON with words exchanged, doubled or lost."""
    text = path.read_text(errors="replace")
    words = text.split(" ")
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(words)))
        odd = ["[1", "*/x", "1e999", "-3", "null", "{a: b}", "state[9]", "..", "@nu", "pickle"]
        other = odd[int(rng.integers(len(odd)))]
        words[place] = (words[int(rng.integers(len(words)))], "", other)[int(rng.integers(3))]
    path.write_text(" ".join(words))


def damage(path: Path, rng: np.random.Generator) -> None:
    description = path.parent / "description.yaml"
    texts = [description] if description.is_file() else []
    texts += sorted(path.rglob("*.json")) + sorted(path.rglob(".zarray"))
    if texts and rng.random() < 0.4:
        damage_text(texts[int(rng.integers(len(texts)))], rng)
    elif path.is_file() and h5py.is_hdf5(path) and rng.random() < 0.6:
        damage_structure(path, rng)
    else:
        damage_bytes(path, rng)


# ---------------------------------------------------------------- running


def read_all(path: Path) -> None:
    """Open a store and read what there is of its first and last trajectories."""
    store = open_store(path)
    for i in {0, len(store) - 1}:
        for values in (store.read(i, 0, min(store.n_frames(i), 50)), store.constants(i)):
            if values is not None and (values == np.float32(SECRET)).any():
                raise AssertionError("read outside the file")
        store.mask(i)
        store.parameters(i)


def outcome(path: Path) -> str:
    """ "read", "refused", or what is wrong."""
    try:
        read_all(path)
    except ValueError as error:
        if "\n" in str(error).strip():
            return f"several lines: {error!s:.300}"
        if path.name not in str(error) and "description.yaml" not in str(error):
            return f"no name: {error!s:.300}"
        return "refused" if type(error) is ValueError else f"{type(error).__name__}: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error!s:.300}"
    return "read"


def run_case(number: int, templates: Path, folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    names = [name for name in FILES if (templates / name).is_dir()]
    name = names[number % len(names)]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(templates / name / "files", folder)
    path = folder / (templates / name / "path.txt").read_text()
    damage(path, rng)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    signal.alarm(SECONDS)
    found = outcome(path)
    signal.alarm(0)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if grown > GROWTH:
        found = f"memory grew by {grown} bytes ({found})"
    seconds = time.monotonic() - start
    return {"case": number, "layout": name, "outcome": found, "seconds": seconds}


def run_batch(first: int, last: int, templates: Path, results: Path) -> None:
    """Cases first … last − 1, one JSON line each, after a line that announces it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder, results.open("a") as out:
        for number in range(first, last):
            print(json.dumps({"begin": number}), file=out, flush=True)
            print(json.dumps(run_case(number, templates, Path(folder) / "x")), file=out, flush=True)


def make_templates(folder: Path) -> None:
    for name, make in FILES.items():
        (folder / name / "files").mkdir(parents=True)
        path = make(folder / name / "files").path
        (folder / name / "path.txt").write_text(str(path.relative_to(folder / name / "files")))


def fuzz(first: int, cases: int) -> list[dict[str, Any]]:
    """The outcome of every case; a process that dies is an outcome too."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as base:
        templates, results = Path(base) / "templates", Path(base) / "results"
        make_templates(templates)
        number = first
        while number < first + cases:
            last = min(number + BATCH, first + cases)
            arguments = ["--batch", str(number), str(last), str(templates), str(results)]
            results.write_text("")
            ended = subprocess.run(
                [sys.executable, "-P", __file__, *arguments],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
                check=False,
            )
            lines = [json.loads(line) for line in results.read_text().splitlines()]
            found += [line for line in lines if "outcome" in line]
            number = last
            if ended.returncode:
                begun = [line["begin"] for line in lines if "begin" in line]
                stopped = begun[-1] if begun else last - 1
                found.append({"case": stopped, "outcome": f"process ended: {ended.returncode}"})
                number = stopped + 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--batch", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch:
        first, last, templates, results = options.batch
        run_batch(int(first), int(last), Path(templates), Path(results))
        return 0
    start = time.monotonic()
    found = fuzz(options.first, options.cases)
    good = [line for line in found if line["outcome"] in ("read", "refused")]
    for line in found:
        if line not in good:
            print(json.dumps(line))
    refused = sum(line["outcome"] == "refused" for line in found)
    slowest = max(found, key=lambda line: line.get("seconds", 0))
    print(
        f"{len(found)} cases in {time.monotonic() - start:.0f} s: {refused} refused, "
        f"{len(good) - refused} read, {len(found) - len(good)} wrong; slowest {slowest}"
    )
    return int(len(good) < len(found))


if __name__ == "__main__":
    sys.exit(main())
