"""Adapters: small folders that know their base, and give the operator that was trained."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest
import torch

from pelagos.operators import create, from_pretrained
from pelagos.operators.core import checkpoint
from pelagos.operators.core.adapter import Base, fingerprint, write_adapter
from pelagos.operators.core.updates import LowRank, merge, put

SMALL = {"ndim": 1, "hidden": 6, "layers": 1, "modes": 3}


@pytest.fixture
def base(tmp_path):
    return create("dymixop", fields=("u",), seed=1, **SMALL).save_pretrained(tmp_path / "base")


@pytest.fixture
def trained(base):
    """The base with an update of one weight, and another weight trained whole."""
    operator = from_pretrained(base)
    generator = torch.Generator().manual_seed(2)
    put(operator, "reduce.weight", LowRank(operator.reduce.weight, 0, 2, 1.5, generator))
    with torch.no_grad():
        operator.reduce.parametrizations.weight[0].up.normal_(0, 1, generator=generator)
        operator.lift.bias.add_(1)
    return operator


@pytest.fixture
def adapter(base, trained, tmp_path):
    kept = [name for name, _ in create("dymixop", fields=("u",), **SMALL).named_parameters()]
    kept.remove("lift.bias")
    about = Base(str(base), fingerprint(from_pretrained(base).state_dict()))
    config = checkpoint.config_of(trained)
    return write_adapter(tmp_path / "adapter", trained, config, about, kept)


def test_the_fingerprint_is_of_names_shapes_types_and_bytes():
    state = {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor([[3]])}
    expected = hashlib.sha256()
    expected.update(b"a (1, 1) torch.int64\n" + struct.pack("<q", 3))
    expected.update(b"b (2,) torch.float32\n" + struct.pack("<2f", 1.0, 2.0))
    assert fingerprint(state) == expected.hexdigest()
    assert fingerprint(dict(reversed(state.items()))) == expected.hexdigest()


def test_an_adapter_opens_as_the_operator_that_was_trained(adapter, trained):
    files = sorted(file.name for file in adapter.iterdir())
    assert files == ["SHA256SUMS", "adapter.json", "adapter.safetensors"]
    opened = from_pretrained(adapter)
    merge(trained)
    found = opened.state_dict()
    assert {*found} == {*trained.state_dict()}
    for name, value in trained.state_dict().items():
        assert torch.equal(found[name], value), name


def test_it_holds_no_more_than_what_was_trained(adapter):
    names = {*checkpoint.read_tensors(adapter / "adapter.safetensors")}
    low_rank = "reduce.parametrizations.weight.0"
    assert names == {"lift.bias", f"{low_rank}.up", f"{low_rank}.down"}


def test_another_base_is_refused_and_the_same_elsewhere_is_taken(adapter, base, tmp_path):
    other = create("dymixop", fields=("u",), seed=9, **SMALL).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"adds to .*base .* and .*other holds others"):
        from_pretrained(adapter, base=other)
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"base, which cannot be opened .* --base CHECKPOINT"):
        from_pretrained(adapter)
    assert from_pretrained(adapter, base=moved).name == "dymixop"
    with pytest.raises(ValueError, match="is a checkpoint, no adapter: it needs no base"):
        from_pretrained(moved, base=other)


@pytest.mark.parametrize("damage", ["bytes", "kind", "weight", "version"])
def test_a_damaged_adapter_is_refused(adapter, damage):
    if damage == "bytes":
        path = adapter / "adapter.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")
        with pytest.raises(ValueError, match=r"adapter\.safetensors is damaged"):
            from_pretrained(adapter)
        return
    path = adapter / "adapter.json"
    values = json.loads(path.read_text())
    update = values["updates"].pop("reduce.weight")
    if damage == "version":
        values["adapter"] = 99
    elif damage == "kind":
        values["updates"]["reduce.weight"] = {**update, "kind": "rank_one"}
    else:
        values["updates"]["gone.weight"] = update
    path.write_text(json.dumps(values))
    expected = {"version": "has version 99", "kind": "'rank_one'", "weight": "gone.weight"}
    with pytest.raises(ValueError, match=expected[damage]):
        from_pretrained(adapter, verify=False)
