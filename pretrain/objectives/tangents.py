"""Products with the Jacobian of a model's prediction and with its transpose."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import forward_ad

from ...datasets.fields.window import Window


def pushed(
    model: nn.Module, window: Window, tangent: Float[Tensor, "B T C *S"]
) -> Float[Tensor, "B K C *S"]:
    """J v: how the prediction changes along a tangent of the history (one forward-mode pass).

    It has a gradient where gradients are recorded.

    Raises:
        ValueError: the model has no forward mode.
    """
    try:
        with forward_ad.dual_level():
            history = forward_ad.make_dual(window.history, tangent)
            prediction = model(replace(window, history=history))
            found = forward_ad.unpack_dual(prediction).tangent
    except (NotImplementedError, RuntimeError) as error:
        if "forward" not in str(error).lower():
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"the operator cannot be differentiated forwards: {reason}") from None
    if found is None:  # the prediction does not depend on the history
        return torch.zeros_like(window.target)
    return found


def pulled(
    model: nn.Module, window: Window, tangent: Float[Tensor, "B K C *S"]
) -> Float[Tensor, "B T C *S"]:
    """Jᵀ v: how much of v each value of the history has caused; without a graph of its own."""
    with torch.enable_grad():
        history = window.history.detach().requires_grad_()
        prediction = model(replace(window, history=history))
        (found,) = torch.autograd.grad(prediction, history, tangent)
    return found
