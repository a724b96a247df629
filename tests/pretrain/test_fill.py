"""Mixtures of datasets with different fields and shapes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context, Window, collate
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.cli.training import main as finetune
from pelagos.finetune.forecast.evaluate import evaluate
from pelagos.finetune.forecast.predict import predict
from pelagos.operators import from_pretrained
from pelagos.pretrain.command import main as pretrain


def write(root: Path, name: str, fields: tuple[str, ...], points: int = 16, dataset: str = ""):
    rng = np.random.default_rng(len(name))
    for split in ("train", "valid"):
        data = WellData(
            dataset=dataset or name,
            grid=Grid.unit((points,)),
            times=np.arange(5) / 4,
            fields={field: 2 + rng.standard_normal((3, 5, points)) for field in fields},
        )
        write_file(root / name / "data" / split / "a.hdf5", data)
    return root / name


def recipe(folder: Path, *data: object, **changes: object) -> str:
    values = {
        "data": [entry if isinstance(entry, dict) else {"path": str(entry)} for entry in data],
        "operator": {"name": "dymixop", "hidden": 4, "layers": 1, "modes": 2},
        "normalizer": {"name": "statistics"},
        "steps": 4,
        "batch": 2,
        "micro_batch": 2,
        "log_every": 1,
        "save_every": 4,
        "validation": {"every": 4, "horizon": 2},
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_absent_fields_are_filled_and_masked() -> None:
    generator = torch.Generator().manual_seed(0)
    history, target = (torch.randn(2, 1, 8, generator=generator) for _ in range(2))
    lead = torch.tensor([0.5, 1.0])
    window = Window(history, target, lead, Context(("u",), Grid.unit((8,))))
    filled = window.filled({"p": 3.0, "u": 9.0})
    assert filled.fields == ("u", "p")
    assert torch.equal(filled.history[:, :1], history)
    assert (filled.target[:, 1] == 3).all()
    assert filled.context.mask.all(-1).tolist() == [True, False]
    assert window.filled({"u": 9.0}) is window
    chosen = collate([filled.select(("p", "u"))] * 2)
    assert chosen.context.mask[:, :, 0].tolist() == [[False, True]] * 2
    twice = chosen.filled({"q": 1.0})
    assert twice.context.mask.shape == (2, 3, 8)


def test_training_scoring_and_fine_tuning_across_field_sets(tmp_path: Path) -> None:
    gas = write(tmp_path, "gas", ("u", "pressure"))
    water = write(tmp_path, "water", ("u",), points=20)
    run, fill = tmp_path / "run", {"pressure": 1.0}
    with pytest.raises(ValueError, match=r"water' has no field pressure.* a value in `fill`"):
        pretrain([recipe(tmp_path, gas, water), str(run)])
    pretrain([recipe(tmp_path, gas, water, fill=fill), str(run)])
    operator = from_pretrained(run / "checkpoint")
    assert operator.description.fill == fill
    valid = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {r["dataset"] for r in valid if r["kind"] == "valid"} == {"gas", "water"}

    store = open_store(water, "valid")
    scores = evaluate(operator, store)
    assert scores["store"]["fields"] == ["u"]
    assert scores["summary"]["vrmse"] is not None
    assert (predict(operator, store)["pressure"] == 1.0).all()

    tuned = tmp_path / "tuned"
    finetune(
        [recipe(tmp_path, water, fields=["u", "pressure"]), str(tuned), "--init-from", str(run)]
    )
    description = from_pretrained(tuned / "checkpoint").description
    assert description.fill == fill
    before, after = operator.description.normalizer, description.normalizer
    assert after.mean["*"]["pressure"] == before.mean["*"]["pressure"]
    assert after.mean["*"]["u"] != before.mean["*"]["u"]


def test_files_of_different_shape_are_datasets_of_their_own(tmp_path: Path) -> None:
    coarse = write(tmp_path, "a", ("u",), 16, dataset="sea")
    fine = write(tmp_path, "b", ("u",), 32, dataset="sea")
    run = tmp_path / "run"
    with pytest.raises(ValueError, match=r"different names; got sea, sea. Set data\.name"):
        pretrain([recipe(tmp_path, coarse, fine), str(run)])
    pretrain([recipe(tmp_path, coarse, {"path": str(fine), "name": "fine"}), str(run)])
    description = from_pretrained(run / "checkpoint").description
    assert set(description.normalizer.mean) == {"sea", "fine", "*"}


def test_a_value_for_a_field_that_is_not_learned_is_refused(tmp_path) -> None:
    """The fields are the first dataset's unless named: v would be dropped without a word."""
    one, two = write(tmp_path, "one", ("u",)), write(tmp_path, "two", ("u", "v"))
    with pytest.raises(
        ValueError, match="v is not among what the operator takes or predicts, u; name"
    ):
        pretrain([recipe(tmp_path, one, two, fill={"v": 0.0}), str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_dataset_of_which_all_would_be_filled_is_refused(tmp_path) -> None:
    one, two = write(tmp_path, "one", ("u",)), write(tmp_path, "two", ("v",))
    with pytest.raises(ValueError, match="dataset 'two' has none of the fields u"):
        pretrain([recipe(tmp_path, one, two, fill={"u": 0.0}), str(tmp_path / "run")])


def measured(root: Path, name: str, **units: str) -> Path:
    """A dataset with these fields in these units."""
    shape = (2, 4, 16)
    fields = {field: np.random.default_rng(0).standard_normal(shape) for field in units}
    data = WellData(name, Grid.unit((16,)), np.arange(4.0), fields, units=units)
    for split in ("train", "valid"):
        write_file(root / name / "data" / split / "a.hdf5", data)
    return root / name


def test_units_of_what_the_first_dataset_lacks_are_compared_and_kept(tmp_path: Path) -> None:
    one, two = measured(tmp_path, "one", u="m"), measured(tmp_path, "two", u="m", p="Pa")
    three = measured(tmp_path, "three", p="m")
    changes = {"fields": ["u", "p"], "fill": {"u": 0.0, "p": 0.0}}
    with pytest.raises(ValueError, match="p"):
        pretrain([recipe(tmp_path, one, two, three, **changes), str(tmp_path / "no")])
    assert not (tmp_path / "no").exists()
    pretrain([recipe(tmp_path, one, two, **changes), str(tmp_path / "run")])
    units = from_pretrained(tmp_path / "run").description.units
    assert (units["u"], units["p"]) == ("m", "Pa")


@pytest.fixture(scope="module")
def elliptic(tmp_path_factory) -> list[str]:
    """Two steady problems with inputs of different names."""
    counts, folder = {"train": 3, "valid": 2}, tmp_path_factory.mktemp("elliptic")
    sizes = {"trajectories": counts, "resolution": 8}
    return [str(simulate(name, folder, **sizes)) for name in ("poisson_2d", "helmholtz_2d")]


STEADY = {
    "inputs": ["coefficient", "source"],
    "fill": {"coefficient": 1.0, "source": 0.0},
    "objective": {"horizon": 1},
    "validation": {"every": 4, "horizon": 1},
}


def test_inputs_that_a_steady_problem_lacks_are_filled(tmp_path: Path, elliptic: list[str]) -> None:
    run = tmp_path / "run"
    pretrain([recipe(tmp_path, *elliptic, **STEADY), str(run)])
    operator = from_pretrained(run)
    about = operator.description
    assert about.inputs == ("coefficient", "source")
    store = open_store(elliptic[0], "valid")
    window = collate([store.window(i, 0, 1, 1) for i in range(2)])
    window = window.filled(about.channel_fill, about.inputs).select(about.fields, about.inputs)
    coefficient, source = window.history.unbind(2)
    torch.testing.assert_close(coefficient, torch.ones_like(source), rtol=0, atol=0)
    assert window.context.mask is None
    with torch.no_grad():
        expected = operator.eval()(window)[:, 0].numpy()
    found = predict(operator, store)
    np.testing.assert_allclose(found["u"].values.squeeze(), expected[:, 0], rtol=1e-5)


def test_another_value_of_a_filled_input_is_another_prediction(tmp_path, elliptic) -> None:
    pretrain([recipe(tmp_path, *elliptic, **STEADY), str(tmp_path / "run")])
    about = (operator := from_pretrained(tmp_path / "run").eval()).description
    window = collate([open_store(elliptic[0], "valid").window(0, 0, 1, 1)])
    with torch.no_grad():
        one, two = (
            operator(window.filled(fill, about.inputs).select(about.fields, about.inputs))
            for fill in (about.channel_fill, {"coefficient": 1.5})
        )
    assert not torch.equal(one, two)


def test_a_steady_problem_of_which_all_inputs_would_be_filled_is_refused(
    tmp_path, elliptic
) -> None:
    changes = STEADY | {"inputs": ["coefficient"], "fill": {"coefficient": 1.0}}
    with pytest.raises(ValueError, match="none of the input fields coefficient, all of which"):
        pretrain([recipe(tmp_path, *reversed(elliptic), **changes), str(tmp_path / "run")])


def test_a_name_that_is_given_here_and_predicted_there_is_refused(tmp_path, elliptic) -> None:
    swapped = {"path": elliptic[0], "name": "swapped", "rename": {"u": "source", "source": "u"}}
    changes = {**STEADY, "data": [{"path": elliptic[0]}, swapped]}
    run = str(tmp_path / "run")
    with pytest.raises(ValueError, match=r"u is predicted, and in dataset 'swapped' it is given"):
        pretrain([recipe(tmp_path, **changes, fields=["u"]), run])
    changes |= {"inputs": ["source", "u"], "fields": ["p"], "fill": {"source": 0.0}}
    with pytest.raises(ValueError, match=r"u is given, and in .* 'poisson_2d' it is predicted"):
        pretrain([recipe(tmp_path, **changes), run])
