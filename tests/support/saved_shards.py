"""Run by torchrun in test_saving.py: states in shards, written at once and in the background."""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from processes import leave
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import AdamW

from pelagos.operators import create
from pelagos.operators.core import checkpoint
from pelagos.pretrain.average import Average
from pelagos.pretrain.recipe import StatesConfig
from pelagos.pretrain.run import state as resume
from pelagos.pretrain.run.best import save_best
from pelagos.pretrain.run.saving import Saver, Trained


def trained(step, sharded=False):
    """An operator whose numbers, moments and average are those of a step; the same everywhere."""
    config = {"hidden": 5, "layers": 2, "modes": 3, "history": 2}
    operator = create("dymixop", fields=("u",), ndim=1, **config)
    if sharded:
        fully_shard(operator, mesh=init_device_mesh("cpu", (2,)))
    optimizer = AdamW(operator.parameters(), lr=1e-2)
    average = Average(operator, 0.9)
    for number in range(1, step + 1):
        for i, parameter in enumerate(operator.parameters()):
            shape = tuple(parameter.shape)
            generator = torch.Generator().manual_seed(1000 * number + i)
            whole = torch.randn(shape, generator=generator)
            parameter.grad = _like(whole, parameter)
        optimizer.step()
        average.update(number)
    return Trained(operator, operator, optimizer, average)


def _like(whole, parameter):
    if not isinstance(parameter, DTensor):
        return whole
    grad = torch.zeros_like(parameter)
    start = sum(_rows(parameter, rank) for rank in range(parameter.device_mesh.get_rank()))
    local = grad.to_local()
    local.copy_(whole[start : start + len(local)])
    return grad


def _rows(parameter, rank):
    chunk = -(-parameter.shape[0] // 2)
    return max(0, min(chunk, parameter.shape[0] - rank * chunk))


def numbers(each: Trained):
    """Everything that a state holds, whole."""
    found = resume.tensors_of(each.model, each.optimizer, each.average, whole=False)
    return {k: v.full_tensor() if isinstance(v, DTensor) else v.clone() for k, v in found.items()}


def require_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def loaded(state, sharded):
    fresh = trained(0, sharded)
    assert isinstance(fresh.model, nn.Module)
    resume.load_state(state, fresh.operator, fresh.model, fresh.optimizer, fresh.average)
    return numbers(fresh)


def main(folder):
    accelerator = Accelerator(cpu=True)
    expected = {step: numbers(trained(step)) for step in (2, 3)}
    for background in (False, True):
        for sharded in (True, False):  # parameters; states are in both cases
            run = folder / f"{'shards' if sharded else 'whole'}-{background}"
            config = StatesConfig(sharded=True, background=background)
            with Saver(config, 2, accelerator, sharded=sharded) as saver:
                for step in (2, 3):
                    each = trained(step, sharded)
                    saver.save(run, each, resume.Progress(step, 2 * step, 1.0))
                    for parameter in each.operator.parameters():  # training goes on
                        parameter.data.mul_(2.0)
            state = resume.latest(run)
            assert state is not None
            assert state.name == "step-00000003"
            assert len(list((state / "shards").iterdir())) == 2
            for after in (True, False):
                require_equal(loaded(state, after), expected[3])
                require_equal(loaded(state.with_name("step-00000002"), after), expected[2])
            weights = resume.weights_in(each.model, each.average)
            config = checkpoint.config_of(each.operator)
            save_best(run, 3, config, weights, main=accelerator.is_main_process)
    accelerator.wait_for_everyone()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
