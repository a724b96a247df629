"""Sharded parameters (FSDP2): one unit for each block of an operator, and nothing cast unseen.

Parameters are gathered and gradients reduced in single precision, and no input or output is cast:
with `precision: bf16`, autocast does it where products are made, as it does without shards. (The
usual policy casts parameters and whole windows: lead times and physical fields lose their digits,
and so do spectral weights and position biases, which are computed in single precision.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.optim import Optimizer

from ..operators.core.operator import Operator

_POLICY = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)


def shard(operator: Operator, optimizer: Optimizer, accelerator: Accelerator) -> nn.Module:
    """Share out parameters over the processes, in place; the model to call.

    Args:
        operator: what is trained.
        optimizer: over its parameters, without moments yet; goes on with their shards.
        accelerator: the only distribution layer.
    """
    operator.to(accelerator.device)
    names = {parameter: name for name, parameter in operator.named_parameters()}
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for unit in operator.blocks():
        fully_shard(unit, mesh=mesh, mp_policy=_POLICY)
    fully_shard(operator, mesh=mesh, mp_policy=_POLICY)
    shards = dict(operator.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [shards[names[parameter]] for parameter in group["params"]]
    # Accelerate adds autocast, and no DistributedDataParallel.
    return accelerator.prepare_model(operator, evaluation_mode=True)


@contextmanager
def accumulating(model: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """In this block gradients are not shared yet: others of the same step will be added."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)
        return
    with accelerator.no_sync(model):
        yield
