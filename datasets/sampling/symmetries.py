"""Which symmetries of space the data of a store have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..fields.grid import Grid
from ..fields.vocabulary import INVARIANT, ODD
from ..stores.store import Store
from .kinds import COORDINATE, Kind, kind_of

PARITIES = ("even", "odd")

# What a moving frame leaves alone.
_AT_REST = {*INVARIANT} - {"energy"} | ODD
_PERIODIC, _FORCING = "periodic", "forcing"


class Symmetries:
    """What may be done to the windows of a store, and along which axes.

    Args:
        store: of the windows.
        fields: the fields of the windows.
        parity: "even" or "odd" for names that do not say it; see `augmentation.Augmentation`.

    Attributes:
        periodic: the axes that wrap around.
        flippable: the axes whose two ends are alike.
        alike: groups of two or more flippable axes with the same points, length and boundary.
        kinds: what each quantity is, by name; None where nothing says so.

    Raises:
        ValueError: `parity` says something else than "even" or "odd", or of no such name.
    """

    def __init__(self, store: Store, fields: Sequence[str], parity: Mapping[str, str]) -> None:
        self._store, self._fields, self._parity = store, tuple(fields), dict(parity)
        grid = store.grid
        self.periodic = [i for i in range(grid.ndim) if grid.boundary[i] == _PERIODIC]
        self.flippable = [i for i in range(grid.ndim) if "-" not in grid.boundary[i]]
        self.alike = _alike(grid, self.flippable)
        self._prescribed = () if store.prescribed is None else store.prescribed.fields
        names = (*self._fields, *store.inputs, *store.constant_fields, *store.parameter_names)
        names += self._prescribed
        self._names = tuple(dict.fromkeys(names))
        for name, value in self._parity.items():
            if name not in self._names or value not in PARITIES:
                raise ValueError(
                    f"parity says for names of {store.name!r} ({', '.join(self._names)})"
                    f" whether they are even or odd; got {name}: {value}"
                )
        self.kinds = {name: kind_of(name, store.axes, self._parity) for name in self._names}

    @property
    def checks(self) -> Mapping[str, Callable[[], None]]:
        """Name -> what refuses it, in a ValueError that says why, where the data do not have it."""
        return {
            "flip": self._check_flip,
            "rotate": self._check_rotate,
            "roll": self._check_roll,
            "galilean": self._check_galilean,
        }

    def _check_flip(self) -> None:
        if not self.flippable:
            self._refuse("flip", "every axis has two different ends")
        self._require_kinds("flip")

    def _check_rotate(self) -> None:
        if not self.alike:
            grid = self._store.grid
            self._refuse(
                "rotate",
                f"no two axes are alike: {grid.shape} points, lengths {grid.lengths}, boundary "
                f"{grid.boundary}",
            )
        self._require_kinds("rotate")
        self._require_partners()

    def _check_roll(self) -> None:
        if not self.periodic:
            self._refuse("roll", "no axis is periodic")
        self._require_no_forcing("roll")

    def _check_galilean(self) -> None:
        store, names = self._store, self._fields
        velocity = [f"velocity_{store.axes[i]}" for i in self.periodic]
        constants = [k for k in store.constant_fields if not k.startswith(COORDINATE)]
        constants += self._prescribed
        others = [n for n in names if n not in (*self._parity, *_AT_REST)]
        others = [n for n in others if not n.startswith("velocity_")]
        if not velocity or any(name not in names for name in velocity):
            wanted = ", ".join(velocity) or "a periodic axis"
            self._refuse("galilean", f"a moving frame needs {wanted}")
        if constants or store.mask(0) is not None:
            held = ", ".join(constants) or "its mask"
            self._refuse("galilean", f"{held} would have to move along")
        if others:
            self._refuse("galilean", f"a moving frame changes {', '.join(others)}")
        self._require_no_forcing("galilean")
        self._require_kinds("galilean", store.parameter_names)

    def _require_kinds(self, augmentation: str, names: Sequence[str] | None = None) -> None:
        self._require_no_forcing(augmentation)
        names = self._names if names is None else names
        unknown = [name for name in names if self.kinds[name] is None]
        if unknown:
            self._refuse(
                augmentation,
                f"it is not known how {', '.join(unknown)} change under a reflection; say so, as "
                f"in parity: {{{unknown[0]}: odd}} (a velocity or advection speed in 1D) or even",
            )

    def _require_no_forcing(self, augmentation: str) -> None:
        forcing = [
            name
            for name in self._store.parameter_names
            if _FORCING in name and name not in self._parity
        ]
        if forcing:
            self._refuse(
                augmentation,
                f"a forcing that is fixed in space ({', '.join(forcing)}) would have to move along",
            )

    def _require_partners(self) -> None:
        """Refuse vectors and tensors of which a rotation would need other components."""
        store = self._store
        groups = self._fields, store.inputs, store.constant_fields, store.parameter_names
        for group in (*groups, self._prescribed):
            kinds: list[Kind | None] = [self.kinds[name] for name in group]
            for name, kind in zip(group, kinds, strict=True):
                for turned in kind.turned(self.alike) if kind else ():
                    if turned not in kinds:
                        axes = "".join(store.axes[i] for i in turned.indices)
                        self._refuse("rotate", f"{name} has no partner {turned.stem}_{axes}")

    def _refuse(self, augmentation: str, reason: str) -> None:
        raise ValueError(f"{self._store.name!r} cannot be augmented by {augmentation}: {reason}")


def _alike(grid: Grid, axes: Sequence[int]) -> list[list[int]]:
    """Groups of two or more axes with the same points, length and boundary."""
    groups: dict[tuple[int, float, str], list[int]] = {}
    for i in axes:
        key = (grid.shape[i], float(f"{grid.lengths[i]:.5g}"), grid.boundary[i])
        groups.setdefault(key, []).append(i)
    return [group for group in groups.values() if len(group) > 1]
