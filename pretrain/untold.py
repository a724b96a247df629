"""What differs between trajectories and the operator is not told."""

from __future__ import annotations

from collections.abc import Sequence

from ..datasets.stores.store import Store
from ..operators.core.operator import Operator


def untold(operator: Operator, stores: Sequence[Store]) -> list[str]:
    """What is said, a line for each dataset, of parameters that differ between its trajectories.

    An operator that does not know a viscosity learns what a mean one does: frames that look alike
    go on differently, and no objective makes up for it. Nothing is said of what it cannot be told
    (other datasets lack it, or it takes no conditions).
    """
    if not operator.conditioned:
        return []
    shared = {name for name in stores[0].parameter_names}
    shared.intersection_update(*(store.parameter_names for store in stores))
    lines, told = [], operator.description.conditions
    for store in stores:
        columns = zip(store.parameter_names, store.parameter_table().T, strict=True)
        names = [
            name
            for name, values in columns
            if name in shared and name not in told and values.max() > values.min()
        ]
        if names:
            lines.append(
                f"{', '.join(names)} of {store.name} differs between trajectories, which the "
                f"operator is not told; with conditions: [{', '.join([*told, *names])}] it is"
            )
    return lines
