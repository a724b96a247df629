"""Checksums of folders, and of objects that carry their own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pelagos.datasets.base.manifest import MANIFEST, faults, seal, write_manifest
from pelagos.datasets.base.sealed import sealed, unsealed


def test_what_is_known_is_not_hashed_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    seal(tmp_path, {"b": 64 * "0"})
    found = hashlib.sha256(b"a").hexdigest()
    assert (tmp_path / MANIFEST).read_text() == f"{found}  a\n{64 * '0'}  b\n"


def test_metadata_of_zarr_are_part_of_a_dataset_and_other_hidden_files_are_not(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "cube.zarr" / "u"
    folder.mkdir(parents=True)
    for name in (".zarray", ".zattrs", "0.0", ".nfs0001"):
        (folder / name).write_text("{}")
    write_manifest(tmp_path)
    listed = [line.split("  ")[1] for line in (tmp_path / MANIFEST).read_text().splitlines()]
    assert listed == [f"cube.zarr/u/{name}" for name in (".zarray", ".zattrs", "0.0")]
    (folder / ".zarray").write_text("[]")
    assert list(faults(tmp_path)) == [f"{folder / '.zarray'} is not the file that was written"]


CONTENT = {"schema": 1, "scores": [0.1, 1e-300, None, "é"], "none": {}}


def test_a_seal_counts_for_the_content_and_not_for_how_it_is_written() -> None:
    stored = json.dumps(sealed(CONTENT))
    assert unsealed(json.loads(stored)) == CONTENT
    turned = dict(reversed(json.loads(stored).items()))
    assert unsealed(turned) == CONTENT
    assert unsealed(CONTENT) == CONTENT  # of an earlier version


@pytest.mark.parametrize(("old", "new"), [("0.1", "0.2"), ("schema", "scheme"), ("null", "0")])
def test_a_changed_object_is_refused(old: str, new: str) -> None:
    stored = json.dumps(sealed(CONTENT)).replace(old, new, 1)
    with pytest.raises(ValueError, match="changed after it was written"):
        unsealed(json.loads(stored))
