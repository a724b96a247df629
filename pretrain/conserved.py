"""Whether fields are conserved in data: a step that keeps their means must not bend the truth."""

from __future__ import annotations

from collections.abc import Sequence

from ..datasets.stores.store import Store
from .objectives.conservation import DRIFT

_LOOKED_AT = 4  # trajectories


def masked(store: Store) -> bool:
    """Whether fields are not predicted everywhere, as far as a few trajectories show."""
    return any(store.mask(i) is not None for i in range(min(_LOOKED_AT, len(store))))


def require_everywhere(store: Store, key: str, what: str) -> None:
    """Refuse fields that are masked in places, for a key of the recipe that looks at whole ones.

    Args:
        store: of the training data.
        key: of the recipe.
        what: it looks at.

    Raises:
        ValueError: fields are not predicted everywhere.
    """
    if masked(store):
        raise ValueError(
            f"{key}: fields of dataset {store.name} are masked in places, where {what} over the "
            "domain are not theirs; leave it out"
        )


def require_conserved(store: Store, names: Sequence[str]) -> None:
    """Refuse to keep means that move in the data.

    Raises:
        ValueError: one does, or fields are not predicted everywhere.
    """
    if not names or store.steady:
        return  # the description refuses steady problems
    if any(name in store.fields for name in names):
        require_everywhere(store, "conserved", "means")
    for name in names:
        if name not in store.fields:
            continue  # so does it names that it does not know
        channel = store.fields.index(name)
        for i in range(min(_LOOKED_AT, len(store))):
            last = store.n_frames(i) - 1
            ends = [store.read(i, k, k + 1)[0, channel].double() for k in (store.first, last)]
            size = max(end.std(correction=0).item() for end in ends)
            moved = (ends[1].mean() - ends[0].mean()).abs().item()
            if moved > DRIFT * max(size, 1e-3 * ends[0].square().mean().sqrt().item()):
                raise ValueError(
                    f"conserved: the mean of {name} is not conserved in dataset {store.name} (it "
                    f"moves by {moved / max(size, 1e-30):.2g} deviations along trajectory {i}); "
                    "leave it out"
                )
