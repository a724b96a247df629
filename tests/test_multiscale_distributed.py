"""The multiscale transformer under DDP and FSDP2: two processes on the CPU, one function."""

import os
import subprocess
import sys

SCRIPT = """
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from pelagos.datasets.fields import Grid, Window
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
    return Window(frames[:, :1], frames[:, 1:], lead, ("u",), Grid.unit((16, 16)))


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
dist.destroy_process_group()
print("agree")
"""


def test_two_processes_train_as_one(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert result.stdout.count("agree") == 2, result.stderr[-3000:]
