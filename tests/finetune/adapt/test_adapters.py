"""From a run to an adapter, and from an adapter to a plain checkpoint, by the command line."""

from __future__ import annotations

import pytest
import yaml
from accelerate.state import AcceleratorState

from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.cli.console import main
from pelagos.operators import create, from_pretrained

SMALL = {"ndim": 1, "hidden": 8, "layers": 1, "modes": 4, "history": 2}
SHORT = {
    "steps": 2,
    "batch": 2,
    "micro_batch": 2,
    "log_every": 1,
    "save_every": 1,
    "validation": {"every": 1, "trajectories": 1, "horizon": 2},
}


@pytest.fixture
def run(tmp_path):
    """A run of a method, from a checkpoint of other fields."""
    data = simulate(
        "advection_1d",
        tmp_path,
        trajectories={"train": 2, "valid": 1},
        resolution=40,
        frames=5,
        dt=0.02,
    )
    base = create("dymixop", fields=("u", "v"), seed=1, **SMALL).save_pretrained(tmp_path / "base")

    def make(**changes):
        recipe = {"data": [{"path": str(data)}], "init_from": str(base), **SHORT, **changes}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        main(["finetune", str(tmp_path / "recipe.yaml"), str(tmp_path / "run")])
        AcceleratorState._reset_state(reset_partial_state=True)
        return tmp_path / "run"

    return make


LORA = {"name": "lora", "rank": 2, "train": ["lift", "unlift"]}
BANDS = {"name": "bands", "rank": 3, "local_rank": 2, "train": ["lift", "unlift"]}


@pytest.mark.parametrize(
    ("method", "more"),
    [
        (LORA, {"publish": "last"}),
        (LORA, {"publish": "average", "average": {"decay": 0.5}}),
        (BANDS, {"publish": "best", "average": {"decay": 0.5}}),
    ],
    ids=["last", "average", "best"],
)
def test_base_and_adapter_are_the_checkpoint(method, more, run, tmp_path, capsys):
    path = run(method=method, **more)
    main(["adapter", "export", str(path), str(tmp_path / "adapter")])
    assert "adapter: " in capsys.readouterr().out
    expected = from_pretrained(path)
    opened = from_pretrained(tmp_path / "adapter")
    assert opened.description == expected.description
    for name, value in expected.state_dict().items():
        assert opened.state_dict()[name].equal(value), name
    moved = (tmp_path / "base").rename(tmp_path / "moved")
    merged = tmp_path / "merged"
    main(["adapter", "merge", str(tmp_path / "adapter"), str(merged), "--base", str(moved)])
    weights = "model.safetensors"
    assert (merged / weights).read_bytes() == (path / "checkpoint" / weights).read_bytes()


def test_what_makes_no_adapter_is_refused(run, tmp_path, capsys):
    path = run()
    for arguments, message in (
        (["export", str(path), str(tmp_path / "out")], "by method 'full', which changes the"),
        (["export", str(path), str(path)], "is there and is no adapter"),
        (["export", str(tmp_path / "base"), str(tmp_path / "out")], "is no run directory"),
        (["merge", str(path / "checkpoint"), str(tmp_path / "out")], "is no adapter"),
    ):
        with pytest.raises(SystemExit):
            main(["adapter", *arguments])
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
