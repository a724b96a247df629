"""Opened checkpoints and datasets, by the names under which they are served."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ...datasets.base.config import nearest
from ...datasets.stores.opening import open_store
from ...datasets.stores.store import Store
from ...operators.core.checkpoint import from_pretrained
from ...operators.core.operator import Operator
from .refusals import Unknown
from .served import Served

KEPT = 4  # of each, those used last
Item = TypeVar("Item")


class Shelf:
    """Opens what is served when it is asked for, and keeps what was used last.

    Args:
        served: names and places.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self._operators: OrderedDict[str, Operator] = OrderedDict()
        self._stores: OrderedDict[str, Store] = OrderedDict()

    def operator(self, name: str) -> Operator:
        """The operator of a checkpoint, to be computed with.

        Raises:
            ValueError: no checkpoint of this name is served, or it cannot be opened.
        """

        def load(place: str) -> Operator:
            return from_pretrained(place).to(self.served.device).eval()

        return _kept(self._operators, self.served.checkpoints, "checkpoint", name, load)

    def store(self, name: str) -> Store:
        """A dataset.

        Raises:
            ValueError: no dataset of this name is served, or it cannot be opened.
        """

        def load(place: str) -> Store:
            return open_store(place, self.served.split)

        return _kept(self._stores, self.served.datasets, "dataset", name, load)

    def without_places(self, text: str) -> str:
        """An error's text with names in the place of paths on this machine."""
        for name, place in (*self.served.checkpoints.items(), *self.served.datasets.items()):
            for path in (str(Path(place).absolute()), place):
                text = text.replace(path, name)
        return text


def _kept(
    known: OrderedDict[str, Item],
    places: Mapping[str, str],
    what: str,
    name: str,
    load: Callable[[str], Item],
) -> Item:
    if name not in places:
        remedy = nearest(name, [*places]) if places else ""
        none = "" if places else "; none is served: name some when you start the server"
        raise Unknown(f"no {what} {name[:60]!r} is served{remedy}{none}")
    if name not in known:
        known[name] = load(places[name])
    known.move_to_end(name)
    while len(known) > KEPT:
        known.popitem(last=False)
    return known[name]
