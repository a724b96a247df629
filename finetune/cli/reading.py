"""The options of commands that read a dataset."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cyclopts import Parameter

from ...datasets.base.options import Count, Layout, Units

if TYPE_CHECKING:
    from ...datasets.base.spreading import Spread
    from ...datasets.stores.store import Store


@Parameter(name="*")
@dataclass(frozen=True)
class Reading:
    """Which part of a dataset, and how its files are read.

    Attributes:
        split: only this split: train, valid or test.
        layout: what contents cannot tell, as in Poseidon:CE-KH or PDEBench:open, or the path of a
            description.yaml.
        units: convert a field, a parameter, time or length to a unit, as in u=m/s; repeatable.
        prescribed: take this field, or scalar over time, as known at all times and not predicted,
            beside those that the files say; repeatable.
    """

    split: str | None = None
    layout: Layout | None = None
    units: Units = field(default_factory=dict)
    prescribed: tuple[str, ...] = ()

    def open(self, path: str) -> Store:
        """The dataset.

        Raises:
            ValueError: as `open_store`.
        """
        from ...datasets.stores.opening import open_store

        given = self.prescribed
        return open_store(path, self.split, self.layout, units=self.units, prescribed=given)


@Parameter(name="*")
@dataclass(frozen=True)
class OneSplit(Reading):
    """One split of a dataset, and how its files are read.

    Attributes:
        split: which split: train, valid, test or all.
        layout: what contents cannot tell, as in Poseidon:CE-KH or PDEBench:open, or the path of a
            description.yaml.
        units: convert a field, a parameter, time or length to a unit, as in u=m/s; repeatable.
        prescribed: take this field, or scalar over time, as known at all times and not predicted,
            beside those that the files say; repeatable.
    """

    split: str | None = "test"

    def open(self, path: str) -> Store:
        """The dataset; see `Reading.open`."""
        split = None if self.split == "all" else self.split
        return Reading(split, self.layout, self.units, self.prescribed).open(path)


@Parameter(name="*")
@dataclass(frozen=True)
class HeldOut(OneSplit):
    """As `OneSplit`, of trajectories that were held out."""

    __doc__ = OneSplit.__doc__
    # Not as the command's default: another option of reading would bring the class's own back.
    split: str | None = "valid"


@Parameter(name="*")
@dataclass(frozen=True)
class Spreading:
    """How many processes make the files of a dataset; the files are the same for any number.

    Attributes:
        workers: processes on this machine.
        share: the part of the files that this call makes, as in 2/8, the third of eight; auto: what
            torchrun or a SLURM array says, or all; all.
    """

    workers: Count = 1
    share: str = "auto"

    def spread(self) -> Spread:
        """The same, for the library; says so where it is a share.

        Raises:
            ValueError: there is no such share.
        """
        from ...datasets.base.spreading import Share, Spread, launched_share

        index, slash, count = self.share.partition("/")
        if slash and index.isdecimal() and count.isdecimal():
            share = Share(int(index), int(count))
        elif self.share in ("auto", "all"):
            share = launched_share() if self.share == "auto" else Share()
        else:
            raise ValueError(f"--share needs auto, all or a part as in 2/8; got {self.share!r}")
        if share.count > 1:
            said = f", as {share.launcher} says; --share all makes all" if share.launcher else ""
            print(f"share {share.index}/{share.count} of the files{said}", file=sys.stderr)
        return Spread(self.workers, share, progress=True)
