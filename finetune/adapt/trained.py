"""How much of an operator is trained, and what that saves."""

from __future__ import annotations

from ...datasets.base.config import plain
from ...operators.core.operator import Operator

_MOMENTS = 3  # tensors of a parameter's size that only a trained one has: gradient, two moments


def require_trained(operator: Operator, method: str) -> None:
    """Refuse an operator of which nothing is trained.

    Raises:
        ValueError: every parameter is frozen.
    """
    if not any(parameter.requires_grad for parameter in operator.parameters()):
        last = [name for name, _ in operator.named_parameters()][-1].split(".")[0]
        recovery = ", ".join(operator.parts().recovery) or last
        raise ValueError(
            f"nothing to train: {method} freezes every parameter; leave some out, such as "
            f"{recovery} (method.name head trains what meets the fields)"
        )


def share_trained(operator: Operator) -> str:
    """In words: parameters that are trained, and the memory of gradients and moments."""
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in operator.parameters()]
    counts = [(p.numel(), p.requires_grad) for p in operator.parameters()]
    total, trained = sum(n for n, _ in counts), sum(n for n, on in counts if on)
    whole = _MOMENTS * sum(size for size, _ in sizes)
    needed = _MOMENTS * sum(size for size, on in sizes if on)
    line = f"trained are {trained:,} of {total:,} parameters ({trained / total:.1%})"
    if trained == total:
        return f"{line}; gradients and moments take {_bytes(needed)}"
    can_recompute = "checkpoint_activations" in plain(operator.config)
    more = " (operator.checkpoint_activations: true saves those)" if can_recompute else ""
    return (
        f"{line}; gradients and moments take {_bytes(needed)} instead of {_bytes(whole)}, and "
        f"activations as much as ever{more}"
    )


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
