"""States in shards and in the background: the same numbers, for any number of processes."""

import shutil
import threading
from pathlib import Path

import pytest
import saved_shards
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from packaging.version import Version
from processes import run
from safetensors.torch import load_file

from pelagos.datasets.base.manifest import require_intact
from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain.command import main
from pelagos.pretrain.job import Job
from pelagos.pretrain.recipe import StatesConfig
from pelagos.pretrain.run import shards
from pelagos.pretrain.run import state as resume
from pelagos.pretrain.run.best import best_of
from pelagos.pretrain.run.publishing import publish
from pelagos.pretrain.run.saving import Saver
from pelagos.pretrain.run.state import latest, set_damaged_aside
from pelagos.pretrain.run.stop import Stopped

RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 2, "modes": 3},
    "steps": 8,
    "batch": 2,
    "micro_batch": 1,
    "log_every": 1,
    "save_every": 2,
    "validation": {"every": 4, "trajectories": 1, "horizon": 2},
    "average": {"decay": 0.5},
    "publish": "average",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sizes = {"trajectories": {"train": 2, "valid": 1}, "resolution": 40, "frames": 6, "dt": 0.02}
    return str(simulate("advection_1d", tmp_path_factory.mktemp("data"), **sizes))


@pytest.fixture
def train(data, tmp_path):
    def start(name="run", *options, **changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"data": [{"path": data}], **RECIPE, **changes}))
        AcceleratorState._reset_state(reset_partial_state=True)
        main([str(path), str(tmp_path / name), *options])
        return tmp_path / name

    return start


def published(run):
    return [(run / "checkpoint" / name / "model.safetensors").read_bytes() for name in ("", "best")]


def states(run):
    return sorted(path.name for path in (run / "state").iterdir())


def test_states_are_whole_where_torch_cannot_shard_them(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    assert shards.wanted(None, True)
    assert shards.wanted(True, False)
    monkeypatch.setattr(torch, "__version__", "2.8.0")
    assert not shards.wanted(None, True)
    with pytest.raises(ValueError, match=r"states\.sharded needs torch 2\.9 or newer"):
        shards.wanted(True, False)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Runs whose states two processes wrote in shards."""
    if Version(torch.__version__) < Version("2.9"):
        pytest.skip("torch 2.8 writes no shards")
    folder = tmp_path_factory.mktemp("written")
    run(Path(saved_shards.__file__), folder, processes=2)
    return folder


@pytest.fixture
def sharded(written, tmp_path):
    return shutil.copytree(written / "shards-True", tmp_path / "run")


def test_two_processes_write_shards_that_any_number_reads(written):
    expected = saved_shards.numbers(saved_shards.trained(3))
    for name in ("shards-False", "whole-True"):
        state = latest(written / name)
        saved_shards.require_equal(saved_shards.loaded(state, sharded=False), expected)
        weights = resume.weights_of(state)
        assert weights.keys() == {
            name.removeprefix("operator/") for name in expected if name.startswith("operator/")
        }
        for key, value in {**weights, **resume.average_of(state)}.items():
            wanted = expected.get(f"average/{key}", expected[f"operator/{key}"])
            assert torch.equal(value, wanted)


@pytest.mark.parametrize("name", ["shards-False", "whole-False"])
def test_best_weights_and_checkpoint_of_shards_are_whole(written, name, tmp_path, monkeypatch):
    """Read some at a time, and put together one by one; the average is in their place."""
    monkeypatch.setattr(shards, "_AT_ONCE", 100)
    copy = shutil.copytree(written / name, tmp_path / "run")
    publish(copy, best=best_of(copy, 3), kind="average")
    found = load_file(copy / "checkpoint" / "model.safetensors")
    state = latest(copy)
    expected = {**resume.weights_of(state), **resume.average_of(state)}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    best = load_file(copy / "checkpoint" / "best" / "model.safetensors")
    averaged = resume.average_of(state)
    assert all(torch.equal(best[key], value) for key, value in averaged.items())
    assert best.keys() == expected.keys()
    assert require_intact(copy / "checkpoint", ["model.safetensors"]) is None


def test_stopped_and_resumed_in_the_background(train, monkeypatch):
    whole, stops = published(train("whole")), Job.stops
    for _ in range(2):
        answers = iter([False, True])
        monkeypatch.setattr(Job, "stops", lambda self, answers=answers: next(answers))
        with pytest.raises(SystemExit) as stopped:
            train("cut", "--resume", "auto", states={"background": True})
        assert stopped.value.code == 75
    monkeypatch.setattr(Job, "stops", stops)
    cut = train("cut", "--resume", "auto", states={"background": True})
    assert published(cut) == whole
    assert states(cut) == ["step-00000006", "step-00000008"]


def test_the_next_save_waits_and_a_state_counts_when_it_is_complete(tmp_path, monkeypatch):
    go, real = threading.Event(), resume.write_whole
    monkeypatch.setattr(resume, "write_whole", lambda *args: (go.wait(60), real(*args))[1])
    with Saver(StatesConfig(background=True), 2, Accelerator(cpu=True), sharded=False) as saver:
        saver.save(tmp_path, saved_shards.trained(1), resume.Progress(1))
        saver.check()
        assert latest(tmp_path) is None
        threading.Timer(0.3, go.set).start()
        saver.save(tmp_path, saved_shards.trained(2), resume.Progress(2))
        assert latest(tmp_path / "") is not None
    assert states(tmp_path) == ["step-00000001", "step-00000002"]


def test_a_failure_in_the_background_ends_the_run_with_its_cause(train, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume, "seal", full)
    with pytest.raises(ValueError, match=r"step-00000002 cannot be written: its disk is full"):
        train(states={"background": True})


def test_a_damaged_shard_is_named_and_the_state_before_used(sharded):
    said, [_, shard] = [], sorted((latest(sharded) / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    set_damaged_aside(sharded, said.append)
    assert latest(sharded).name == "step-00000002"
    assert f"{shard} is damaged" in said[0]


def test_shards_that_do_not_fit_are_refused_with_the_name(sharded):
    state, fresh = latest(sharded), saved_shards.trained(0)
    with pytest.raises(ValueError, match=r"lacks or should not hold average/.*, of this shape"):
        resume.load_state(state, fresh.operator, fresh.model, fresh.optimizer, None)
    first, second = sorted((state / "shards").iterdir())
    kinds = {name.split("/")[0] for name in load_file(first)}
    assert kinds == {"operator", "optimizer", "average"}
    second.rename(state / "elsewhere")
    with pytest.raises(ValueError, match=r"pieces of .* are missing|lacks or should not hold"):
        resume.load_state(state, fresh.operator, fresh.model, fresh.optimizer, fresh.average)
    first.write_bytes(first.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"shards is damaged .*remove .* to start over"):
        resume.weights_of(state)


@pytest.mark.parametrize("told", [KeyboardInterrupt, Stopped(agreed=False)])
def test_being_told_to_stop_while_shards_are_read_is_no_damage(sharded, monkeypatch, told):
    """The library takes whatever is raised there for its own failure."""

    def stopped(*_):
        raise told

    monkeypatch.setattr(shards.HuggingFaceStorageReader, "read_data", stopped)
    state, fresh = latest(sharded), saved_shards.trained(0)
    with pytest.raises((KeyboardInterrupt, Stopped)):
        resume.load_state(state, fresh.operator, fresh.model, fresh.optimizer, fresh.average)
    with pytest.raises((KeyboardInterrupt, Stopped)):
        resume.weights_of(state)
