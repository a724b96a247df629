"""DyMixOp traced, and on two processes: the same function, the same gradients."""

import pytest
from processes import run
from sharding import NEEDS_SHARDS

COMMON = """
import torch

from pelagos.datasets.fields import Context, Grid, Window
from pelagos.operators import create


def operator(**config):
    known = {"ndim": 1, "hidden": 4, "layers": 2, "modes": 3, "padding": "boundary"}
    return create("dymixop", fields=("u",), **(known | config))


def window(rows=slice(None)):
    frames = torch.randn(4, 3, 1, 16, generator=torch.Generator().manual_seed(0))[rows]
    context = Context(("u",), Grid((16,), (1.0,), ("wall",)))
    lead = torch.tensor([1.0, 2.0]).expand(len(frames), 2)
    return Window(frames[:, :1], frames[:, 1:], lead, context)
"""

COMPILED = """
model = operator(nonlinear_branches=2)
batch = window()
state = model.init(batch.history, batch.context)
inputs = model.inputs(state, state.first, torch.ones(4))
compiled = torch.compile(model.network, backend="aot_eager", fullgraph=True)


def results(network):
    x = inputs.clone().requires_grad_()
    y = network(x, (False,))
    return y, *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])


for fast, eager in zip(results(compiled), results(model.network), strict=True):
    torch.testing.assert_close(fast, eager, rtol=1e-4, atol=1e-6)
with torch.no_grad():
    torch.testing.assert_close(compiled(inputs, (False,)), model.network(inputs, (False,)))
"""

PROCESSES = """
import torch.distributed as dist
from processes import leave
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank = dist.get_rank()
mine = slice(2 * rank, 2 * rank + 2)


def gradients(model, rows):
    model(window(rows)).square().mean().backward()
    return [p.grad for p in model.parameters()]


plain = gradients(operator(), slice(None))
for a, b in zip(gradients(DistributedDataParallel(operator()), mine), plain, strict=True):
    torch.testing.assert_close(a, b)

mesh = init_device_mesh("cpu", (2,))
sharded = operator()
for layer in sharded.mixing:
    fully_shard(layer, mesh=mesh)
fully_shard(sharded, mesh=mesh)
for a, b in zip(gradients(sharded, mine), plain, strict=True):
    torch.testing.assert_close(a.full_tensor(), b)

whole = operator()
fully_shard(whole, mesh=mesh)
for a, b in zip(gradients(whole, mine), plain, strict=True):
    torch.testing.assert_close(a.full_tensor(), b)

# A policy that casts parameters rounds the spectral ones too; the transforms and products of the
# spectral branch still compute in single precision, so that nothing is lost but that rounding.
half = operator()
policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, cast_forward_inputs=False)
fully_shard(half, mesh=mesh, mp_policy=policy)
for a, b in zip(gradients(half, mine), plain, strict=True):
    assert a.dtype == torch.float32
    assert (a.full_tensor() - b).norm() < 0.1 * b.norm() + 1e-3
leave()
"""


def script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(COMMON + text)
    return path


@pytest.mark.slow
def test_traced_is_the_same_function_with_the_same_gradients(tmp_path):
    """What the compiler sees, in one graph; its code is run in test_accelerating.py."""
    assert "Warning" not in run(script(tmp_path, COMPILED))


@NEEDS_SHARDS
def test_two_processes_give_the_gradients_of_one(tmp_path):
    run(script(tmp_path, PROCESSES), processes=2)
