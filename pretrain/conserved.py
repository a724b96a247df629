"""Whether fields are conserved in data: a step that keeps their means must not bend the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.stores.store import Store
from .objectives.conservation import DRIFT

_LOOKED_AT = 4  # trajectories
_FRAMES = 9  # of each
_GOLDEN = (math.sqrt(5) - 1) / 2
_STIRRED = 0.01  # deviations by which a field changes at least, where its mean tells anything
_ROUNDING = 1e-5  # of its size, below which a change is none


@dataclass(frozen=True)
class Moved:
    """How far the mean of a field over the domain moves along a trajectory, in the field's unit.

    Attributes:
        trajectory: which one.
        mean: the largest distance from the first mean.
        deviation: over space, of the frame that has it, or of the first if that is larger.
        size: root mean square of the first frame.
        change: the largest root mean square of what the field itself changes by.
    """

    trajectory: int
    mean: float
    deviation: float
    size: float
    change: float

    @property
    def kept(self) -> bool:
        """Whether the mean is the same, up to what rounding explains."""
        return self.mean <= DRIFT * max(self.deviation, 1e-3 * self.size)

    @property
    def shows(self) -> bool:
        """Whether the field changes so much that a mean that moves would be seen."""
        return self.change > max(_STIRRED * self.deviation, _ROUNDING * self.size)


def require_conserved(store: Store, names: Sequence[str]) -> None:
    """Refuse to keep means that move in the data.

    Raises:
        ValueError: one does.
    """
    for name in names:
        if found := moves(store, name):
            raise ValueError(
                f"conserved: the mean of {name} is not conserved in dataset {store.name} "
                f"({told(found)}); leave it out"
            )


def moves(store: Store, name: str) -> Moved | None:
    """A trajectory along which the mean of a field moves; None: of those looked at, along none.

    A steady problem has no time in which it could, and a field that is not there has no mean.
    """
    if store.steady or name not in store.fields:
        return None
    return next((found for found in _moved(store, name) if not found.kept), None)


def kept(names: Sequence[str], stores: Sequence[Store]) -> tuple[str, ...]:
    """Those of the names whose mean moves in none of the stores, as far as is looked."""
    return tuple(name for name in names if not any(moves(store, name) for store in stores))


def told(moved: Moved) -> str:
    """How far, in words."""
    deviations = moved.mean / max(moved.deviation, 1e-30)
    return f"it moves by {deviations:.2g} deviations along trajectory {moved.trajectory}"


def keeps_mean(store: Store, name: str) -> bool:
    """Whether data show that the mean of a field over the domain stays the same.

    They do where the field changes, and its mean does not, by a thousandth of that. Masked fields
    do not: what flows through the mask's edge is not known.
    """
    if store.steady or name not in store.fields:
        return False
    if any(store.mask(i) is not None for i in _spread(len(store), _LOOKED_AT)):
        return False
    seen = [*_moved(store, name)]
    showing = [found for found in seen if found.shows]
    still = all(found.mean <= DRIFT * found.change for found in showing)
    return still and bool(showing) and all(found.kept for found in seen)


def _moved(store: Store, name: str) -> Iterator[Moved]:
    """Of trajectories that are spread over a store; without those that have nothing to compare."""
    for i in _spread(len(store), _LOOKED_AT):
        found = _along(store, store.fields.index(name), i)
        if found is not None:
            yield found


def _along(store: Store, channel: int, i: int) -> Moved | None:
    """Of one trajectory, as far as some frames show; those with missing values are passed over."""
    mask, whole = store.mask(i), store.whole_frames(i)
    here = ... if mask is None else mask[channel].expand(store.grid.shape)
    frames = range(store.first, store.n_frames(i))
    known = [k for k in frames if whole is None or whole[k]]
    if len(known) < 2:
        return None
    places = _uneven(len(known), _FRAMES)
    first, *later = (
        store.read(i, known[p], known[p] + 1)[0, channel].double()[here] for p in places
    )
    if not first.numel():
        return None  # masked entirely
    furthest = max(later, key=lambda frame: (frame.mean() - first.mean()).abs().item())
    return Moved(
        i,
        (furthest.mean() - first.mean()).abs().item(),
        max(first.std(correction=0).item(), furthest.std(correction=0).item()),
        first.square().mean().sqrt().item(),
        max((frame - first).square().mean().sqrt().item() for frame in later),
    )


def _spread(count: int, most: int) -> list[int]:
    """So many indices below a count, from the first to the last."""
    places = np.linspace(0, count - 1, min(most, count))
    return np.unique(places.round().astype(int)).tolist()


def _uneven(count: int, most: int) -> list[int]:
    """So many indices below a count, the first and the last among them, at no equal distances.

    At equal ones a mean that swings (with the day, say) may be the same every time.
    """
    if count <= most:
        return [*range(count)]
    inner = np.arange(1, most - 1) * _GOLDEN % 1 * (count - 1)
    return np.unique([0, *inner.round().astype(int), count - 1]).tolist()
