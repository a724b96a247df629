"""Tensors into files: the bytes that the library writes, and their SHA-256."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pelagos.operators.core.writing import slots_of, write_one_by_one, write_tensors

DRAW = torch.Generator().manual_seed(0)
TENSORS = {
    'quoted" é/\n\x7f\x01': torch.randn(3, 4, generator=DRAW),
    "a scalar": torch.tensor(2.5),
    "none": torch.zeros(0, 3),
    "turned": torch.randn(4, 5, generator=DRAW).T,
    "part": torch.randn(9, 2, generator=DRAW)[3:5],
    "flags": torch.tensor([True, False, True]),
    "half": torch.randn(7, generator=DRAW).half(),
    "brain": torch.randn(7, generator=DRAW).bfloat16(),
    "double": torch.randn(2, generator=DRAW).double(),
    "large": torch.randn(300_000, generator=DRAW),
    **{
        str(kind): torch.arange(5, dtype=kind)
        for kind in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    },
}


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
@pytest.mark.parametrize("tensors", [TENSORS, {}], ids=["all", "none"])
def test_files_are_those_of_the_library(
    tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None
) -> None:
    found = write_tensors(tmp_path / "ours", tensors, metadata)
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, tmp_path / "theirs", metadata)
    written = (tmp_path / "ours").read_bytes()
    assert written == (tmp_path / "theirs").read_bytes()
    assert found == hashlib.sha256(written).hexdigest()


@pytest.mark.parametrize("tensors", [TENSORS, {}], ids=["all", "none"])
def test_one_by_one_makes_the_same_file(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    """And lets go of each tensor before the next one is made."""
    made: list[weakref.ref[Tensor]] = []

    def each() -> Iterator[Tensor]:
        for name in slots:
            assert all(tensor() is None for tensor in made)
            fresh = tensors[name].clone(memory_format=torch.preserve_format)
            made.append(weakref.ref(fresh))
            yield fresh
            del fresh

    slots = slots_of(tensors)
    words = {"format": "pt"}
    found = write_one_by_one(tmp_path / "streamed", slots, each(), words)
    assert found == write_tensors(tmp_path / "at once", tensors, words)
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "at once").read_bytes()
    assert len(made) == len(tensors)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", TENSORS)
    read = load_file(tmp_path / "file")
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())


def test_parameters_are_written_without_their_gradients(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    write_tensors(tmp_path / "file", {"weight": weight})
    assert torch.equal(load_file(tmp_path / "file")["weight"], torch.ones(3))


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("other")
    with pytest.raises(FileExistsError):
        write_tensors(tmp_path / "file", TENSORS)
    assert (tmp_path / "file").read_text() == "other"
