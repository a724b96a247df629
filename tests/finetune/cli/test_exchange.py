"""`pelagos import` and `pelagos export`: published weights to checkpoint and back."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pelagos.finetune.cli.console import main
from pelagos.operators import create, from_pretrained
from pelagos.operators.compat import save_dymixop, save_scot
from pelagos.operators.dymixop import published as compat_dymixop

FLUIDS = ("density", "velocity_x", "velocity_y", "pressure")


@pytest.fixture
def scot(tmp_path):
    """A directory as the scOT code writes it, of fresh weights."""
    shape = {"width": 8, "depths": (1, 1), "heads": (2, 2), "skips": (1, 0), "window": 4}
    operator = create("multiscale", fields=FLUIDS, ndim=2, resolution=(16, 16), **shape)
    return save_scot(operator, tmp_path / "scot")


@pytest.fixture
def dymixop(tmp_path):
    shape = {"hidden": 4, "layers": 1, "modes": 3, "padding": "periodic", "time_input": False}
    return save_dymixop(create("dymixop", fields=("u",), ndim=1, **shape), tmp_path / "dymixop")


def test_scot_becomes_a_checkpoint_and_goes_back_exactly(scot, tmp_path, capsys):
    main(["import", str(scot), str(tmp_path / "mine")])
    assert "multiscale" in capsys.readouterr().out
    main(["export", str(tmp_path / "mine"), str(tmp_path / "back")])
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "back" / name).read_bytes() == (scot / name).read_bytes()


def test_dymixop_becomes_a_checkpoint_and_goes_back_exactly(dymixop, tmp_path):
    main(["import", str(dymixop), str(tmp_path / "mine"), "--fields", "height"])
    assert from_pretrained(tmp_path / "mine").description.fields == ("height",)
    main(["export", str(tmp_path / "mine"), str(tmp_path / "back")])
    for path in dymixop.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()


def test_what_the_published_layout_does_not_hold_is_said(scot, tmp_path, capsys):
    main(["import", str(scot), str(tmp_path / "mine"), "--normalization", "fluids"])
    main(["export", str(tmp_path / "mine"), str(tmp_path / "back")])
    assert "no place for the 'statistics' normaliser" in capsys.readouterr().out


def test_a_failed_export_leaves_nothing(dymixop, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space")

    operator = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=1, modes=3)
    monkeypatch.setattr(compat_dymixop, "write_tensors", fail)
    with pytest.raises(OSError, match="no space"):
        save_dymixop(operator, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [dymixop]


def test_fluids_bring_units_licence_and_the_unit_of_time(scot, tmp_path, capsys):
    units = ["--normalization", "fluids"]
    main(["import", str(scot), str(tmp_path / "snapshots"), *units])
    main(["import", str(scot), str(tmp_path / "seconds"), *units, "--time-scale", "1"])
    assert "CC-BY-NC" in capsys.readouterr().out
    frames = 0.5 + torch.rand(1, 1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    a, b = (from_pretrained(tmp_path / name) for name in ("snapshots", "seconds"))
    after = [next(a.rollout(frames, dt=6.0, steps=1)), next(b.rollout(frames, dt=0.3, steps=1))]
    torch.testing.assert_close(*after)
    assert b.description.time_steps[-1] == pytest.approx(1.0)
    assert b.description.fill == {"density": 1.0, "pressure": 0.0}  # of incompressible flows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid-width", "0.1"], "--grid-width has no meaning for scot"),
        (["--fields", "u,v"], "4"),
        (["--fields", "u,,v,w"], "names separated by commas"),
        (["--from-layout", "dymixop"], "input_dim"),
    ],
)
def test_what_does_not_fit_is_refused(scot, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(["import", str(scot), str(tmp_path / "out"), *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_is_replaced_unasked(scot, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit):
        main(["import", str(scot), str(tmp_path / "out")])
    assert "--overwrite" in capsys.readouterr().err
    main(["import", str(scot), str(tmp_path / "out"), "--overwrite"])
    assert from_pretrained(tmp_path / "out").name == "multiscale"


def test_what_is_no_checkpoint_is_never_replaced(scot, tmp_path, capsys):
    other = tmp_path / "runs" / "mine" / "log.jsonl"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    with pytest.raises(SystemExit):
        main(["import", str(scot), str(tmp_path / "runs"), "--overwrite"])
    assert "is no checkpoint" in capsys.readouterr().err
    assert other.read_text() == "{}"


@pytest.mark.parametrize("damage", ["nan", "truncated", "missing"])
def test_damaged_weights_are_refused_at_the_door(scot, tmp_path, capsys, damage):
    path = scot / "model.safetensors"
    state = load_file(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        name = "patch_recovery.mixup.weight"
        value = state.pop(name)
        save_file(state | ({name: value * torch.nan} if damage == "nan" else {}), path)
    with pytest.raises(SystemExit) as caught:
        main(["import", str(scot), str(tmp_path / "out")])
    assert caught.value.code == 2
    expected = "truncated" if damage == "truncated" else "patch_recovery.mixup.weight"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_operator_without_a_published_layout_cannot_leave(tmp_path, capsys):
    operator = create("observer", fields=("u",), ndim=1, hidden=4, layers=1, modes=3)
    operator.save_pretrained(tmp_path / "mine")
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "mine"), str(tmp_path / "out")])
    assert "observer" in capsys.readouterr().err


def test_a_checkpoint_needs_no_import(scot, tmp_path, capsys):
    main(["import", str(scot), str(tmp_path / "mine")])
    with pytest.raises(SystemExit):
        main(["import", str(tmp_path / "mine"), str(tmp_path / "again")])
    assert "is a checkpoint already" in capsys.readouterr().err


def test_weights_without_their_configuration_name_the_option(dymixop, tmp_path, capsys):
    (dymixop / "config.json").unlink()
    with pytest.raises(SystemExit):
        main(["import", str(dymixop), str(tmp_path / "mine")])
    assert "--config" in capsys.readouterr().err


def test_a_run_directory_is_opened_by_its_checkpoint(scot, tmp_path):
    main(["import", str(scot), str(tmp_path / "run" / "checkpoint")])
    run, checkpoint = (from_pretrained(tmp_path / name) for name in ("run", "run/checkpoint"))
    assert run.description == checkpoint.description
    for name, value in checkpoint.state_dict().items():
        assert torch.equal(run.state_dict()[name], value)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.yaml").write_text("steps: 1\n")
    with pytest.raises(ValueError, match="begun has no checkpoint yet; finish it"):
        from_pretrained(tmp_path / "begun")


def test_published_weights_where_a_checkpoint_is_wanted_name_the_remedy(scot):
    assert "schema" not in json.loads((scot / "config.json").read_text())
    with pytest.raises(ValueError, match="pelagos import"):
        from_pretrained(scot)
