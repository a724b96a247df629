"""Run in a process of its own: compiled blocks give what the blocks give, and share their code.

Inductor takes a minute: one operator is compiled by it, the others by the backend without kernels.
"""

import sys

import torch
from packaging.version import Version
from torch import nn
from torch._dynamo.utils import counters

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators import create
from pelagos.pretrain.accelerating import compile_blocks

OPERATORS = {
    "dymixop": {"hidden": 4, "layers": 3, "modes": 3},
    "multiscale": {
        "width": 8,
        "depths": (3,),
        "heads": (2,),
        "skips": (0,),
        "window": 4,
        "patch": 2,
    },
    "observer": {"hidden": 4, "layers": 3, "modes": 3},
}
INDUCTOR = "dymixop"
TRACES_ALL = Version(torch.__version__) >= Version("2.9")  # 2.8 no properties of named tuples
GRAPHS = {"dymixop": 1, "multiscale": 2, "observer": 1}  # plain and shifted windows differ


def main(name):
    operator = create(name, fields=("u",), ndim=1, seed=0, **OPERATORS[name]).train()
    with torch.no_grad():  # published initial gains are next to 0
        for parameter in operator.parameters():
            parameter.add_(0.1 * torch.ones_like(parameter).cumsum(0).sin())
    history = torch.randn(2, operator.history, 1, 24, generator=torch.Generator().manual_seed(0))
    context = Context(("u",), Grid.unit((24,)), dt=0.1)
    window = Window(history, history[:, :1], torch.full((2, 1), 0.1), context)

    def passed():
        operator.zero_grad()
        prediction = operator(window)
        prediction.square().mean().backward()
        known = operator.named_parameters()
        return prediction.detach(), {k: p.grad.clone() for k, p in known if p.grad is not None}

    if name != INDUCTOR:
        whole = nn.Module.compile
        nn.Module.compile = lambda self, **options: whole(self, backend="aot_eager", **options)
    plain, gradients = passed()
    names = [*operator.state_dict()]
    compile_blocks(operator, "block", torch.device("cpu"))
    assert [*operator.state_dict()] == names
    for _ in range(2):
        compiled, found = passed()
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5)
        for key, gradient in gradients.items():
            torch.testing.assert_close(found[key], gradient, rtol=1e-3, atol=1e-5, msg=key)
        if TRACES_ALL:
            assert counters["stats"]["unique_graphs"] == GRAPHS[name], counters["stats"]
    if TRACES_ALL:
        assert not counters["graph_break"], counters["graph_break"]


if __name__ == "__main__":
    main(sys.argv[1])
