"""What makes steps faster: refused where it cannot be, and nothing else is computed by it."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from processes import run
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pelagos.datasets.base.config import build
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics
from pelagos.datasets.fields.window import Context, Window
from pelagos.datasets.simulation.simulate import simulate
from pelagos.operators import create, from_pretrained
from pelagos.operators.core.description import Description
from pelagos.pretrain import TrainRecipe, pretrain
from pelagos.pretrain.accelerating import compile_blocks, tf32
from pelagos.pretrain.objectives.losses import loss_of
from pelagos.pretrain.optimizer import build_optimizer
from pelagos.pretrain.recipe import OptimizerConfig

CPU, META = torch.device("cpu"), torch.device("meta")
SMALL = {
    "dymixop": {"hidden": 4, "layers": 2, "modes": 3, "history": 2},
    "multiscale": {"width": 8, "depths": (2, 1), "heads": (2, 2), "skips": (1, 0), "window": 4},
    "observer": {"hidden": 4, "layers": 2, "modes": 3},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    data = simulate(
        "advection_1d",
        tmp_path_factory.mktemp("data"),
        trajectories={"train": 4, "valid": 2},
        resolution=48,
        frames=5,
    )
    values = {
        "data": [{"path": str(data)}],
        "operator": {"name": "dymixop", **SMALL["dymixop"]},
        "steps": 4,
        "batch": 4,
        "micro_batch": 2,
        "log_every": 2,
        "save_every": 2,
        "validation": {"every": 2, "trajectories": 1, "horizon": 2},
        "keep": 4,
    }
    return build(TrainRecipe, values)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("dymixop", marks=pytest.mark.slow),
        pytest.param("multiscale", marks=pytest.mark.slow),
        "observer",
    ],
)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_compute_the_same_and_share_their_code(name):
    run(Path(__file__).parents[1] / "support" / "compiled_blocks.py", name)


def test_what_a_machine_cannot_is_refused_in_a_line(recipe, tmp_path, monkeypatch):
    for changed, match in (
        ({"tf32": True}, "capability 8.0 or later, and this is a cpu device; set tf32: false"),
        ({"compile": "graphs"}, "compile: graphs needs CUDA, and this is a cpu device; set"),
    ):
        with pytest.raises(ValueError, match=match):
            pretrain(replace(recipe, **changed), tmp_path / "run")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler"):
        pretrain(replace(recipe, compile="block"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    operator = create("dymixop", fields=("u",), ndim=1, **SMALL["dymixop"])
    operator.blocks = list
    with pytest.raises(ValueError, match="dymixop names none; set compile: none"):
        compile_blocks(operator, "block", CPU)


def test_tf32_is_put_back(monkeypatch):
    """Its switches are the process's; there are such on machines without a GPU too."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    for wanted in (True, False):
        with tf32(wanted, torch.device("cuda")):
            found = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            assert found == (wanted, wanted)
        found = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        assert found == before


def test_updates_are_fused_on_gpus_and_as_ever_on_a_cpu():
    model = nn.Linear(2, 2)
    for asked, device, fused in (
        (None, CPU, None),
        (None, torch.device("cuda"), True),
        (False, torch.device("cuda"), None),
        (True, CPU, True),
    ):
        optimizer = build_optimizer(model, OptimizerConfig(fused=asked), device=device)
        assert optimizer.defaults["fused"] is fused


def test_fused_updates_resume_to_the_bit(recipe, tmp_path):
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, fused=True))
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    pretrain(recipe, whole)
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "checkpoint")
    shutil.rmtree(resumed / "state" / "step-00000004")
    pretrain(recipe, resumed, resume=True)
    weights = [from_pretrained(each / "checkpoint").state_dict() for each in (whole, resumed)]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    logs = [(each / "log.jsonl").read_text().splitlines() for each in (whole, resumed)]
    lines = [[json.loads(line) for line in log] for log in logs]
    losses = [[line["loss"] for line in each if line["kind"] == "train"] for each in lines]
    assert losses[0] == losses[1]


class Copies(TorchDispatchMode):
    """Where numbers go from the host to the device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in (*args, result) if isinstance(x, torch.Tensor)]
        crosses = len({tensor.device.type for tensor in tensors}) > 1
        if crosses and func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            self.found.append([*result.shape])
        return result


@pytest.mark.parametrize("name", SMALL)
def test_no_step_waits_for_its_device_or_copies_constants_to_it(name, monkeypatch):
    """On tensors without values, whatever would read one on the host fails.

    The meta device takes the way of a GPU; autocast and fused attention it has not.
    """
    nothing = contextlib.nullcontext()
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nothing)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device=None: False)
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, b, scale: v + 0 * q)
    fields = ("velocity_x", "density", "velocity_y")  # a vector whose components lie apart
    known = Statistics({"*": dict.fromkeys(fields, 1.0)}, {"*": dict.fromkeys(fields, 2.0)})
    operator = create(
        name, description=Description(fields, normalizer=known), ndim=2, **SMALL[name]
    )
    operator.to(META).train()
    history = torch.empty(2, operator.history, 3, 16, 16, device=META)
    lead, context = torch.full((2, 1), 0.1), Context(fields, Grid.unit((16, 16)), 0.1)
    window = Window(history, history[:, :1], lead, context)

    def step():
        loss = loss_of("grouped_relative_l1", operator(window), window, known)
        loss.backward()

    step()  # makes what depends on shapes and statistics alone
    with Copies() as copies:
        step()
    batch = [[2], [2, 1], [1, 1, 1, 1], [2, 1, 1, 1], [1]]  # lead times and steps, without waiting
    assert all(shape in batch for shape in copies.found), copies.found
