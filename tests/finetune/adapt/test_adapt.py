"""Starting from a checkpoint: what comes over by name, what starts afresh, what is refused."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from pelagos.finetune.adapt.adapt import adapt
from pelagos.finetune.adapt.methods.freeze import Freeze, FreezeConfig
from pelagos.operators import Description, create
from pelagos.operators.core.checkpoint import locate
from pelagos.pretrain.optimizer import build_optimizer, freeze
from pelagos.pretrain.recipe import OptimizerConfig

SMALL = {"ndim": 1, "hidden": 6, "layers": 2, "modes": 3, "history": 2}


@pytest.fixture
def donor():
    operator = create("dymixop", fields=("u", "v"), seed=5, **SMALL)
    return operator


def test_same_fields_load_everything(donor):
    operator = donor
    adapted, report = adapt(donor, Description(fields=("u", "v"), time_steps=(0.3,)))
    assert report.share == 1
    assert set(report.loaded) == set(operator.state_dict())
    assert not report.partly
    assert not report.reinitialized
    for name, value in adapted.state_dict().items():
        assert torch.equal(value, operator.state_dict()[name])
    assert adapted.description.time_steps == (0.3,)
    assert adapted.description.provenance["init_from"] == operator.description.provenance


def test_fields_keep_their_weights_by_name(donor):
    """(u, v) → (v, w): v moves to the front, w is fresh, the coordinates' weights stay."""
    operator = donor
    adapted, report = adapt(donor, Description(fields=("v", "w")))
    old, new = operator.lift.weight, adapted.lift.weight
    for frame in range(2):
        assert torch.equal(new[:, 2 * frame], old[:, 2 * frame + 1])
        assert not torch.equal(new[:, 2 * frame + 1], old[:, 2 * frame])
    assert torch.equal(new[:, 4], old[:, 4])
    assert torch.equal(adapted.unlift.weight[0], operator.unlift.weight[1])
    assert set(report.partly) == {"lift.weight", "unlift.weight", "unlift.bias"}
    history = torch.randn(1, 2, 2, 16, generator=torch.Generator().manual_seed(0))
    assert next(adapted.rollout(history, dt=1.0, steps=1)).isfinite().all()


def test_an_added_field_does_not_disturb_the_old_ones(donor):
    """With the new field's inputs at zero, the old fields are predicted as before."""
    operator = donor
    adapted, _ = adapt(donor, Description(fields=("u", "v", "w")))
    history = torch.randn(1, 2, 2, 16, generator=torch.Generator().manual_seed(0))
    wider = torch.cat((history, torch.zeros(1, 2, 1, 16)), 2)
    before = next(operator.rollout(history, dt=1.0, steps=1))
    torch.testing.assert_close(next(adapted.rollout(wider, dt=1.0, steps=1))[:, :2], before)


def test_the_report_names_fields_and_another_unit_of_time():
    """Poseidon's unit of time is 20 snapshots; data in seconds are not."""
    small = {"ndim": 1, "width": 8, "depths": (1,), "heads": (2,), "skips": (0,), "patch": 2}
    about = Description(fields=("u", "v"), time_scale=20.0, time_steps=(2.0, 20.0))
    donor = create("multiscale", description=about, window=4, **small)
    new = Description(fields=("v", "w"), time_scale=20.0, time_steps=(0.1, 0.7))
    _, report = adapt(donor, new)
    assert report.fields == (("v",), ("w",), ("u",))
    assert report.times == pytest.approx((1.0, 0.035))
    assert "time_scale is the physical time" in printed(report)
    _, same = adapt(donor, replace(new, time_scale=1.0))
    assert "time_scale" not in printed(same)


def printed(report):
    console = Console(width=400, file=io.StringIO())
    console.print(report.table())
    return console.file.getvalue()


def test_longer_history_keeps_the_latest_frames(donor):
    operator = donor
    adapted, _ = adapt(donor, Description(fields=("u", "v")), overrides={"history": 3})
    # Same fields, another shape: matched like fields, counted from the last frame.
    torch.testing.assert_close(adapted.lift.weight[:, 2:6], operator.lift.weight[:, :4])


def frozen(*parts):
    return Freeze(FreezeConfig(parts=parts))


def test_freeze_prints_and_stops_gradients(donor):
    method = frozen("mixing.0.", "lift")
    adapted, report = adapt(donor, Description(fields=("u", "v")), method=method)
    assert all(name.startswith(("mixing.0.", "lift")) for name in report.frozen)
    for name, parameter in adapted.named_parameters():
        assert parameter.requires_grad == (name not in report.frozen)
    with pytest.raises(ValueError, match="no module or parameter 'mixin'; did you mean 'mixing'"):
        adapt(donor, Description(fields=("u", "v")), method=frozen("mixin"))


def test_a_name_is_not_the_beginning_of_another():
    operator = create("dymixop", fields=("u",), **{**SMALL, "layers": 11})
    assert all(name.startswith("mixing.1.") for name in freeze(operator, ["mixing.1"]))
    optimizer = build_optimizer(operator, OptimizerConfig(), {"mixing.10": 1.0})
    fast = [g["params"] for g in optimizer.param_groups if g["peak"] == 1.0]
    assert sum(map(len, fast)) == len([*operator.mixing[10].parameters()])


def test_fresh_weights_cannot_be_frozen(donor):
    with pytest.raises(ValueError, match=r"lift\.weight start\(s\) afresh and must be trained"):
        adapt(donor, Description(fields=("u", "w")), method=frozen("lift.weight"))


def test_another_size_is_named_with_both(donor):
    expected = r"do not fit: operator\.hidden is 8 here and 6 there; leave it out"
    with pytest.raises(ValueError, match=expected):
        adapt(donor, Description(fields=("u", "v")), overrides={"hidden": 8})


def test_a_run_without_checkpoint_is_named(tmp_path):
    (tmp_path / "recipe.yaml").write_text("{}")
    with pytest.raises(ValueError, match="has no checkpoint yet; finish it"):
        locate(tmp_path)
