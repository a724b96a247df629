"""Runs with every objective for long rollouts: resumed exactly, with any number of processes."""

import shutil

import pytest
import yaml
from processes import run

from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain.command import main

OBJECTIVES = {
    "rollout": {
        "horizon": 3,
        "truncate": 2,
        "noise": 0.01,
        "curriculum": {"every": 2},
        "leads": {"learned": True, "decay": 0.9},
    },
    "diverted": {"horizon": 3},
    "forced": {"horizon": 3, "every": 2, "jacobian": {"weight": 0.01, "bins": 4}},
    "pushforward": {"calls": 2, "rise": 2, "jacobian": {"weight": 0.01, "bins": 4}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return simulate(
        "burgers_1d",
        tmp_path_factory.mktemp("data"),
        trajectories={"train": 2, "valid": 1},
        resolution=32,
        frames=7,
        dt=0.02,
    )


@pytest.fixture
def recipe(data, tmp_path):
    def write(kind, **changes):
        values = {
            "data": [{"path": str(data)}],
            "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 2, "modes": 4},
            "objective": {"kind": kind, **OBJECTIVES[kind]},
            "steps": 8,
            "batch": 4,
            "micro_batch": 2,
            "log_every": 1,
            "save_every": 4,
            "validation": {"every": 8, "trajectories": 1, "horizon": 2},
            **changes,
        }
        path = tmp_path / f"{kind}.yaml"
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return write


def weights(run):
    return (run / "checkpoint" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_run_goes_on_as_if_it_had_never_stopped(kind, recipe, tmp_path):
    path, run, other = recipe(kind), tmp_path / "run", tmp_path / "other"
    main([path, str(run)])
    shutil.copytree(run, other)
    shutil.rmtree(other / "checkpoint")
    shutil.rmtree(other / "state" / "step-00000008")
    main([path, str(other), "--resume", "auto"])
    assert weights(other) == weights(run)
    progress = [folder / "state" / "step-00000008" / "progress.json" for folder in (run, other)]
    learned = [yaml.safe_load(path.read_text())["objective"] for path in progress]
    assert learned[0] == learned[1]


@pytest.mark.parametrize("kind", ["rollout", pytest.param("forced", marks=pytest.mark.slow)])
def test_two_processes_learn_what_one_does(kind, recipe, tmp_path):
    path = recipe(kind)
    main([path, str(tmp_path / "one")])
    run("-m", "pelagos.pretrain", path, tmp_path / "two", processes=2)
    assert weights(tmp_path / "two") == weights(tmp_path / "one")
