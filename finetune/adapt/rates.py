"""Peak learning rates of fine-tuning: by name, by part of the operator, by depth."""

from __future__ import annotations

from collections.abc import Mapping

from ...operators.core.operator import Operator
from ...operators.core.parts import members
from .methods.naming import parts_of
from .recipe import FinetuneRecipe


def rates_of(recipe: FinetuneRecipe, operator: Operator) -> dict[str, float]:
    """Peak learning rates by name of a module or parameter, where they differ from the recipe's.

    `learning_rates` names modules, parameters, or parts of the operator (`embedding`, `blocks`,
    `recovery`, `norms`). What it does not name learns more slowly the further it is from the
    output, where the recipe has a `layer_decay` d: block i of n by dⁿ⁻ⁱ, the embedding by dⁿ⁺¹.

    Raises:
        ValueError: the operator does not name its parts, and the recipe needs them.
    """
    rates = _by_module(recipe.learning_rates, operator)
    names = [name for name, _ in operator.named_parameters()]
    unknown = {part: rate for part, rate in rates.items() if not any(members(names, [part]))}
    if recipe.layer_decay is None or unknown:  # the optimizer refuses what is unknown, by name
        return rates
    depths, found = _depths(operator, names), {}
    for name in names:
        given = max((p for p in rates if any(members([name], [p]))), key=len, default=None)
        decay = recipe.layer_decay ** depths.get(name, 0)
        found[name] = recipe.optimizer.learning_rate * decay if given is None else rates[given]
    return found


def _by_module(given: Mapping[str, float], operator: Operator) -> dict[str, float]:
    """Names of parts replaced by those of their modules and parameters."""
    names = [name for name, _ in operator.named_parameters()]
    parts, rates = operator.parts().named(), {}
    for key, rate in given.items():
        own = any(members(names, [key]))
        chosen = [key] if own else [m for m in parts.get(key, ()) if any(members(names, [m]))]
        rates |= dict.fromkeys(chosen or [key], rate)
    return rates


def _depths(operator: Operator, names: list[str]) -> dict[str, int]:
    """How many blocks lie between a parameter and the output, where that counts."""
    parts = parts_of(operator, "layer_decay")
    count, depths = len(parts.blocks), {}
    for i, block in enumerate(parts.blocks):
        depths |= dict.fromkeys(members(names, block), count - i)
    return depths | dict.fromkeys(members(names, parts.embedding), count + 1)
