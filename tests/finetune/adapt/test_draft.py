"""A checkpoint and data are enough: what the recipe takes from them, and what is refused."""

from __future__ import annotations

import pytest
import yaml
from accelerate.state import AcceleratorState

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune import finetune
from pelagos.finetune.adapt.dividing import with_splits
from pelagos.finetune.adapt.donor import donor_of
from pelagos.finetune.adapt.draft import Asked, draft
from pelagos.finetune.adapt.plan import plan_of
from pelagos.operators import Description, create, from_pretrained

GRID = {"resolution": 40, "frames": 7, "dt": 0.02}
RECIPE = {
    "objective": {"kind": "rollout", "horizon": 2, "loss": "relative_l2"},
    "optimizer": {"learning_rate": 0.004, "clip": 2.0},
    "batch": 6,
    "micro_batch": 3,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dataset with a training part only, as people have it."""
    root = tmp_path_factory.mktemp("data")
    return simulate("advection_1d", root, trajectories={"train": 5}, **GRID)


@pytest.fixture
def make(tmp_path):
    def make(name="dymixop", fields=("u",), config=None, **about):
        normalizer = Statistics(
            {"*": dict.fromkeys(fields, 0.0)}, {"*": dict.fromkeys(fields, 1.0)}
        )
        description = Description(
            fields, normalizer=normalizer, provenance={"recipe": RECIPE}, **about
        )
        usual = {"ndim": 1, "history": 2, "hidden": 6, "layers": 2, "modes": 4}
        operator = create(name, description=description, seed=1, **(config or usual))
        return operator.save_pretrained(tmp_path / f"{name}_{len([*tmp_path.iterdir()])}")

    return make


def drafted(checkpoint, data, **asked):
    return draft(donor_of(str(checkpoint)), str(data), Asked(**asked)).values


def test_one_line_trains(make, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoint = make(time_steps=(0.02,))
    path = finetune(str(checkpoint), overrides=["--data", str(data), "--steps", "3"])
    assert path.parent.name == f"advection_1d_from_{checkpoint.name}"
    told = capsys.readouterr()
    assert "of 5 trajectories, 4 are trained on and 1 are for validation" in told.out
    assert "fields known by name: u" in told.out
    assert "before the first step, on advection_1d: loss" in told.out
    assert "100.0% of the weights loaded" in told.err
    stored = yaml.safe_load((path.parent / "recipe.yaml").read_text())
    own = {"name": "dymixop", "history": 2, "hidden": 6, "layers": 2, "modes": 4}
    assert stored["operator"].items() >= own.items()
    assert not {"structure_change", "resolution", "time_input", "ndim"} & {*stored["operator"]}
    assert stored["normalizer"] == {"name": "statistics"}
    assert stored["objective"]["loss"] == "relative_l2"
    assert stored["objective"]["horizon"] == 4  # at least, so that rollouts stay stable
    assert stored["objective"]["curriculum"]["every"] == 5  # as another equation may blow some up
    assert stored["optimizer"]["clip"] == 2.0
    assert stored["learning_rates"] == {"embedding": 0.004, "recovery": 0.004}
    assert stored["optimizer"]["learning_rate"] == pytest.approx(0.0012)  # of few windows
    assert (stored["batch"], stored["micro_batch"]) == (6, 3)
    assert from_pretrained(path).description.normalizer.name == "statistics"
    AcceleratorState._reset_state(reset_partial_state=True)
    again = finetune(str(checkpoint), overrides=["--data", str(data), "--steps", "3"], resume=True)
    assert again == path
    assert "is finished already" in capsys.readouterr().out


def test_splits_that_are_made_leave_nothing_out_and_share_nothing(data):
    entry = with_splits({"path": str(data)}).entry
    assert entry["path"].endswith("train")  # no test part is mixed in
    parts = [open_store(entry["path"], k, None, entry["splits"]) for k in ("train", "valid")]
    assert [len(part) for part in parts] == [4, 1]
    whole = {store_values(open_store(data), i) for i in range(5)}
    assert {store_values(part, i) for part in parts for i in range(len(part))} == whole


def store_values(store, i):
    return store.trajectory(i).numpy().tobytes()


def test_a_single_trajectory_is_divided_in_time(tmp_path):
    path = simulate(
        "advection_1d", tmp_path, trajectories={"train": 1}, resolution=40, frames=20, dt=0.02
    )
    found = with_splits({"path": str(path)})
    assert found.entry["splits"]["by"] == "time"
    assert "the first 16 frames are trained on" in found.note


def test_parts_that_are_there_are_kept(tmp_path):
    path = simulate("advection_1d", tmp_path, trajectories={"train": 2, "valid": 1}, **GRID)
    assert with_splits({"path": str(path)}).entry == {"path": str(path)}


def test_steps_go_by_the_number_of_windows(make, tmp_path):
    path = simulate("advection_1d", tmp_path, trajectories={"train": 40, "valid": 1}, **GRID)
    values = drafted(make(), path)
    assert values["steps"] == 540  # 80 windows 40 times, in batches of 6, in tens
    assert values["optimizer"]["learning_rate"] == pytest.approx(0.0012)
    assert drafted(make(), path, batch=8)["micro_batch"] == 2
    assert drafted(make(), path, log_every=9)["save_every"] % 9 == 0
    assert drafted(make(), path, steps=7)["steps"] == 7


SEES_TIME = {"ndim": 1, "width": 8, "depths": (1,), "heads": (2,), "skips": (0,), "patch": 2}


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"time_steps": (0.5, 5.0), "time_scale": 10.0}, 0.4),  # 0.05 of the unit, as before
        ({"time_steps": (0.01, 0.1), "time_scale": 2.0}, None),  # as it is
        ({"time_scales": {"a": 3.0}, "time_steps": (3.0,)}, 0.02),  # a step is the unit
    ],
)
def test_the_time_scale_lets_a_step_look_as_it_did(make, data, about, expected):
    checkpoint = make("multiscale", config={**SEES_TIME, "window": 4}, **about)
    assert drafted(checkpoint, data)["data"][0].get("time_scale") == expected


def test_time_that_the_network_does_not_see_is_left_alone(make, data):
    assert "time_scale" not in drafted(make(time_steps=(5.0,)), data)["data"][0]


def refused(*arguments, resume=False):
    start, *overrides = map(str, arguments)
    plan_of(start, None, overrides, resume)


def test_what_does_not_go_together_is_refused_before_weights_are_read(make, data):
    plane = make(config={"ndim": 2, "hidden": 4, "layers": 1, "modes": 3})
    (plane / "model.safetensors").write_bytes(b"never read")
    with pytest.raises(ValueError, match="works in 2D, and advection_1d is 1D; start from a 1D"):
        refused(plane, "--data", data)


def test_no_common_field_names_both_ways_out(make, data):
    checkpoint = make(fields=("height",))
    with pytest.raises(ValueError, match=r"has no field of .* rename: \{u: height\}.*--fields"):
        refused(checkpoint, "--data", data)
    entries = f"[{{path: {data}, rename: {{u: height}}}}]"
    assert plan_of(str(checkpoint), None, ["--data", entries], False).recipe.data[0].rename
    plan_of(str(checkpoint), None, ["--data", str(data), "--fields", "[u]"], False)


def test_other_mistakes_are_one_line(make, data, tmp_path):
    checkpoint = make()
    for arguments, match in (
        ((checkpoint,), "needs data: --data PATH"),
        ((checkpoint, "--data", tmp_path / "nowhere"), "no such file or folder"),
        ((checkpoint, "--data", data, "--stepz", "3"), "unknown key 'stepz'; did you mean 'steps'"),
        ((tmp_path / "gone", "--data", data), "no recipe .*gone"),
        (("pelagos:nothing", "--data", data), "no checkpoint pelagos:nothing"),
    ):
        with pytest.raises(ValueError, match=match):
            refused(*arguments)


def test_a_subset_larger_than_the_data_says_how_many_there_are(make, data, tmp_path):
    entries = f"[{{path: {data}, trajectories: 64}}]"
    with pytest.raises(ValueError, match=r"has 4 trajectories; cannot use 64 .* 1 to 4, or null"):
        finetune(str(make()), tmp_path / "run", ["--data", entries])


def test_another_width_and_missing_conditions_name_what_to_do(make, data, tmp_path):
    arguments = ["--data", str(data)]
    with pytest.raises(ValueError, match=r"operator\.hidden is 16 here and 6 there; leave it out"):
        finetune(str(make()), tmp_path / "a", [*arguments, "--operator.hidden", "16"])
    AcceleratorState._reset_state(reset_partial_state=True)
    conditioned = make(parameters=("viscosity",), grid=Grid.unit((40,)))
    with pytest.raises(ValueError, match=r"takes viscosity as an input.*--conditions '\[\]'"):
        finetune(str(conditioned), tmp_path / "b", arguments)
    recipe = tmp_path / "recipe.yaml"
    values = {"data": [{"path": str(data), "splits": {"train": 0.8, "valid": 0.2}}]}
    values["data"][0]["path"] += "/data/train"
    recipe.write_text(yaml.safe_dump({**values, "init_from": str(conditioned)}))
    with pytest.raises(ValueError, match=r"no .* viscosity; .*\(conditions: \[\]\)"):
        finetune(recipe, tmp_path / "b")


def test_the_recipe_trains_the_same_operator_from_scratch(make, data, tmp_path):
    """For comparison: nothing but the start differs."""
    arguments = ["--data", str(data), "--steps", "1"]
    finetune(str(make()), tmp_path / "a", arguments)
    AcceleratorState._reset_state(reset_partial_state=True)
    finetune(tmp_path / "a" / "recipe.yaml", tmp_path / "b", ["--init_from", "null"])
    one, other = (from_pretrained(tmp_path / run) for run in ("a", "b"))
    ours, theirs = one.description, other.description
    assert (ours.normalizer, ours.time_scale) == (theirs.normalizer, theirs.time_scale)
    shapes = [{k: v.shape for k, v in each.state_dict().items()} for each in (one, other)]
    assert shapes[0] == shapes[1]
