"""Run by torchrun in test_sharded.py: blocks gather bf16, and lose no more than autocast does."""

import sys

import torch
from accelerate import Accelerator
from processes import leave
from torch import nn
from torch.optim import AdamW

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators import create
from pelagos.operators.core.description import Description
from pelagos.pretrain.sharding import shard

OPERATORS = {
    "assimilated": {
        "predictor": {"name": "dymixop", "hidden": 16, "layers": 2, "modes": 3},
        "correction": {"modes": 3, "hidden": 4},
    },
    "dymixop": {"hidden": 16, "layers": 3, "modes": 3, "history": 2},
    "multiscale": {
        "width": 16,
        "depths": (2, 2),
        "heads": (2, 2),
        "skips": (1, 1),
        "window": 2,
        "patch": 2,
    },
    "resnet": {
        "width": 16,
        "depths": (1, 1),
        "heads": (2, 2),
        "skips": (1, 1),
        "window": 2,
        "residual_block": "resnet",
    },
    "observer": {"hidden": 16, "layers": 2, "modes": 3, "correction": {"modes": 3, "hidden": 4}},
}
OFFSET = 100.0  # the fields vary by 1 about it
STATISTICS = Statistics({"*": {"u": OFFSET}}, {"*": {"u": 1.0}})
# Of the modules by whose call or method weights come whole.
SINGLE = ("globals", "spectral", "first_norm", "second_norm")


def window(frames):
    generator = torch.Generator().manual_seed(3)
    x = torch.linspace(0, 6.28, 33)[:32] + torch.rand(4, 1, generator=generator) * 6
    frame = OFFSET + 1.4 * torch.sin(x)[:, None, None]
    grid = Grid((32,), (1.0,), ("periodic",))
    lead, context = torch.full((4, 1), 0.51953), Context(("u",), grid, dt=0.51953)
    return Window(frame.expand(4, frames, 1, 32), frame + 0.1, lead, context)


def fresh(name):
    description = Description(("u",), normalizer=STATISTICS)
    kind = "multiscale" if name == "resnet" else name
    operator = create(kind, description=description, ndim=1, seed=1, **OPERATORS[name])
    with torch.no_grad():  # published initial gains are next to 0
        for parameter in operator.parameters():
            parameter.add_(0.05 * torch.ones_like(parameter).cumsum(0).sin())
    return operator.train()


def gathered(model, seen):
    """Note the type of every block's weights while its forward runs."""

    def note(name, module):
        for key, parameter in module.named_parameters():
            seen[f"{name}.{key}"] = parameter.dtype

    for i, block in enumerate(model.blocks()):
        block.register_forward_hook(lambda module, *_, i=i: note(str(i), module), prepend=True)


def main(name):
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    exact = fresh(name)
    inputs = window(exact.history)
    truth = exact(inputs) - OFFSET
    with torch.autocast("cpu", torch.bfloat16):
        plain = fresh(name)
        error = (plain(inputs) - OFFSET - truth).square().mean().sqrt()
    error = (error / truth.std()).item()

    sharded = fresh(name)
    optimizer = AdamW(sharded.parameters())
    seen = {}
    gathered(sharded, seen)
    model = shard(sharded, optimizer, accelerator)
    prediction = model(inputs)
    assert prediction.dtype is torch.float32
    found = ((prediction - OFFSET - truth).square().mean().sqrt() / truth.std()).item()
    print(f"{name}: autocast {error:.2e}, shards {found:.2e}")
    assert found < max(1.5 * error, 3e-3), (name, found, error)

    types = {key: dtype for key, dtype in seen.items() if "correction" not in key}
    assert torch.bfloat16 in types.values(), name
    for key, dtype in types.items():
        if any(part in SINGLE for part in key.split(".")):
            continue  # given back already, and single in any case
        assert dtype is torch.bfloat16, key
    prediction.sub(inputs.target).square().mean().backward()
    exact(inputs).sub(inputs.target).square().mean().backward()
    mine, theirs = [], []
    for one, other in zip(sharded.parameters(), exact.parameters(), strict=True):
        if other.grad is not None and one.requires_grad:
            assert one.dtype is one.grad.dtype is torch.float32
            mine.append(one.grad.full_tensor().flatten())
            theirs.append(other.grad.flatten())
    likeness = nn.functional.cosine_similarity(torch.cat(mine), torch.cat(theirs), 0)
    assert likeness > 0.99, (name, likeness)


if __name__ == "__main__":
    for operator in sys.argv[1:] or OPERATORS:
        main(operator)
    leave()
