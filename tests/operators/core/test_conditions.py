"""Constant fields and parameters as extra inputs of an operator."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Standard
from pelagos.datasets.fields.window import Context
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.sampling.scales import condition_scales
from pelagos.datasets.stores.store import Store
from pelagos.finetune.cli.training import main as finetune
from pelagos.operators import Conditions, Description, Operator, create, from_pretrained
from pelagos.operators.core import registry
from pelagos.operators.core.conditions import conditions_of
from pelagos.pretrain.command import main as pretrain

GRID = Grid.unit((16,))


@dataclass(frozen=True)
class DriftConfig:
    ndim: int = 1


class Drift(Operator):
    """u + a·depth + b·parameters: the least operator with extra inputs."""

    name: ClassVar[str] = "drift"
    Config: ClassVar[type] = DriftConfig
    conditioned: ClassVar[bool] = True
    history = 1
    ndim = 1

    def __init__(self, config: DriftConfig, description: Description) -> None:
        super().__init__(config, description)
        self.a = torch.nn.Parameter(torch.empty(len(description.constant_fields)))
        self.b = torch.nn.Parameter(torch.empty(len(description.parameters)))

    def reset(self, generator: torch.Generator) -> None:
        for weight in (self.a, self.b):
            torch.nn.init.normal_(weight, generator=generator)

    def step(self, state, dt, observation=None):
        fields = state.history[:, -1]
        extra = state.conditions
        if extra.constants is not None:
            fields = fields + torch.einsum("k,bkx->bx", self.a, extra.constants)[:, None]
        if extra.parameters is not None:
            fields = fields + (extra.parameters @ self.b)[:, None, None]
        return state.advance(fields, dt), fields


class Still(Drift):
    """An operator without extra inputs."""

    name = "still"
    conditioned = False


@pytest.fixture
def drift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.OPERATORS.added, "drift", Drift)


def write(root: Path, name: str, **parameters: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    n = len(next(iter(parameters.values())))
    for split in ("train", "valid"):
        data = WellData(
            dataset=name,
            grid=GRID,
            times=np.arange(4) / 2,
            fields={"u": rng.standard_normal((n, 4, 16))},
            constant_fields={
                "depth": 5 + rng.standard_normal((n, 16)),
                "coordinate_x": np.broadcast_to(np.arange(16) / 16, (n, 16)),
            },
            parameters=parameters,
        )
        write_file(root / name / "data" / split / "a.hdf5", data)
    return root / name


@pytest.fixture
def sea(tmp_path: Path) -> Path:
    values = {"viscosity": 10.0 ** -np.arange(4), "speed": np.arange(4) - 1.5}
    return write(tmp_path, "sea", **values, gravity=np.full(4, 9.81))


@pytest.fixture
def store(sea: Path) -> Store:
    return open_store(sea, "train")


def test_scales_are_those_of_the_training_data(store: Store) -> None:
    scales = condition_scales([store], ("depth",), ("viscosity", "speed", "gravity"))
    depth = np.stack([store.constants_raw(i)[0] for i in range(4)])
    assert scales["depth"].mean == pytest.approx(depth.mean(), rel=1e-5)
    assert scales["depth"].std == pytest.approx(depth.std(), rel=1e-5)
    log = np.log(10.0 ** -np.arange(4))
    assert [name for name, scale in scales.items() if scale.log] == ["viscosity"]
    assert scales["viscosity"].mean == pytest.approx(log.mean())
    assert scales["viscosity"].std == pytest.approx(log.std())
    assert scales["speed"] == Standard(0.0, np.sqrt(1.25).item())
    assert scales["gravity"].mean == scales["gravity"].std == pytest.approx(9.81)


def test_datasets_share_one_scale_and_count_the_same(tmp_path: Path) -> None:
    small, large = np.full(2, 1.0), np.full(30, 3.0)
    stores = [
        open_store(write(tmp_path, "a", nu=small), "train"),
        open_store(write(tmp_path, "b", nu=large), "train"),
    ]
    assert condition_scales(stores, (), ("nu",))["nu"] == Standard(2.0, 1.0)


def test_conditions_come_scaled_and_in_order(drift: None) -> None:
    description = Description(
        ("u",),
        constant_fields=("depth", "bed"),
        parameters=("nu",),
        condition_scales={"depth": Standard(1.0, 2.0), "nu": Standard(0.0, 1.0, log=True)},
    )
    operator = create("drift", description=description)
    context = Context(
        ("u",),
        GRID,
        constants=torch.randn(2, 3, 16),
        constant_fields=("bed", "other", "depth"),
        parameters=torch.tensor([[1.0, 5.0], [math.e, 5.0]]),
        parameter_names=("nu", "g"),
    )
    found = conditions_of(context, operator.description, operator.name)
    depth, bed = (context.constants[:, 2] - 1) / 2, context.constants[:, 0]
    torch.testing.assert_close(found.constants, torch.stack((depth, bed), 1))
    torch.testing.assert_close(found.parameters, torch.tensor([[0.0], [1.0]]))
    with pytest.raises(ValueError, match=r"constant field\(s\) depth, bed .* has none; add depth"):
        operator.init(torch.zeros(1, 1, 1, 16))
    negative = torch.tensor([[1.0, 5.0], [0.0, 5.0]])
    wrong = Context(**{**vars(context), "parameters": negative})
    with pytest.raises(ValueError, match="parameter nu of dataset '' must be positive"):
        conditions_of(wrong, operator.description, operator.name)


def test_an_operator_never_ignores_a_condition() -> None:
    description = Description(("u",), parameters=("nu",))
    with pytest.raises(ValueError, match=r"takes no constant fields .* got nu"):
        Still(DriftConfig(), description)


def recipe(folder: Path, *roots: Path, **changes: object) -> str:
    values = {
        "data": [{"path": str(root)} for root in roots],
        "operator": {"name": "drift"},
        "normalizer": {"name": "statistics"},
        "steps": 2,
        "batch": 2,
        "micro_batch": 2,
        "log_every": 1,
        "save_every": 2,
        "validation": {"every": 2, "horizon": 2},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return str(path)


@pytest.mark.filterwarnings("ignore:parameter gravity = 1 was 9.81")
def test_training_with_all_conditions_and_fine_tuning_without_new_scales(
    drift: None, sea: Path, tmp_path: Path
) -> None:
    pretrain([recipe(tmp_path, sea, conditions="all"), str(tmp_path / "pre")])
    description = from_pretrained(tmp_path / "pre" / "checkpoint").description
    assert description.constant_fields == ("depth",)
    assert description.parameters == ("viscosity", "speed", "gravity")
    lake = write(tmp_path, "lake", viscosity=np.ones(3), speed=np.ones(3), gravity=np.ones(3))
    finetune([recipe(tmp_path, lake), str(tmp_path / "run"), "--init-from", str(tmp_path / "pre")])
    tuned = from_pretrained(tmp_path / "run" / "checkpoint").description
    assert tuned.condition_scales == description.condition_scales


def test_what_a_dataset_lacks_is_refused(drift: None, sea: Path, tmp_path: Path) -> None:
    other = write(tmp_path, "other", speed=np.arange(3.0))
    run = str(tmp_path / "run")
    with pytest.raises(ValueError, match=r"'other' has no parameter viscosity, gravity; it has"):
        pretrain([recipe(tmp_path, sea, other, conditions="all"), run])
    with pytest.raises(ValueError, match="no constant field or parameter nu; it has depth"):
        pretrain([recipe(tmp_path, sea, conditions=["nu"]), run])
    pretrain([recipe(tmp_path, sea, other, conditions=["speed"]), run])
    assert from_pretrained(tmp_path / "run" / "checkpoint").description.parameters == ("speed",)


def test_checkpoints_without_these_keys_open(tmp_path: Path) -> None:
    """As they were written before there were conditions, steady problems and fills."""
    operator = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=1, modes=2)
    path = operator.save_pretrained(tmp_path / "checkpoint") / "config.json"
    path.with_name("SHA256SUMS").unlink()
    config = json.loads(path.read_text())
    new = ("inputs", "constant_fields", "parameters", "condition_scales", "time_scales", "fill")
    for key in new:
        del config[key]
    path.write_text(json.dumps(config))
    assert from_pretrained(path.parent).description == operator.description


def test_time_scales_are_by_dataset(drift: None, sea: Path, tmp_path: Path) -> None:
    other = write(tmp_path, "other", speed=np.arange(3.0))
    data = [{"path": str(sea), "time_scale": 2.0}, {"path": str(other)}]
    changes = {"data": data, "time_scale": 0.5, "conditions": ["speed"]}
    pretrain([recipe(tmp_path, **changes), str(tmp_path / "pre")])
    description = from_pretrained(tmp_path / "pre" / "checkpoint").description
    assert (description.time_scale_of("sea"), description.time_scale_of("other")) == (2.0, 0.5)
    with pytest.raises(ValueError, match="time_scale of 'sea' must be positive"):
        Description(("u",), time_scales={"sea": 0.0})


def test_a_dataset_whose_time_scale_is_unknown_is_warned_of() -> None:
    description = Description(
        ("u",), time_scale=0.5, time_scales={"sea": 2.0}, provenance={"datasets": ["sea", "lake"]}
    )
    operator = create("dymixop", description=description, ndim=1, hidden=4, layers=1, modes=2)
    history, grid = torch.ones(1, operator.history, 1, 8), Grid.unit((8,))
    for name in ("sea", "lake"):  # filterwarnings: a warning is an error
        operator.init(history, Context(("u",), grid, dataset=name))
    with pytest.warns(UserWarning, match="named 'see': 0.5 is taken; by name there are sea 2"):
        operator.init(history, Context(("u",), grid, dataset="see"))
    plain = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=1, modes=2)
    plain.init(history, Context(("u",), grid, dataset="see"))


def test_conditions_as_channels_of_the_fields_they_join() -> None:
    fields = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    constants, parameters = torch.randn(2, 2, 4, 5), torch.tensor([[1.0], [2.0]])
    first, second = Conditions(constants, parameters).channels(fields)
    assert torch.equal(first, constants.double())
    assert torch.equal(second, parameters.double()[:, :, None, None].expand(2, 1, 4, 5))
    assert list(Conditions().channels(fields)) == []
