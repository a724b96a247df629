"""What one training step asks of a device: operations, and copies from the host.

    python benchmarks/operations.py [--operators T dymixop_2d]

The step runs on tensors without values (PyTorch's meta device), which takes the way of a GPU: what
would wait for the device fails there. Counted is what is dispatched in one micro-batch, forward and
backward with the recipe's loss, without views and empty tensors; fused attention counts as one.
Clipping and AdamW are counted on the host, by their fused kernels, as on GPUs.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.utils._python_dispatch import TorchDispatchMode

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators import create
from pelagos.operators.core.description import Description
from pelagos.operators.core.operator import Operator
from pelagos.pretrain.objectives.losses import loss_of

META = torch.device("meta")
BATCH = 4
FLUID = ("density", "velocity_x", "velocity_y", "pressure")
# Kernels are launched by none of these.
FREE = ("empty", "new_empty", "detach", "_unsafe_view", "promote_types")


@dataclass(frozen=True)
class Case:
    """An operator as a recipe has it, on its grid."""

    name: str
    config: dict[str, Any]
    fields: tuple[str, ...]
    shape: tuple[int, ...]
    loss: str = "vrmse"


def transformer(width: int, depth: int) -> Case:
    config = {"width": width, "depths": (depth,) * 4, "resolution": (128, 128)}
    return Case("multiscale", config, FLUID, (128, 128), "grouped_relative_l1")


CASES = {
    "T": transformer(48, 4),
    "B": transformer(96, 8),
    "dymixop_1d": Case("dymixop", {"history": 4, "hidden": 32, "modes": 16}, ("u",), (128,)),
    "dymixop_2d": Case("dymixop", {"history": 4, "hidden": 32}, ("u", "v"), (64, 64)),
    "observer_1d": Case("observer", {"hidden": 32, "layers": 4}, ("u",), (128,)),
}


@dataclass
class Seen:
    """What was dispatched."""

    operations: Counter[str] = field(default_factory=Counter)
    copies: int = 0


class Counting(TorchDispatchMode):
    """Counts operations, and copies of host tensors to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Seen()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if not (func.is_view or name.startswith(FREE)):
            self.seen.operations[name] += 1
            tensors = [x for x in (*args, result) if isinstance(x, Tensor)]
            crosses = len({x.device.type for x in tensors}) > 1
            self.seen.copies += crosses and name in ("_to_copy", "copy_")
        return result


class _Fused(torch.autograd.Function):
    """Attention as a GPU has it; the dispatcher would take it apart on tensors without values."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        wide = bias.expand(*query.shape[:-1], key.shape[-2])
        found = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, wide, True
        )
        ctx.save_for_backward(query, key, value, bias, *found)
        return found[0]

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, ...]:
        query, key, value, bias, *found = ctx.saved_tensors
        wide = bias.expand(*query.shape[:-1], key.shape[-2])
        inner = torch.ops.aten._scaled_dot_product_efficient_attention_backward(
            gradient, query, key, value, wide, *found, 0.0, [True] * 4
        )
        return (*inner[:3], torch.empty_like(bias))


@contextlib.contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """In this block the meta device has fused attention, and no autocast, which it lacks."""
    kept = F.scaled_dot_product_attention, torch.autocast, torch.is_autocast_enabled
    F.scaled_dot_product_attention = lambda q, k, v, bias, scale: _Fused.apply(q, k, v, bias)
    torch.autocast = lambda *args, **kwargs: contextlib.nullcontext()
    torch.is_autocast_enabled = lambda device=None: False
    try:
        yield
    finally:
        F.scaled_dot_product_attention, torch.autocast, torch.is_autocast_enabled = kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operators", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--show", type=int, default=0, metavar="N", help="the N most frequent")
    options = parser.parse_args()
    print("| operator | parameters | forward | backward | clip and AdamW | copies from the host |")
    print("|---|---|---|---|---|---|")
    for name in options.operators:
        case = CASES[name]
        operator = build(case)
        forward, backward = micro_batch(operator, case)
        count = sum(p.numel() for p in operator.parameters())
        update = sum(optimizer_step(case).operations.values())
        totals = [sum(seen.operations.values()) for seen in (forward, backward)]
        copies = forward.copies + backward.copies
        print(f"| {name} | {count:,} | {totals[0]} | {totals[1]} | {update} | {copies} |")
        for seen in (forward, backward) if options.show else ():
            print("  ", seen.operations.most_common(options.show))


def build(case: Case) -> Operator:
    """The operator, with statistics of its fields."""
    known = Statistics({"*": dict.fromkeys(case.fields, 0.1)}, {"*": dict.fromkeys(case.fields, 2)})
    about = Description(case.fields, normalizer=known)
    return create(case.name, description=about, ndim=len(case.shape), **case.config).train()


def micro_batch(operator: Operator, case: Case) -> tuple[Seen, Seen]:
    """Of a forward and a backward pass on the meta device, when constants are made."""
    operator.to(META)
    window = window_of(operator, case)
    normalizer = operator.description.normalizer
    with as_on_a_gpu():
        loss_of(case.loss, operator(window), window, normalizer).backward()
        operator.zero_grad()
        with Counting() as forward:
            loss = loss_of(case.loss, operator(window), window, normalizer)
        with Counting() as backward:
            loss.backward()
    return forward.seen, backward.seen


def window_of(operator: Operator, case: Case) -> Window:
    """A batch without values; lead times stay on the host, as in training."""
    history = torch.empty(BATCH, operator.history, len(case.fields), *case.shape, device=META)
    lead = torch.full((BATCH, 1), 0.1)
    return Window(history, history[:, :1], lead, Context(case.fields, Grid.unit(case.shape), 0.1))


def optimizer_step(case: Case) -> Seen:
    """Of clipping and an update."""
    parameters = [p for p in build(case).parameters() if p.requires_grad]
    optimizer = AdamW(parameters, fused=True)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # makes its moments
    with Counting() as counting:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
    return counting.seen


if __name__ == "__main__":
    main()
