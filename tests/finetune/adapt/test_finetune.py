"""Fine-tuning from a checkpoint: what it takes over, and what it needs when it goes on."""

import json
import math
import shutil

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.cli.training import main
from pelagos.operators import from_pretrained
from pelagos.pretrain.command import main as pretrain
from pelagos.pretrain.run import state

RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 6, "layers": 2, "modes": 4},
    "steps": 2,
    "batch": 2,
    "micro_batch": 2,
    "log_every": 1,
    "save_every": 1,
    "validation": {"every": 2, "trajectories": 1, "horizon": 3},
}


@pytest.fixture
def recipe(tmp_path):
    data = simulate(
        "advection_1d",
        tmp_path,
        trajectories={"train": 2, "valid": 1},
        resolution=40,
        frames=7,
        dt=0.02,
    )

    def write(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"data": [{"path": str(data)}], **RECIPE, **changes}))
        return str(path)

    return write


@pytest.fixture
def donor(recipe, tmp_path):
    """Pretrained with statistics and a time scale of its own."""
    pretrain([recipe(normalizer={"name": "statistics"}, time_scale=0.5), str(tmp_path / "donor")])
    AcceleratorState._reset_state(reset_partial_state=True)
    return tmp_path / "donor"


def test_normaliser_and_time_scale_are_the_checkpoints(donor, recipe, tmp_path, capsys):
    main([recipe(), str(tmp_path / "run"), "--init-from", str(donor)])
    description = from_pretrained(tmp_path / "run" / "checkpoint").description
    assert description.normalizer.name == "statistics"
    assert description.time_scale == 0.5
    assert description.provenance["init_from"]["datasets"] == ["advection_1d"]
    assert "100.0% of the weights loaded" in capsys.readouterr().err


def test_another_normaliser_is_said(donor, recipe, tmp_path, capsys):
    main([recipe(normalizer={"name": "window"}), str(tmp_path / "run"), "--init-from", str(donor)])
    assert "statistics → window" in capsys.readouterr().err


def test_an_earlier_window_normaliser_stays_as_it_was(recipe, tmp_path):
    """Weights that never saw a mean subtracted, with a setting that the recipe adds."""
    before = {"name": "window", "offset": None}
    pretrain([recipe(normalizer=before), str(tmp_path / "donor")])
    AcceleratorState._reset_state(reset_partial_state=True)
    arguments = [str(tmp_path / "run"), "--init-from", str(tmp_path / "donor")]
    main([recipe(normalizer={"name": "window", "growth": 1.5}), *arguments])
    normalizer = from_pretrained(tmp_path / "run" / "checkpoint").description.normalizer
    assert (normalizer.growth, normalizer.offset) == (1.5, None)


def test_frozen_weights_stay(donor, recipe, tmp_path):
    arguments = ["--init-from", str(donor), "--freeze", "[mixing, lift]"]
    main([recipe(), str(tmp_path / "run"), *arguments])
    before = from_pretrained(donor / "checkpoint").state_dict()
    after = from_pretrained(tmp_path / "run" / "checkpoint").state_dict()
    for name, value in after.items():
        assert value.equal(before[name]) == name.startswith(("mixing", "lift")), name


def test_going_on_needs_no_donor(donor, recipe, tmp_path):
    run = tmp_path / "run"
    arguments = [recipe(), str(run), "--init-from", str(donor), "--freeze", "[lift]"]
    main(arguments)
    AcceleratorState._reset_state(reset_partial_state=True)
    shutil.rmtree(run / "checkpoint")
    shutil.rmtree(donor)
    main([*arguments, "--resume", "auto"])
    assert (run / "checkpoint").is_dir()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--init-from", "nowhere"], "no checkpoint directory at nowhere"),
        (["--freeze", "[lift]"], "freeze needs init_from"),
        (["--learning-rates", "{lfit: 0.1}"], "learning_rates: no module or parameter lfit"),
        (["--learning-rates", "{lift: -0.1}"], r"learning_rates\.lift must be positive; got -0\.1"),
    ],
)
def test_refusals(arguments, match, recipe, tmp_path):
    with pytest.raises(ValueError, match=match):
        main([recipe(), str(tmp_path / "run"), *arguments])
    assert not (tmp_path / "run").exists()


def test_freezing_everything_is_refused(donor, recipe, tmp_path):
    everything = "[lift, reduce, mixing, gate, evolution, evolution_bias, unreduce, unlift]"
    with pytest.raises(ValueError, match=r"nothing to train: freeze .* such as unreduce, unlift"):
        main([recipe(), str(tmp_path / "r"), "--init-from", str(donor), "--freeze", everything])


def test_another_operator_is_refused(donor, recipe, tmp_path):
    changes = {"operator": {"name": "multiscale"}}
    with pytest.raises(
        ValueError, match=r"names the operator 'multiscale', but .* holds 'dymixop'"
    ):
        main([recipe(**changes), str(tmp_path / "run"), "--init-from", str(donor)])


LORA = ["--method.name", "lora", "--method.rank", "2", "--method.train", "[lift]"]


def interrupted(arguments, run, monkeypatch):
    """Train, die after the first state that is saved, and go on."""
    save = state.save_state

    def save_and_die(run, *rest):
        save(run, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(state, "save_state", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            main(arguments)
    AcceleratorState._reset_state(reset_partial_state=True)
    main([*arguments, "--resume", "auto"])
    return (run / "checkpoint" / "model.safetensors").read_bytes()


BANDS = ["--method.name", "bands", "--method.rank", "4", "--method.train", "[lift]"]


@pytest.mark.parametrize("method", [LORA, BANDS], ids=["lora", "bands"])
def test_updates_go_on_to_the_bit_and_are_published_as_plain_weights(
    method, donor, recipe, tmp_path, monkeypatch
):
    more = ["--init-from", str(donor), *method, "--steps", "4", "--optimizer.learning-rate", "0.1"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    main([recipe(), str(whole), *more])
    AcceleratorState._reset_state(reset_partial_state=True)
    shutil.rmtree(donor / "state")
    before = from_pretrained(donor / "checkpoint").state_dict()
    found = interrupted([recipe(), str(parts), *more], parts, monkeypatch)
    assert (whole / "checkpoint" / "model.safetensors").read_bytes() == found
    after = from_pretrained(parts / "checkpoint").state_dict()
    assert list(after) == list(before)
    changed = {name for name, value in after.items() if not value.equal(before[name])}
    assert {"lift.bias", "mixing.0.linear.0.weight", "mixing.0.globals.0.weight"} <= changed
    assert not any(name.endswith("bias") for name in changed - {"lift.bias"})


def test_unfreezing_goes_on_to_the_bit_and_leaves_what_rests_alone(
    donor, recipe, tmp_path, monkeypatch
):
    """Two steps for the head, then two for each layer, the last one first."""
    method = ["--method.name", "unfreeze", "--method.head", "0.34", "--method.stages", "2"]
    more = ["--init-from", str(donor), *method, "--steps", "6", "--keep", "9"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    main([recipe(), str(whole), *more])
    AcceleratorState._reset_state(reset_partial_state=True)
    found = interrupted([recipe(), str(parts), *more], parts, monkeypatch)
    assert (whole / "checkpoint" / "model.safetensors").read_bytes() == found
    before = from_pretrained(donor / "checkpoint").state_dict()
    for step, resting in ((2, ("mixing.0", "mixing.1")), (4, ("mixing.0",)), (6, ())):
        file = whole / "state" / f"step-{step:08d}" / "operator" / "model.safetensors"
        for name, value in load_file(file).items():
            assert value.equal(before[name]) == name.startswith(resting or "none"), (step, name)


def test_the_head_learns_and_the_backbone_stays_to_the_bit(donor, recipe, tmp_path):
    arguments = ["--init-from", str(donor), "--method.name", "head"]
    main([recipe(), str(tmp_path / "run"), *arguments])
    before = from_pretrained(donor / "checkpoint").state_dict()
    for name, value in from_pretrained(tmp_path / "run" / "checkpoint").state_dict().items():
        assert value.equal(before[name]) == name.startswith("mixing"), name


def test_lora_needs_a_checkpoint(recipe, tmp_path):
    with pytest.raises(ValueError, match="lora needs init_from: fresh weights must be trained"):
        main([recipe(), str(tmp_path / "run"), *LORA])


def test_the_operator_comes_from_the_checkpoint(donor, recipe, tmp_path):
    arguments = [recipe(operator={}), str(tmp_path / "run"), "--init-from", str(donor)]
    main(arguments)
    stored = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert stored["operator"] == {"name": "dymixop", "history": 2}
    AcceleratorState._reset_state(reset_partial_state=True)
    shutil.rmtree(donor)
    main([*arguments, "--resume", "auto"])


def test_early_stopping_publishes_the_best(donor, recipe, tmp_path):
    """At a rate that soon spoils everything, of the last weights or of their average."""
    often = {"validation": {"every": 1, "trajectories": 1, "horizon": 3}}
    changes = {"publish": "best", "early_stopping": {"patience": 2}, "average": {"decay": 0.5}}
    more = ["--init-from", str(donor), "--optimizer.learning-rate", "0.2", "--steps", "30"]
    run = tmp_path / "run"
    main([recipe(**often, **changes), str(run), *more])
    scores, last = {}, 0
    for record in map(json.loads, (run / "log.jsonl").read_text().splitlines()):
        if record["kind"] == "valid":
            step, score = record["step"], record["vrmse"] or math.inf  # null: not finite
            scores[step] = min(score, scores.get(step, score))
            last = max(last, step)
    best = min(scores, key=lambda step: scores[step])
    assert last == best + 2 < 30
    kept = run / "best" / f"step-{best:08d}" / "model.safetensors"
    assert (run / "checkpoint" / "model.safetensors").read_bytes() == kept.read_bytes()


@pytest.mark.parametrize(
    "method", [{"name": "lora", "rank": 2}, {"name": "freeze", "parts": ["mixing"]}]
)
def test_averages_of_what_is_trained_are_published_as_plain_weights(
    method, donor, recipe, tmp_path
):
    """Over one step of decay 2/11: between the weights of the start and the last ones."""
    changes = {"average": {}, "publish": "average", "method": method, "steps": 1}
    short = {"validation": {"every": 1, "trajectories": 1, "horizon": 3}}
    main([recipe(**changes, **short), str(tmp_path / "run"), "--init-from", str(donor)])
    path = tmp_path / "run" / "checkpoint"
    first, average = (from_pretrained(p).state_dict() for p in (donor / "checkpoint", path))
    assert first.keys() == average.keys() == from_pretrained(path / "best").state_dict().keys()
    changed = {name for name in first if not first[name].equal(average[name])}
    assert changed
    if method["name"] == "freeze":
        assert not any(name.startswith("mixing") for name in changed)
        last = load_file(state.latest(tmp_path / "run") / "operator" / "model.safetensors")
        for name in changed:
            expected = 2 / 11 * first[name] + 9 / 11 * last[name]
            torch.testing.assert_close(average[name], expected, rtol=1e-5, atol=1e-7)
