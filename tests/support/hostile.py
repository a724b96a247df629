"""Damage to files: bytes, structure, texts and links, as accident or malice leaves them.

Each kind takes a random generator, so that a case can be made again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SECRET = 1234.5678  # stands only in a file beside the one that is opened


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


def damage_bytes(path: Path, rng: np.random.Generator) -> str:
    """Damage one file; of a folder one of its files. As all of these, gives the kind of damage."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    chosen = files[int(rng.integers(len(files)))]
    raw = bytearray(chosen.read_bytes())
    kind = BYTES[int(rng.integers(len(BYTES)))]
    if raw:
        kind(raw, rng)
    chosen.write_bytes(bytes(raw))
    return kind.__name__


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
    """Zeros that unpack to a thousand times their size, or to far more than they declare."""
    old = file[name].shape
    shape = tuple(max(1, n) * (4 if axis else 2) for axis, n in enumerate(old)) or (2**20,)
    options: dict[str, Any] = {"chunks": shape, "compression": "gzip", "compression_opts": 9}
    if rng.random() < 0.5:
        zeros = np.zeros(shape, "f4")
        replace(file, name, lambda: file.create_dataset(name, data=zeros, **options))
        return
    replace(file, name, lambda: file.create_dataset(name, old, "f4", **options | {"chunks": old}))
    file[name].id.write_direct_chunk((0,) * len(old), deflated_zeros(4096), 0)


def deflated_zeros(mebibytes: int) -> bytes:
    """A zlib stream of so many MiB of zeros, made of one block over and over."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    check = (mebibytes * 2**20 % 65521) << 16 | 1  # Adler's sum of zeros
    return b"\x78\xda" + block * mebibytes + b"\x03\x00" + check.to_bytes(4, "big")


def unknown_filter(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """A chunk that a filter has packed which is not there."""
    shape = file[name].shape or (1,)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(shape)
    plan.set_filter(int(rng.choice([32015, 32001, 40000])), h5py.h5z.FLAG_OPTIONAL, ())

    def make() -> None:
        space = h5py.h5s.create_simple(shape)
        made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, plan)
        made.write_direct_chunk((0,) * len(shape), rng.bytes(200), 0)

    replace(file, name, make)


def odd_name(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """Names with line breaks and codes that steer a terminal."""
    file.move(name, f"{name}\n\x1b[2J\x1b[31m" if rng.random() < 0.5 else f"\x1b]0;x\x07\r\n{name}")


def odd_text(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """The same in a text attribute."""
    items = [file, *(file[key] for key in file), *(file[key] for key in datasets(file))]
    named = [(item, key) for item in items for key in item.attrs]
    if named:
        item, key = named[int(rng.integers(len(named)))]
        item.attrs[key] = "a\n\x1b[2J\x1b[31mred\r\x07\u202eevil"


def deep(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """A dataset at the end of 300 groups, or of a chain of 40 links."""
    if rng.random() < 0.5:
        inner = "/".join(["g"] * 300)
        file.require_group(inner)
        file.move(name, f"{inner}/values")
        file[name] = h5py.SoftLink(f"/{inner}/values")
        return
    file.move(name, "link0")
    for k in range(40):
        file[f"link{k + 1}"] = h5py.SoftLink(f"/link{k}")
    file[name] = h5py.SoftLink("/link40")


def crowd(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """Thousands of groups where a few arrays should be."""
    for k in range(3000):
        file.create_group(f"{k:04d}_")


def other_object(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """A group or a type where a dataset should be, or a dataset for a group."""
    kind = int(rng.integers(3))
    groups = [key for key in file if isinstance(file[key], h5py.Group)]
    if kind == 2 and groups:
        del file[groups[0]]
        file[groups[0]] = 1.0
        return
    del file[name]
    if kind:
        file[name] = np.dtype("f8")
    else:
        file.create_group(name)


def huge_attribute(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """An attribute of 80 MB in the place of a short one."""
    items = [file, *(file[key] for key in datasets(file))]
    named = [(item, key) for item in items for key in item.attrs]
    item, key = named[int(rng.integers(len(named)))] if named else (file, "eta")
    item.attrs[key] = np.zeros(10**7)


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
        mixed = rng.permutation(values)
        choices = [values * np.nan, values + np.inf, values * 0, -values, mixed, values * 1e300]
        values = choices[int(rng.integers(len(choices)))]
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
    *(external_storage, virtual, cycle, bad_times, bad_attributes, missing, unknown_filter),
    *(odd_name, odd_text, deep, crowd, other_object, huge_attribute),
)


def damage_structure(path: Path, rng: np.random.Generator) -> str:
    kind = STRUCTURE[int(rng.integers(len(STRUCTURE)))]
    try:
        with h5py.File(path, "a", libver=("earliest", "latest")) as file:
            names = datasets(file)
            kind(file, names[int(rng.integers(len(names)))], rng)
    except (TypeError, ValueError, OSError, RuntimeError, MemoryError):
        return damage_bytes(path, rng)  # HDF5 itself does not write such a file
    return kind.__name__


# ---------------------------------------------------------------- texts and folders

ALIASES = "a0: &a0 [x, x]\n" + "".join(
    f"a{k + 1}: &a{k + 1} [{', '.join([f'*a{k}'] * 9)}]\n" for k in range(30)
)
TEXTS = (  # in the place of a description, or of metadata in JSON
    f"{ALIASES}axes: *a30\nfields: {{u: *a30}}\n",
    "axes: &a [*a]\nfields: {u: state}\n",
    "axes: !!python/object/apply:os.system [true]\n",
    "[" * 20_000,
    "{axes: " * 5000,
    '{"zarr_format": 2, "shape": ' + "[" * 20_000,
    "axes: [time, x]\nfields: {u: ../secret.bin/secret, v: /etc/passwd}\ntime: {step: 1}\n",
    "axes: [time, x]\nfields: {'a\\n\\e[2J': 'b\\n\\e[31m'}\ntime: {step: .nan}\n",
    'axes: [time, x]\nfields: {"a\\n\\e[2J": "b\\n\\e[31m"}\ntime: {step: .nan}\n',
    "\x00\x1b[2J",
    "x: " + "9" * 5000,
)


def damage_text(path: Path, rng: np.random.Generator) -> str:
    """A description or JSON metadata: words exchanged, doubled or lost, or hostile as a whole."""
    if rng.random() < 0.3:
        path.write_text(TEXTS[int(rng.integers(len(TEXTS)))])
        return "hostile_text"
    words = path.read_text(errors="replace").split(" ")
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(words)))
        odd = ["[1", "*/x", "1e999", "-3", "null", "{a: b}", "state[9]", "..", "@nu", "pickle"]
        other = odd[int(rng.integers(len(odd)))]
        words[place] = (words[int(rng.integers(len(words)))], "", other)[int(rng.integers(3))]
    path.write_text(" ".join(words))
    return "words"


def damage_folder(path: Path, rng: np.random.Generator) -> str:
    """A link out of a Zarr folder, of a chunk or of a folder, or a chunk that is a bomb."""
    files = sorted(item for item in path.rglob("*") if item.is_file())
    chosen = files[int(rng.integers(len(files)))]
    kind = int(rng.integers(3))
    if kind == 0:
        chosen.write_bytes(deflated_zeros(4096))
        return "chunk_bomb"
    outer = path.parent / "outside"
    if kind == 1:
        chosen.replace(outer)
        chosen.symlink_to(outer)
        return "link_to_file"
    folders = [item for item in path.rglob("*") if item.is_dir()] or [path]
    folder = folders[int(rng.integers(len(folders)))]
    folder.rename(outer)
    folder.symlink_to(outer)
    return "link_to_folder"


def damage(path: Path, rng: np.random.Generator) -> str:
    """Damage a file, a Zarr folder or the description beside it; gives the kind of damage."""
    description = path.parent / "description.yaml"
    texts = [description] if description.is_file() else []
    texts += sorted(path.rglob("*.json")) + sorted(path.rglob(".zarray"))
    if texts and rng.random() < 0.4:
        return damage_text(texts[int(rng.integers(len(texts)))], rng)
    if path.is_dir() and rng.random() < 0.3:
        return damage_folder(path, rng)
    if path.is_file() and h5py.is_hdf5(path) and rng.random() < 0.6:
        return damage_structure(path, rng)
    return damage_bytes(path, rng)
