"""The multiscale transformer in processes of its own: DDP and FSDP2 on the CPU, and traced.

(The compiler cannot trace through the type checks that the tests switch on.)
"""

import pytest
from processes import run
from sharding import NEEDS_SHARDS

DISTRIBUTED = """
import torch
import torch.distributed as dist
from processes import leave
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from pelagos.datasets.fields import Context, Grid, Window
from pelagos.operators import create

dist.init_process_group("gloo")
rank = dist.get_rank()
assert dist.get_world_size() == 2


def operator():
    return create(
        "multiscale", fields=("u",), ndim=2, width=8, depths=(2, 2), heads=(2, 2), skips=(1, 0),
        patch=2, window=4,
    )


def window(rows):
    frames = torch.randn(4, 3, 1, 16, 16, generator=torch.Generator().manual_seed(0))[rows]
    lead = torch.tensor([0.5, 1.0]).expand(len(frames), 2)
    return Window(frames[:, :1], frames[:, 1:], lead, Context(("u",), Grid.unit((16, 16))))


def trained(model, rows):
    optimizer = torch.optim.SGD(model.parameters(), lr=10.0)
    for _ in range(2):
        optimizer.zero_grad()
        part = window(rows)
        (model(part) - part.target).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        model.eval()
        return model(window(slice(0, 4)))


mine = slice(2 * rank, 2 * rank + 2)
expected = trained(operator(), slice(0, 4))
torch.testing.assert_close(trained(DistributedDataParallel(operator()), mine), expected)
sharded, mesh = operator(), init_device_mesh("cpu", (2,))
for stage in (*sharded.encoder, *sharded.decoder):
    for block in stage:
        fully_shard(block, mesh=mesh)
fully_shard(sharded, mesh=mesh)
torch.testing.assert_close(trained(sharded, mine), expected)
leave()
"""


TRACED = """
import torch
from pelagos.operators import create

operator = create(
    "multiscale", fields=("u",), ndim=1, width=8, depths=(2,), heads=(2,), skips=(1,), patch=2,
    window=4,
).double()
generator = torch.Generator().manual_seed(0)
with torch.no_grad():
    for parameter in operator.parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).double())
x, t = torch.randn(2, 1, 16, generator=generator).double(), torch.tensor([0.1, 0.9]).double()
results = []
for network in (operator.network, torch.compile(operator.network, backend="aot_eager")):
    operator.zero_grad()
    output = network(x, t)
    output.square().mean().backward()
    results.append([output.detach(), *(p.grad for p in operator.parameters())])
for a, b in zip(*results, strict=True):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
"""


@pytest.mark.slow
def test_traced_equals_eager(tmp_path):
    """What the compiler sees, gradients included; in float64, so that noise hides nothing."""
    script = tmp_path / "traced.py"
    script.write_text(TRACED)
    run(script)


@NEEDS_SHARDS
def test_two_processes_train_as_one(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(DISTRIBUTED)
    run(script, processes=2)
