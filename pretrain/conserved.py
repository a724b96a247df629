"""Whether fields are conserved in data: a step that keeps their means must not bend the truth."""

from __future__ import annotations

from collections.abc import Sequence

from ..datasets.stores.store import Store
from .objectives.conservation import DRIFT

_LOOKED_AT = 4  # trajectories


def require_conserved(store: Store, names: Sequence[str]) -> None:
    """Refuse to keep means that move in the data.

    Raises:
        ValueError: one does.
    """
    if not names or store.steady:
        return  # the description refuses steady problems
    for name in names:
        if name not in store.fields:
            continue  # so does it names that it does not know
        channel = store.fields.index(name)
        for i in range(min(_LOOKED_AT, len(store))):
            last = store.n_frames(i) - 1
            mask = store.mask(i)
            here = ... if mask is None else mask[channel].expand(store.grid.shape)
            ends = [store.read(i, k, k + 1)[0, channel].double()[here] for k in (store.first, last)]
            if not ends[0].numel():
                continue  # masked entirely
            size = max(end.std(correction=0).item() for end in ends)
            moved = (ends[1].mean() - ends[0].mean()).abs().item()
            if moved > DRIFT * max(size, 1e-3 * ends[0].square().mean().sqrt().item()):
                raise ValueError(
                    f"conserved: the mean of {name} is not conserved in dataset {store.name} (it "
                    f"moves by {moved / max(size, 1e-30):.2g} deviations along trajectory {i}); "
                    "leave it out"
                )
