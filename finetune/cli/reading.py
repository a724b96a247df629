"""The options of commands that read a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyclopts import Parameter

from ...datasets.base.options import Layout

if TYPE_CHECKING:
    from ...datasets.stores.store import Store


@Parameter(name="*")
@dataclass(frozen=True)
class Reading:
    """Which part of a dataset, and how its files are read.

    Attributes:
        split: only this split: train, valid or test.
        layout: what contents cannot tell, as in Poseidon:CE-KH or PDEBench:open, or the path of a
            description.yaml.
    """

    split: str | None = None
    layout: Layout | None = None

    def open(self, path: str) -> Store:
        """The dataset.

        Raises:
            ValueError: as `open_store`.
        """
        from ...datasets.stores.opening import open_store

        return open_store(path, self.split, self.layout)


@Parameter(name="*")
@dataclass(frozen=True)
class OneSplit(Reading):
    """One split of a dataset, and how its files are read.

    Attributes:
        split: which split: train, valid, test or all.
        layout: what contents cannot tell, as in Poseidon:CE-KH or PDEBench:open, or the path of a
            description.yaml.
    """

    split: str | None = "test"

    def open(self, path: str) -> Store:
        """The dataset; see `Reading.open`."""
        return Reading(None if self.split == "all" else self.split, self.layout).open(path)
