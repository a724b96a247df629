"""Checkpoints that are malformed, do not fit, or cannot be written."""

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pelagos.datasets.fields.grid import Grid
from pelagos.operators import Description, create, from_pretrained
from pelagos.operators.core import checkpoint


def operator(**description):
    description = Description(fields=("u",), **description)
    return create("dymixop", description=description, ndim=1, hidden=4, layers=1, modes=2)


@pytest.fixture
def saved(tmp_path):
    return operator(grid=Grid.unit((8,))).save_pretrained(tmp_path / "model")


def refusal(path):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the tests look at all of the message)
        from_pretrained(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def change(path, **values):
    """As somebody who wrote the file by hand would have it: without checksums."""
    (path / "SHA256SUMS").unlink(missing_ok=True)
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"fields": 5}, "fields must be a list, as in [5]; got 5"),
        ({"fields": []}, "needs distinct field names"),
        ({"fields": [1]}, "fields[0] must be text; got 1"),
        ({"fields": None}, "fields must not be null"),
        ({"time_steps": 5}, "time_steps must be a list, as in [5]; got 5"),
        ({"time_steps": ["a"]}, "time_steps[0] must be a number; got 'a'"),
        ({"time_scale": "x"}, "time_scale must be a number; got 'x'"),
        ({"config": []}, "config must be a mapping of keys such as ndim; got []"),
        ({"config": None}, "config must be a mapping of keys such as ndim; got None"),
        ({"config": {"ndim": 1, "seed": 1}}, "config: unknown key 'seed'"),
        ({"config": {"ndim": 1, "description": 1}}, "config: unknown key 'description'"),
        ({"config": {"ndim": "x"}}, "config.ndim must be a whole number; got 'x'"),
        ({"operator": ["x"]}, "operator must be a name; got ['x']"),
        ({"operator": "dymixup"}, "did you mean 'dymixop'"),
        ({"normalizer": None}, "normalizer must be a mapping with a name; got None"),
        ({"normalizer": "x"}, "normalizer must be a mapping with a name; got 'x'"),
        ({"normalizer": {"name": []}}, "normalizer must be a mapping with a name"),
        ({"grid": "x"}, "grid must be a mapping of keys such as shape; got 'x'"),
        ({"grid": {"shape": "x"}}, "grid: missing but required: lengths, boundary"),
        ({"units": 5}, "units must be a mapping of keys; got 5"),
        ({"units": {"u": 5}}, "units.u must be text; got 5"),
        ({"provenance": "x"}, "provenance must be a mapping of keys; got 'x'"),
        ({"licence": "x"}, "unknown key 'licence'; did you mean 'license'?"),
    ],
)
def test_malformed_config(saved, values, expected):
    change(saved, **values)
    message = refusal(saved)
    assert expected in message
    assert message.startswith(str(saved / "config.json"))


def test_a_number_of_more_than_64_bits(saved):
    change(saved, config={"ndim": 1, "hidden": 10**400})
    assert "config.hidden must fit 64 bits" in refusal(saved)


@pytest.mark.parametrize("hidden", [10**7, 10**12, 10**18])
def test_an_absurd_size_is_refused_before_memory_is_taken(saved, hidden):
    change(saved, config={"ndim": 1, "hidden": hidden, "layers": 1, "modes": 2})
    assert "does not fit its config" in refusal(saved)


@pytest.mark.parametrize("name", ["layers", "nonlinear_branches", "linear_branches"])
def test_an_absurd_count_is_refused_at_once(saved, name):
    change(saved, config={"ndim": 1, "hidden": 4, "layers": 1, "modes": 2, name: 10**18})
    assert "asks for more tensors than the" in refusal(saved)
    with pytest.raises(ValueError, match=r"asks for more than 20,000 tensors"):
        create("dymixop", fields=("u",), ndim=1, hidden=2, modes=2, **{name: 10**18})


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "SHA256SUMS"])
def test_a_changed_bit_is_refused_unless_it_is_wanted_so(saved, file):
    data = bytearray((saved / file).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / file).write_bytes(data)
    assert "restore it from a copy" in refusal(saved)
    if file == "SHA256SUMS":
        assert from_pretrained(saved, verify=False).name == "dymixop"


def test_other_types_of_numbers_are_refused(saved, tmp_path):
    name = edit_weights(saved, lambda value: value.double())
    assert f"{name} is float64, expected float32" in refusal(saved)
    with pytest.raises(ValueError, match=r"has torch\.bfloat16; save operator\.float\(\)"):
        operator().bfloat16().save_pretrained(tmp_path / "half")


def test_a_name_that_stands_twice_is_refused(saved):
    path = saved / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].decode().strip()
    name, entry = list(json.loads(header).items())[-1]
    header = f"{header[:-1]},{json.dumps(name)}:{json.dumps(entry)}}}".encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])
    (saved / "SHA256SUMS").unlink()
    assert "damaged" in refusal(saved)


def test_names_with_control_characters_are_refused(saved):
    change(saved, fields=["u\x1b[31m"])
    assert "names and units must be printable; got 'u\\x1b[31m'" in refusal(saved)


def edit_weights(path, edit):
    (path / "SHA256SUMS").unlink(missing_ok=True)
    state = load_file(path / "model.safetensors")
    name = next(name for name, value in state.items() if value.numel() > 1)
    state[name] = edit(state[name])
    save_file(state, path / "model.safetensors")
    return name


def test_a_complex_tensor_is_refused(saved):
    pytest.importorskip("safetensors", minversion="0.6", reason="it writes no complex ones")
    name = edit_weights(saved, lambda value: value.to(torch.complex64))
    assert f"{name} is complex, expected real" in refusal(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_refused_by_name(saved, value):
    name = edit_weights(saved, lambda tensor: tensor.clone().fill_(value))
    assert f"not finite: {name}" in refusal(saved)


def test_an_operator_that_diverged_can_still_be_saved(tmp_path):
    diverged = operator()
    with torch.no_grad():
        next(diverged.parameters()).fill_(float("nan"))
    assert "not finite" in refusal(diverged.save_pretrained(tmp_path / "model"))


def test_require_fit_names_every_kind_of_misfit():
    expected = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1)}
    checkpoint.require_fit(dict(expected), expected, "here")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        checkpoint.require_fit({"a": torch.zeros(4), "c": torch.zeros(1), "d": torch.zeros(1)},
                               expected, "here")  # fmt: skip
    assert str(caught.value) == (
        "here does not fit its config: missing b; unexpected d; a is (4,), expected (2,)"
    )


def test_read_tensors_names_the_file(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing of the kind")
    for name in ("x.safetensors", "y.safetensors"):
        with pytest.raises(ValueError, match=rf"{name} is damaged or truncated"):
            checkpoint.read_tensors(tmp_path / name)


def test_a_full_disk_leaves_nothing(saved, tmp_path, monkeypatch):
    def fail(path, *_):
        path.write_bytes(b"half")
        raise OSError(28, "No space\nleft")

    monkeypatch.setattr(checkpoint, "write_tensors", fail)
    before = (saved / "model.safetensors").read_bytes()
    for path in (tmp_path / "new", saved):
        with pytest.raises(OSError, match=r"cannot write .*No space left") as caught:
            checkpoint.save(operator(), path, overwrite=True)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert [found.name for found in tmp_path.iterdir()] == ["model"]
    assert (saved / "model.safetensors").read_bytes() == before


def test_the_old_checkpoint_is_put_back_when_the_new_one_cannot_be(saved, tmp_path, monkeypatch):
    rename = Path.rename
    before = (saved / "config.json").read_text()

    def fail(self, target):
        if target == saved and (self / "config.json").read_text() != before:
            raise OSError("no second rename")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    monkeypatch.setattr("pelagos.datasets.base.appearing._exchanged", lambda *_: False)
    with pytest.raises(OSError, match="no second rename"):
        operator(license="new").save_pretrained(saved, overwrite=True)
    assert (saved / "config.json").read_text() == before
    assert [found.name for found in tmp_path.iterdir()] == ["model"]


def test_a_checkpoint_has_the_mode_that_the_umask_gives(tmp_path):
    old = os.umask(0o027)
    try:
        path = operator().save_pretrained(tmp_path / "model")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


class TestHub:
    def refuse_network(self, *_, **__):
        raise AssertionError("went to the network")

    @pytest.mark.parametrize("name", ["rnus/a", "model", "a/b/c"])
    def test_a_mistyped_path_is_no_repository(self, name, monkeypatch):
        monkeypatch.setattr("huggingface_hub.snapshot_download", self.refuse_network)
        known = "pelagos checkpoints names those that ship"
        assert refusal(name) == f"no checkpoint directory at {name} ({known})"

    def test_an_explicit_repository_is_downloaded(self, saved, monkeypatch):
        asked = []

        def download(repository, allow_patterns):
            asked.append((repository, allow_patterns))
            return str(saved)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        assert from_pretrained("hf:owner/model").name == "dymixop"
        files = {"config.json", "model.safetensors", "SHA256SUMS"}
        assert [(name, files - {*wanted}) for name, wanted in asked] == [("owner/model", set())]

    @pytest.mark.parametrize("name", ["hf:", "hf:a/b/c", "hf:model name", f"hf:{'x' * 5000}"])
    def test_an_impossible_repository(self, name):
        with pytest.raises(ValueError, match=r"'hf:.*' names no model .*: write hf:owner/model$"):
            from_pretrained(name)

    @pytest.mark.parametrize("name", ["x" * 5000, "y/" * 3000, f"pelagos:{'x' * 5000}"])
    def test_a_name_that_no_disk_can_have(self, name):
        with pytest.raises(ValueError, match=r"^no checkpoint .{30,300}$"):
            from_pretrained(name)
