"""The same trajectories with more, or nothing, taken as prescribed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..layouts.source import Source
from .prescribing import marked, unmarked
from .store import Store


def whole(store: Store) -> Store:
    """The same trajectories with the prescribed fields among the others, as they are stored.

    For whoever looks at data, or writes them; prescribed scalars are not among its fields.
    """
    return store if store.prescribed is None else _changed(store, unmarked)


def prescribing(store: Store, names: Sequence[str]) -> Store:
    """The same trajectories, of which these fields and scalars are prescribed, too.

    Raises:
        ValueError: there is none of such a name, or nothing would be predicted.
    """
    given = () if store.prescribed is None else store.prescribed.fields
    if set(names) <= set(given):
        return store
    return _changed(store, lambda source: marked(source, names))


def _changed(store: Store, change: Callable[[Source], Source]) -> Store:
    """A store of changed sources of the same trajectories, in the same splits."""
    parts, start = [], 0
    for source in store.sources:
        split = next(name for name, part in store.splits.items() if start in part)
        parts.append((split, change(source)))
        start += len(source)
    return Store(parts)
