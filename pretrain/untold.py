"""What differs between trajectories and the operator is not told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..datasets.stores.store import Store
from ..operators.core.operator import Operator

SAME = 1e-6  # relative: a value in single and in double precision is one value


def untold(operator: Operator, stores: Sequence[Store]) -> list[str]:
    """What is said, at most a line, of parameters that differ between trajectories.

    An operator that does not know a viscosity learns what a mean one does: frames that look alike
    go on differently, and no objective makes up for it. Nothing is said of what it cannot be told
    (some datasets lack it, or it takes no conditions).
    """
    if not operator.conditioned:
        return []
    told = operator.description.conditions
    names = [name for name in differing(stores) if name not in told]
    if not names:
        return []
    text = ", ".join(names)
    return [
        f"{text} {'differs' if len(names) == 1 else 'differ'} between trajectories, which the "
        f"operator is not told; with conditions: [{', '.join([*told, *names])}] it is"
    ]


def differing(stores: Sequence[Store]) -> list[str]:
    """The parameters that all datasets have, and that differ between trajectories of any."""
    shared = [
        name
        for name in stores[0].parameter_names
        if all(name in store.parameter_names for store in stores)
    ]
    return [name for name in shared if _differs(stores, name)]


def _differs(stores: Sequence[Store], name: str) -> bool:
    columns = [store.parameter_table()[:, store.parameter_names.index(name)] for store in stores]
    values = np.concatenate(columns)
    return bool(values.max() - values.min() > SAME * np.abs(values).max())
