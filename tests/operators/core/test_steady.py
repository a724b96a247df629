"""Steady problems: input fields → fields in one evaluation, from the store to the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Identity, Statistics, WindowScaling
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.sampling.pairs import Pairs
from pelagos.datasets.sampling.scales import pooled_statistics
from pelagos.datasets.sampling.windows import Selection, Windows
from pelagos.datasets.stores.store import Store
from pelagos.finetune.adapt.adapt import adapt
from pelagos.finetune.cli.console import dispatch
from pelagos.finetune.cli.training import main as finetune
from pelagos.finetune.forecast.plan import make_plan
from pelagos.finetune.forecast.request import Request
from pelagos.finetune.report.report import write_report
from pelagos.operators import Description, create, from_pretrained
from pelagos.pretrain.command import main as pretrain

POINTS, LENGTH = 32, 2.0


def write_poisson(root: Path, counts: dict[str, int], seed: int = 0, **extra: np.ndarray) -> Path:
    """−u″ = source on a periodic interval, three modes; u has the mean 4 everywhere."""
    rng = np.random.default_rng(seed)
    x = np.arange(POINTS) * LENGTH / POINTS
    wave = 2 * np.pi * np.arange(1, 4)[:, None] / LENGTH
    for split, n in counts.items():
        a, b = rng.standard_normal((2, n, 3, 1))
        modes = a * np.cos(wave * x) + b * np.sin(wave * x)
        data = WellData(
            dataset=root.name,
            grid=Grid((POINTS,), (LENGTH,), ("periodic",)),
            times=np.zeros(1),
            fields={"u": 4 + (modes / wave**2).sum(1)[:, None]},
            constant_fields={
                "source": modes.sum(1),
                "coordinate_x": np.broadcast_to(x / LENGTH, (n, POINTS)),
            },
            parameters={"level": np.array(4.0)},
        )
        write_file(root / "data" / split / "a.hdf5", data)
    return root


@pytest.fixture(scope="module")
def poisson(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("steady") / "poisson"
    return write_poisson(root, {"train": 16, "valid": 4, "test": 4})


@pytest.fixture
def store(poisson: Path) -> Store:
    return open_store(poisson, "train")


def recipe(folder: Path, root: Path, **changes: object) -> str:
    values = {
        "data": [{"path": str(root)}],
        "operator": {"name": "dymixop", "hidden": 12, "layers": 2, "modes": 4},
        "optimizer": {"learning_rate": 1e-2},
        "steps": 40,
        "batch": 8,
        "micro_batch": 8,
        "log_every": 20,
        "save_every": 40,
        "validation": {"every": 40},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return str(path)


# ------------------------------------------------------------------ data


def test_a_window_goes_from_the_input_fields_to_the_fields(store: Store) -> None:
    assert (store.steady, store.inputs, store.dt) == (True, ("source",), None)
    window = store.window(3)
    assert (window.context.inputs, window.fields) == (("source",), ("u",))
    assert window.lead_times.tolist() == [1.0]
    assert torch.equal(window.target, store.trajectory(3))
    constants = store.constants(3)
    assert constants is not None
    assert torch.equal(window.history, constants[:1][None])
    assert store.window(3, horizon=0).target.shape == (0, 1, POINTS)
    with pytest.raises(ValueError, match=r"steady problem \(source → u\).* got 2 and 1"):
        store.window(3, history=2)


def test_windows_number_the_trajectories(store: Store) -> None:
    windows = Windows(store, 1, 1)
    assert len(windows) == 16
    assert torch.equal(windows[5].target, store.trajectory(5))
    with pytest.raises(ValueError, match="one history and one target frame"):
        Windows(store, 1, 2)
    with pytest.raises(ValueError, match="no input field depth; it has source"):
        Windows(store, 1, 1, selection=Selection(inputs=("depth",)))
    with pytest.raises(ValueError, match="no pairs of frames"):
        Pairs(store, 2)


def test_single_frames_without_constant_fields_are_no_steady_problem(tmp_path: Path) -> None:
    data = WellData("still", Grid.unit((4,)), np.zeros(1), {"u": np.zeros((1, 1, 4))})
    write_file(tmp_path / "a.hdf5", data)
    assert not open_store(tmp_path).steady


# ------------------------------------------------------------------ scaling


def test_inputs_and_outputs_have_their_own_statistics(store: Store) -> None:
    statistics = pooled_statistics([store])
    assert set(statistics.mean["poisson"]) == {"u", "source"}
    window = store.window(0)
    history = window.history[None]
    scaling = statistics.scaling(history, ("u",), "poisson", inputs=("source",))
    source = torch.stack([w.history for w in Windows(store, 1, 1)])
    expected = (history - source.mean()) / source.std(correction=0)
    torch.testing.assert_close(scaling.encode(history), expected, rtol=1e-4, atol=1e-5)
    u = torch.stack([w.target for w in Windows(store, 1, 1)])
    decoded = scaling.decode(torch.full((1, 1, POINTS), 2.0), history[:, -1])
    torch.testing.assert_close(decoded.mean(), u.mean() + 2 * u.std(correction=0))
    torch.testing.assert_close(
        scaling.target.encode(window.target[None]),
        (window.target[None] - u.mean()) / u.std(correction=0),
        rtol=1e-4,
        atol=1e-5,
    )


def test_more_fields_than_inputs() -> None:
    history, output = torch.rand(2, 1, 1, 8), torch.rand(2, 3, 8)
    scaling = Identity().scaling(history, ("a", "b", "c"), "", inputs=("source",))
    assert torch.equal(scaling.encode(history), history)
    assert torch.equal(scaling.decode(output, history[:, -1]), output)


def test_window_scaling_names_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"steady problem \(source → u\).*'statistics'"):
        WindowScaling().scaling(torch.rand(1, 1, 1, 8), ("u",), "", inputs=("source",))


# ------------------------------------------------------------------ operators

SMALL = {
    "dymixop": {"hidden": 6, "layers": 2, "modes": 3},
    "multiscale": {
        "width": 8,
        "depths": (1, 1),
        "heads": (2, 2),
        "skips": (1, 0),
        "patch": 2,
        "window": 2,
    },
}


@pytest.mark.parametrize("name", SMALL)
class TestOperators:
    def make(self, name: str, inputs: tuple[str, ...] = ("source", "coefficient")):
        mean = {"*": {"u": 1.0, **dict.fromkeys(inputs, 0.0)}}
        std = {"*": {"u": 2.0, **dict.fromkeys(inputs, 3.0)}}
        description = Description(("u",), normalizer=Statistics(mean, std), inputs=inputs)
        return create(name, description=description, ndim=1, **SMALL[name])

    def test_they_solve_in_one_step(self, name: str, tmp_path: Path) -> None:
        operator = self.make(name)
        inputs = torch.randn(2, 1, 2, 16)
        with torch.no_grad():
            (solution,) = operator.rollout(inputs, dt=1.0, steps=1)
        assert solution.shape == (2, 1, 16)
        opened = from_pretrained(operator.save_pretrained(tmp_path / "checkpoint"))
        assert opened.description == operator.description
        with torch.no_grad():
            assert torch.equal(next(opened.rollout(inputs, dt=1.0, steps=1)), solution)

    def test_they_cannot_go_on(self, name: str) -> None:
        frames = self.make(name).rollout(torch.randn(1, 1, 2, 16), dt=1.0, steps=2)
        next(frames)
        with pytest.raises(ValueError, match=r"source, coefficient → u\) in one step"):
            next(frames)

    def test_data_of_another_kind_are_refused(self, name: str, store: Store) -> None:
        operator = create(name, fields=("u",), ndim=1, **SMALL[name])
        window = store.window(0)
        with pytest.raises(ValueError, match="steps fields in time; the data is steady"):
            operator.init(window.history[None], window.context)

    def test_weights_come_over_by_the_names_of_inputs(self, name: str) -> None:
        donor = self.make(name)
        description = Description(("u",), inputs=("coefficient", "depth", "source"))
        adapted, report = adapt(donor, description)
        wide = "lift.weight" if name == "dymixop" else "embedding.projection.weight"
        assert report.partly == (wide,)
        theirs, ours = donor.state_dict()[wide], adapted.state_dict()[wide]
        assert torch.equal(ours[:, [2, 0]], theirs[:, :2])


def test_a_change_needs_frames() -> None:
    with pytest.raises(ValueError, match="learn_residual needs frames"):
        create(
            "multiscale",
            description=Description(("u",), inputs=("source",)),
            ndim=1,
            learn_residual=True,
            **SMALL["multiscale"],
        )


# ------------------------------------------------------------------ training and after


def test_from_training_to_the_report(poisson: Path, tmp_path: Path) -> None:
    """Pretrain, fine-tune, evaluate, predict and report on the operator that it makes."""
    pretrain([recipe(tmp_path, poisson), str(tmp_path / "pre")])
    description = from_pretrained(tmp_path / "pre" / "checkpoint").description
    assert (description.inputs, description.fields) == (("source",), ("u",))
    assert description.normalizer.name == "statistics"
    assert description.time_steps == (1.0,)
    run = tmp_path / "tuned"
    finetune([recipe(tmp_path, poisson), str(run), "--init-from", str(tmp_path / "pre")])
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    valid = [r["vrmse"] for r in records if r["kind"] == "valid"]
    assert valid[-1] < 0.2

    dispatch(["evaluate", str(run), str(poisson)])
    scores = json.loads((run / "evaluation.json").read_text())
    assert scores["lead_times"] == [1.0]
    assert scores["summary"]["vrmse"] < 0.2
    assert scores["summary"]["persistence"]["relative_l1"] == pytest.approx(1.0)
    dispatch(["predict", str(run), str(poisson)])
    with xarray.open_dataset(run / "prediction.nc", engine="h5netcdf") as data:
        assert data.sizes["time"] == 1
        error = float(np.abs(data["u"] - data["u_truth"]).mean())
    assert error < 0.1
    page = write_report([run], tmp_path / "report.html").read_text()
    assert "poisson" in page


def test_refusals(poisson: Path, tmp_path: Path, wave: Path) -> None:
    for changes, message in (
        ({"normalizer": {"name": "window"}}, "'window' normaliser .* 'statistics'"),
        ({"objective": {"horizon": 2}}, "one history and one target frame"),
        ({"operator": {"name": "dymixop", "history": 2}}, "one history and one target frame"),
        ({"inputs": ["depth"]}, "no input field depth; it has source"),
        ({"data": [{"path": str(poisson), "stride": 2}]}, "stride and every 1"),
    ):
        with pytest.raises(ValueError, match=message):
            pretrain([recipe(tmp_path, poisson, **changes), str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
    operator = create(
        "dymixop",
        description=Description(("u",), inputs=("source",)),
        ndim=1,
        **SMALL["dymixop"],
    )
    with pytest.raises(ValueError, match=r"has no input field source.* no steady problem"):
        make_plan(operator, open_store(wave), Request())
    with pytest.raises(ValueError, match="one step, from start 0; got start 0, steps 2"):
        make_plan(operator, open_store(poisson), Request(steps=2))
