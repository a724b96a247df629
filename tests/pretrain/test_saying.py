"""What a run says of itself: parts of losses and gradients, speed, leaps of the loss, traces."""

import json
import math
import random

import pytest
import yaml
from accelerate.state import AcceleratorState

from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain import loop
from pelagos.pretrain.command import main
from pelagos.pretrain.run.spikes import Spikes

RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 2, "modes": 3},
    "steps": 6,
    "batch": 2,
    "micro_batch": 1,
    "log_every": 1,
    "save_every": 60,
    "validation": {"every": 60, "trajectories": 1, "horizon": 2},
}
NAMES = ("advection_1d", "heat_1d")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    sizes = {"trajectories": {"train": 2, "valid": 1}, "resolution": 40, "frames": 6, "dt": 0.02}
    return [{"path": str(simulate(name, root, **sizes))} for name in NAMES]


@pytest.fixture
def train(data, tmp_path):
    def start(*options, **changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"data": data, **RECIPE, **changes}))
        AcceleratorState._reset_state(reset_partial_state=True)
        main([str(path), str(tmp_path / "run"), *options])
        return tmp_path / "run"

    return start


def records(run, kind):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [r for r in lines if r["kind"] == kind]


def parts(record, of):
    return [value for key, value in record.items() if key.startswith(f"{of}/")]


def test_losses_and_gradients_are_told_in_parts(train):
    run = train()
    seen = set()
    for record in records(run, "train"):
        losses = parts(record, "loss")
        assert record["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
        squares = [norm**2 for norm in parts(record, "grad_norm")]
        assert record["grad_norm"] == pytest.approx(math.sqrt(sum(squares)), rel=1e-4)
        seen |= {key for key in record if "/" in key}
    modules = "evolution evolution_bias gate lift mixing reduce unlift unreduce"
    names = {f"loss/{name}" for name in NAMES} | {f"grad_norm/{n}" for n in modules.split()}
    assert seen == names


def test_several_steps_are_one_mean(train):
    run = train(log_every=3)
    first, second = records(run, "train")
    for record in (first, second):
        assert len(parts(record, "loss")) == 2
    assert parts(first, "loss") != parts(second, "loss")


def test_speed_is_told(train, capsys):
    run = train()
    speeds = records(run, "speed")
    assert [record["step"] for record in speeds] == [*range(1, 7)]
    for speed in speeds:
        assert speed["samples_per_second"] == pytest.approx(2 / speed["step_seconds"], rel=1e-2)
        assert 0 <= speed["data_wait"] <= 1
        assert 1e7 < speed["host_bytes"] < 1e11
        assert "device_bytes" not in speed
    assert "windows/s" in capsys.readouterr().err


def test_a_leap_of_the_loss_is_flagged(train, monkeypatch, capsys):
    mean, said = loop._mean, []

    def leaping(loss, accelerator):
        said.append(mean(loss, accelerator))
        return 50.0 if len(said) == 13 else said[-1]

    monkeypatch.setattr(loop, "_mean", leaping)
    run = train(steps=14)
    [spike] = records(run, "spike")
    assert (spike["step"], spike["loss"]) == (13, 50.0)
    assert spike["z"] > 6
    assert "13/14: the loss leaps to 50" in capsys.readouterr().err


def test_noise_is_no_leap_and_a_leap_does_not_hide_the_next():
    numbers = random.Random(0)
    spikes = Spikes()
    for step in range(200):
        assert spikes.see(math.exp(-step / 100) * (1 + 0.1 * numbers.gauss(0, 1))) is None
    assert spikes.see(math.nan) is None
    for _ in range(3):
        assert spikes.see(3.0) > 6


def test_a_leap_is_measured_in_deviations():
    """Of numbers whose median and median deviation are known."""
    spikes = Spikes([8.0, 9.0, 9.0, 10.0, 10.0, 10.0, 11.0, 11.0, 12.0, 10.0, 10.0])
    assert spikes.see(10.0 + 7 * 1.4826) == pytest.approx(7.0)


def test_steps_are_traced(train, capsys):
    run = train("--profile", "2")
    trace = json.loads((run / "profile" / "step-00000003.json").read_text())
    names = [event.get("name", "") for event in trace["traceEvents"]]
    assert sum(name.startswith("ProfilerStep") for name in names) >= 2
    assert any(name.startswith("aten::") for name in names)
    assert "Self CPU" in (run / "profile" / "step-00000003.txt").read_text()
    assert "the trace of 2 steps is" in capsys.readouterr().err
    assert (run / "checkpoint").is_dir()


def test_there_must_be_steps_to_trace(train):
    with pytest.raises(ValueError, match=r"profile \(5\) must leave the first two of the steps"):
        train(profile=5)
