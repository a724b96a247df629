"""Sharded parameters (FSDP2) on two processes, for every operator."""

from pathlib import Path

import h5py
import pytest
import torch
from processes import run
from sharding import NEEDS_SHARDS

from pelagos.datasets.base.config import build
from pelagos.datasets.simulation.simulate import simulate
from pelagos.operators import names
from pelagos.pretrain import TrainRecipe
from pelagos.pretrain.command import Launch
from pelagos.pretrain.sharding import _require_right_sums
from pelagos.pretrain.training import start_job


@NEEDS_SHARDS
def test_fsdp2_saves_full_tensors_and_resumes(tmp_path):
    for name in names():
        (tmp_path / name).mkdir()
    run(Path(__file__).parents[1] / "support" / "sharded_state.py", tmp_path, processes=2)


@NEEDS_SHARDS
def test_blocks_gather_half_precision_and_lose_no_more_than_autocast():
    """Of fields that vary by one hundredth of their size, predictions and gradients."""
    script = Path(__file__).parents[1] / "support" / "sharded_precision.py"
    run(script, processes=2)


def test_gradients_lie_as_distributed_training_keeps_them():
    script = Path(__file__).parents[1] / "support" / "ddp_strides.py"
    run(script, processes=2)


@NEEDS_SHARDS
@pytest.mark.parametrize(
    ("precision", "trained"),
    [
        ("fp32", ["observer"]),
        pytest.param("fp32", ["dymixop", "multiscale"], marks=pytest.mark.slow),
        pytest.param("bf16", ["dymixop", "multiscale", "observer"], marks=pytest.mark.slow),
    ],
)
def test_training_with_shards_is_training(precision, trained, tmp_path):
    """On data far from zero, against DDP; for bf16 see also the test above."""
    data = simulate(
        "advection_1d", tmp_path, trajectories={"train": 4, "valid": 2}, resolution=48, frames=5
    )
    for file in (data / "data").rglob("*.hdf5"):
        with h5py.File(file, "r+") as h5:
            h5["t0_fields/u"][...] += 100
    script = Path(__file__).parents[1] / "support" / "sharded_training.py"
    run(script, data, tmp_path, precision, *trained, processes=2)


@pytest.mark.parametrize(
    ("variables", "match"),
    [
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "a step accumulates batch / micro_batch"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "recipe for fp32; set precision: bf16"),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, "use precision: bf16 or fp32"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "without --dynamo_backend"),
        (
            {"ACCELERATE_USE_FSDP": "true", "FSDP_ACTIVATION_CHECKPOINTING": "true"},
            "activation_checkpointing false",
        ),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "--fsdp_version 2"),
        (
            {
                "TORCHELASTIC_MAX_RESTARTS": "3",
                "TORCHELASTIC_USE_AGENT_STORE": "True",
                "WORLD_SIZE": "2",
            },
            "export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before it",
        ),
        (
            {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_PORT": "29500"},
            "was to start several processes and started one",
        ),
    ],
)
def test_what_a_launcher_asks_for_is_honoured_or_refused(variables, match, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    recipe = build(TrainRecipe, {"data": [{"path": "data"}], "operator": {"name": "dymixop"}})
    with pytest.raises(ValueError, match=match), start_job(recipe, Launch()):
        pass


def test_a_torch_that_sums_wrongly_is_refused(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.8.0+cu128")
    with pytest.raises(ValueError, match=r"torch 2\.8\.0\+cu128 sums the gradients of sharded"):
        _require_right_sums("cpu")
    _require_right_sums("cuda")
    monkeypatch.setattr(torch, "__version__", "2.9.0")
    _require_right_sums("cpu")
