"""Run by torchrun in test_sharded.py: FSDP2 trains, saves and resumes like one plain module."""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from processes import leave
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim import AdamW

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators import create, from_pretrained, names
from pelagos.pretrain.average import Average
from pelagos.pretrain.run import state as resume

SMALL = {
    "assimilated": {
        "predictor": {"name": "dymixop", "hidden": 6, "layers": 2, "modes": 3, "history": 2},
        "correction": {"modes": 3, "hidden": 4},
    },
    "dymixop": {"hidden": 6, "layers": 2, "modes": 3, "history": 2},
    "multiscale": {"width": 8, "depths": (1, 1), "heads": (2, 2), "skips": (1, 0), "window": 2},
    "observer": {"hidden": 6, "layers": 2, "modes": 3, "correction": {"modes": 3, "hidden": 4}},
}


def window(frames, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, frames, 1, 16), (2, 1, 1, 16))
    history, target = (torch.randn(shape, generator=generator) for shape in shapes)
    return Window(history, target, torch.full((2, 1), 0.5), Context(("u",), Grid.unit((16,))))


def step(model, optimizer, seed):
    model(window(model.history, seed)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def main(name, folder):
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    mesh = init_device_mesh("cpu", (2,))

    def fresh(shard):
        operator = create(name, fields=("u",), ndim=1, **SMALL[name])
        if shard:
            fully_shard(operator, mesh=mesh)
        return operator, AdamW(operator.parameters(), lr=1e-2)

    sharded, optimizer = fresh(True)
    plain, plain_optimizer = fresh(False)
    for seed in range(3):  # both processes see the same window: averaging changes nothing
        step(sharded, optimizer, seed)
        step(plain, plain_optimizer, seed)
    average, plain_average = Average(sharded, 0.9), Average(plain, 0.9)
    step(sharded, optimizer, 3)
    step(plain, plain_optimizer, 3)
    average.update(1)
    plain_average.update(1)
    progress = resume.Progress(4, 8, 1.0)
    resume.save_state(folder, sharded, sharded, optimizer, progress, accelerator, 2, average)
    state = resume.latest(folder)
    for key, value in from_pretrained(state / "operator").state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[key])
    with plain_average.swapped():
        for key, value in load_file(state / "average.safetensors").items():
            torch.testing.assert_close(value, plain.state_dict()[key])

    again, again_optimizer = fresh(True)
    again_average = Average(again, 0.9)
    assert resume.load_state(state, again, again, again_optimizer, again_average) == progress
    step(sharded, optimizer, 4)
    step(again, again_optimizer, 4)
    require_equal(sharded, again)
    with average.swapped(), again_average.swapped():
        require_equal(sharded, again)


def require_equal(one, other):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a.full_tensor(), b.full_tensor())


if __name__ == "__main__":
    for operator in names():
        main(operator, Path(sys.argv[1]) / operator)
    leave()
