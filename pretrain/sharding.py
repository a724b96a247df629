"""Sharded parameters (FSDP2): one unit for each block of an operator, and nothing cast unseen.

With `precision: bf16`, blocks gather their parameters in half precision, at half the traffic, and
compute under autocast as they do without shards. Spectral weights and statistics of batch norms
(`SinglePrecision`) are units of their own inside blocks, and stay in single precision; so does what
belongs to no block: where fields and lead times come in and go out, gains of norms, gates.
Gradients are reduced, and weights and moments kept, in single precision. No input or output is
cast. (The usual policy casts whole windows: lead times and physical fields lose their digits.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from packaging.version import Version
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.optim import Optimizer

from ..operators.core.operator import Operator
from ..operators.layers.precision import SinglePrecision

_RIGHT_ON_CPU = Version("2.9")
_SINGLE = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
_HALF = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)


def shard(operator: Operator, optimizer: Optimizer, accelerator: Accelerator) -> nn.Module:
    """Share out parameters over the processes, in place; the model to call.

    Args:
        operator: what is trained.
        optimizer: over its parameters, without moments yet; goes on with their shards.
        accelerator: the only distribution layer; says whether blocks compute in half precision.

    Raises:
        ValueError: this version of torch does it wrong here.
    """
    _require_right_sums(accelerator.device.type)
    operator.to(accelerator.device)
    names = {parameter: name for name, parameter in operator.named_parameters()}
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    half = accelerator.mixed_precision == "bf16"
    for unit in operator.blocks():
        if half:
            _keep_single(unit, mesh)
        fully_shard(unit, mesh=mesh, mp_policy=_HALF if half else _SINGLE)
    fully_shard(operator, mesh=mesh, mp_policy=_SINGLE)
    shards = dict(operator.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [shards[names[parameter]] for parameter in group["params"]]
    # Accelerate adds autocast, and no DistributedDataParallel.
    return accelerator.prepare_model(operator, evaluation_mode=True)


def _require_right_sums(device: str) -> None:
    """Refuse shards on a CPU with torch 2.8, whose gradients are wrong there."""
    if device == "cpu" and Version(torch.__version__) < _RIGHT_ON_CPU:
        raise ValueError(
            f"torch {torch.__version__} sums the gradients of sharded parameters wrongly on a CPU; "
            f"launch without --use_fsdp, or install torch {_RIGHT_ON_CPU} or newer"
        )


def _keep_single(unit: nn.Module, mesh: DeviceMesh) -> None:
    """Make units of the parts of a block that stay in single precision."""
    parts = [part for part in unit.modules() if part is not unit]
    for part in parts:
        if isinstance(part, SinglePrecision):
            entrances = part.entrances
        elif isinstance(part, nn.modules.batchnorm._BatchNorm):
            entrances = ()
        else:
            continue
        fully_shard(part, mesh=mesh, mp_policy=_SINGLE)
        for entrance in entrances:
            register_fsdp_forward_method(part, entrance)


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
