"""Training with prescribed fields: what a recipe says, what a checkpoint then knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from driven_tank import inflow, write_tank
from processes import Launched

from pelagos.datasets import open_store
from pelagos.datasets.base.config import build
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.forecast.evaluate import evaluate
from pelagos.operators import from_pretrained
from pelagos.operators.core.description import Description
from pelagos.pretrain.command import main as pretrain
from pelagos.pretrain.data import open_stores
from pelagos.pretrain.recipe import TrainRecipe
from pelagos.pretrain.start import describe

COUNTS = {"train": 6, "valid": 2}


def values(*data: Any, **changes: Any) -> dict[str, Any]:
    return {
        "data": [entry if isinstance(entry, dict) else {"path": str(entry)} for entry in data],
        "operator": {"name": "dymixop", "hidden": 4, "layers": 1, "modes": 2},
        "normalizer": {"name": "statistics"},
        "steps": 2,
        "batch": 2,
        "micro_batch": 2,
        "log_every": 1,
        "save_every": 2,
        "validation": {"every": 2, "horizon": 3},
        **changes,
    }


def described(*data: Any, **changes: Any) -> Description:
    recipe = build(TrainRecipe, values(*data, **changes))
    return describe(recipe, open_stores(recipe))


def test_a_run_learns_from_them_and_its_checkpoint_knows_them(tmp_path: Path) -> None:
    root = write_tank(tmp_path / "tank", COUNTS)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values(root)), encoding="utf-8")
    pretrain([str(tmp_path / "recipe.yaml"), str(tmp_path / "run")])
    about = json.loads((tmp_path / "run/checkpoint/config.json").read_text("utf-8"))
    assert about["prescribed"] == ["q"]
    operator = from_pretrained(tmp_path / "run" / "checkpoint")
    known, q = operator.description, inflow(0, 6).astype("f4")
    assert known.units == {"u": "m", "q": "m/s", "time": "s"}
    scale = known.condition_scales["q"]
    np.testing.assert_allclose([scale.mean, scale.std], [q.mean(), q.std()], rtol=1e-5)
    low, high = known.trained["tank"].prescribed["q"]
    np.testing.assert_allclose([low, high], [q.min(), q.max()], rtol=1e-5)
    scores = evaluate(operator, open_store(root, "valid"))
    assert "u" in scores["scores"]["vrmse"]
    assert "q" not in scores["scores"]["vrmse"]


def test_a_recipe_chooses_and_names_them(tmp_path: Path) -> None:
    root = write_tank(tmp_path / "tank", COUNTS)
    plain = write_tank(tmp_path / "plain", COUNTS, scalar=False, prescribed=())
    assert described(root).prescribed == ("q",)
    assert described(root, prescribed=[]).prescribed == ()
    assert described(plain).fields == ("u", "q")
    told = {"path": str(plain), "prescribed": ["inflow"], "rename": {"q": "inflow"}}
    about = described(told)
    assert (about.fields, about.prescribed) == (("u",), ("inflow",))
    assert about.units["inflow"] == "m/s"
    with pytest.raises(ValueError, match=r"data\[i\].prescribed: \[q\]"):
        described(plain, fields=["u"], prescribed=["q"])
    with pytest.raises(ValueError, match="nothing named 'r' that varies in time"):
        described({"path": str(plain), "prescribed": ["r"]})


def test_a_dataset_without_them_has_a_value_that_the_recipe_says(tmp_path: Path) -> None:
    root = write_tank(tmp_path / "tank", COUNTS)
    still = write_tank(tmp_path / "still", COUNTS, series={}, prescribed=(), seed=7,
                       units={"u": "m", "time": "s"})  # fmt: skip
    with pytest.raises(ValueError, match=r"'still' has no prescribed q, .* fill: \{q: 0.0\}"):
        described(still, root)
    about = described(still, root, fill={"q": 0.0})
    assert (about.prescribed, about.fill, about.units["q"]) == (("q",), {"q": 0.0}, "m/s")
    assert "q" not in about.normalizer.datasets["still"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values(still, root, fill={"q": 0.0})), encoding="utf-8")
    pretrain([str(recipe), str(tmp_path / "run")])
    operator = from_pretrained(tmp_path / "run" / "checkpoint")
    assert evaluate(operator, open_store(still, "valid"), steps=2)["nonfinite_trajectories"] == 0


KILLED = """
import os, sys
from pelagos.pretrain.command import main
from pelagos.pretrain.trainee import Trainee
step = Trainee.step
def dies(self, number, *rest):
    done = step(self, number, *rest)
    if number == 4:
        os._exit(9)
    return done
Trainee.step = dies
main(sys.argv[1:])
"""


def test_a_training_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    root, recipe = write_tank(tmp_path / "tank", COUNTS), tmp_path / "recipe.yaml"
    changes = {"steps": 6, "save_every": 3, "objective": {"horizon": 2, "noise": 0.01}}
    recipe.write_text(yaml.safe_dump(values(root, **changes)), encoding="utf-8")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain([str(recipe), str(whole)])
    process = Launched("-c", KILLED, recipe, parts)
    said = process.wait()
    assert process.returncode == 9, said
    assert not (parts / "checkpoint" / "model.safetensors").exists()
    assert [path.name for path in (parts / "state").iterdir()] == ["step-00000003"]
    pretrain([str(recipe), str(parts), "--resume", "auto"])
    one, other = ((run / "checkpoint/model.safetensors").read_bytes() for run in (whole, parts))
    assert one == other
    logs = [[line for line in (run / "log.jsonl").read_text("utf-8").splitlines() if "loss" in line]
            for run in (whole, parts)]  # fmt: skip
    losses = [[json.loads(line).get("loss") for line in lines] for lines in logs]
    assert losses[0] == losses[1]


def test_a_simulated_source_is_stored_as_prescribed_and_exact(tmp_path: Path) -> None:
    root = simulate(
        "heat_driven_1d",
        tmp_path,
        trajectories={"train": 2},
        resolution=32,
        frames=9,
        dt=1e-3,
        parameters={"diffusivity": 0.01},
    )
    store = open_store(root)
    assert store.fields == ("u",)
    assert store.prescribed is not None
    assert store.prescribed.fields == ("forcing",)
    u, q = (s.trajectory(0)[:, 0].double() for s in (store, store.prescribed))
    k = 2 * np.pi * np.fft.rfftfreq(32, 1 / 32)
    bent = np.fft.irfft(-(k**2) * np.fft.rfft(u[4].numpy()))
    slope = (u[0] - 8 * u[2] + 8 * u[6] - u[8]).numpy() / (24 * 1e-3)
    np.testing.assert_allclose(slope, 0.01 * bent + q[4].numpy(), atol=2e-3 * float(q.abs().max()))
