"""What an operator says of its parts: complete, without overlap, and in the order of the data."""

from __future__ import annotations

import pytest
import torch

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context
from pelagos.operators import Description, create
from pelagos.operators.core.parts import Parts, members

OPERATORS = {
    "dymixop": {"ndim": 1, "hidden": 6, "layers": 3, "modes": 3, "history": 2},
    "multiscale": {
        "ndim": 1, "width": 8, "depths": (2, 1, 2), "heads": (2, 2, 2), "skips": (1, 0, 2),
        "patch": 2, "window": 4,
    },
    "observer": {"ndim": 1, "hidden": 6, "layers": 2, "modes": 3, "learn_linear": True},
    "assimilated": {
        "ndim": 1, "predictor": {"name": "dymixop", "hidden": 6, "layers": 2, "modes": 3},
    },
}  # fmt: skip


@pytest.fixture(params=OPERATORS)
def operator(request):
    about = Description(("u", "v"), time_steps=(0.1,))
    return create(request.param, description=about, **OPERATORS[request.param]).eval()


def test_every_parameter_is_in_one_part(operator):
    names = [name for name, _ in operator.named_parameters()]
    parts = operator.parts()
    found = [name for part in parts.named().values() for name in members(names, part)]
    assert sorted(found) == sorted(names)
    assert parts.blocks
    with_fields = {name for name in operator.field_axes() if name in names}
    assert with_fields <= {*members(names, parts.head)}


def test_blocks_are_in_the_order_in_which_data_pass_them(operator):
    """The last module of each block is what it is about; hooks say when it is called."""
    last = [block[-1] for block in operator.parts().blocks]
    called = []
    for name in last:
        module = operator.get_submodule(name)
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    history = torch.randn(1, operator.history, 2, 32, generator=torch.Generator().manual_seed(0))
    context = Context(("u", "v"), Grid.unit((32,)), dt=0.1 if operator.history > 1 else None)
    next(operator.rollout(history, context, dt=0.1, steps=1))
    assert called == last


def test_parts_stand_inside_another_operator():
    parts = Parts(("lift",), (("a", "b"), ("c",)), ("unlift",), ("gate",)).within("inner")
    assert parts.blocks == (("inner.a", "inner.b"), ("inner.c",))
    assert parts.head == ("inner.lift", "inner.unlift", "inner.gate")


def test_a_name_is_not_the_beginning_of_another():
    assert [*members(["mixing.1.w", "mixing.10.w", "mixing"], ["mixing.1"])] == ["mixing.1.w"]
