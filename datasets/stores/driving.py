"""What is prescribed along stored trajectories: the store's own, or another file's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..fields.grid import Grid
from ..fields.prescribed import SAME, Needs, NotGiven, Prescribed, stacked
from ..fields.units import check_units
from .opening import open_store
from .store import Store
from .whole import prescribing

if TYPE_CHECKING:
    import xarray

TRAJECTORY = "trajectory"
LABELLED = (".nc", ".nc4", ".cdf", ".zarr")  # files that xarray opens itself


@dataclass(frozen=True)
class Driving:
    """What an operator takes as prescribed along trajectories of a store.

    Attributes:
        needs: what it takes.
        store: of the trajectories.
        source: a file or dataset that has it in place of the store, by name and physical time;
            None: the store itself.
    """

    needs: Needs
    store: Store
    source: str | None = None

    def require(self, trajectories: Sequence[int], frame: int, until: float) -> None:
        """Refuse, before any work is done, what is not given until the end of a forecast.

        Args:
            trajectories: of the store.
            frame: the last given one.
            until: the last lead time.

        Raises:
            ValueError: a name is missing, or not given at all times.
        """
        for i in trajectories if self.needs.names else ():
            if self.source is not None:
                self._of_file(i, frame, until)
            else:
                self._frames(i, frame, until)

    def of(self, trajectories: Sequence[int], frame: int, until: float) -> Prescribed | None:
        """What is prescribed along trajectories from a given frame on, as a batch.

        Args:
            trajectories: of the store.
            frame: the last given one.
            until: the last lead time; inf: as long as it is given.

        Raises:
            ValueError: as `require`, or a value is NaN or infinite.
        """
        parts = [self.along(i, frame, until) for i in trajectories]
        known = [part for part in parts if part is not None]
        return stacked(known, lambda values: torch.stack([*values])) if known else None

    def along(self, i: int, frame: int, until: float) -> Prescribed | None:
        """The same of one trajectory, without a batch axis."""
        if not self.needs.names:
            return None
        if self.source is not None:
            found = self._of_file(i, frame, until)
            return found and found.map(lambda value: value[0])
        frames, given = self._frames(i, frame, until), self._given
        if given is None:
            return None
        times = self.store.trajectory_times(i)[frames.start : frames.stop] - self._time(i, frame)
        values = given.read(i, frames.start, frames.stop)
        return Prescribed(given.fields, torch.from_numpy(times).float(), values).select(self._names)

    def _time(self, i: int, frame: int) -> float:
        return float(self.store.trajectory_times(i)[frame])

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """Those that the store has; what it lacks has a value of `fill`."""
        header, needs = self.store.sources[0].header, self.needs
        known = (*header.fields, *header.series)
        missing = [k for k in needs.names if k not in known and k not in needs.fill]
        if missing:
            raise NotGiven(
                f"this operator takes {', '.join(missing)} as prescribed at all times of a "
                f"forecast, and dataset {self.store.name!r} has no such field",
                ": rename the data, or give a file that has it by --prescribed-from (in Python "
                "prescribed=…)",
            )
        return tuple(name for name in needs.names if name in known)

    @cached_property
    def _given(self) -> Store | None:
        """The store of what is prescribed, also where its files do not say that it is."""
        if not self._names:
            return None
        given = prescribing(self.store, self._names).prescribed
        assert given is not None, "named above"
        of = f"dataset {given.name!r}"
        check_units("the operator", self.needs.units, of, given.units, self._names)
        return given

    def _frames(self, i: int, frame: int, until: float) -> range:
        """The stored frames from the given one until the last lead time."""
        names, times = self._names, self.store.trajectory_times(i)
        since = times - times[frame]
        until = since[-1] if until == math.inf else until
        slack = SAME * float(np.diff(times).max(initial=0.0))
        if names and since[-1] < until - slack:
            raise NotGiven(
                f"{', '.join(names)} is prescribed and must be given at all times of a forecast: "
                f"trajectory {i} of {self.store.name!r} has it until time {times[-1]:.10g}, and "
                f"{times[frame] + until:.10g} is asked for",
                "; ask for fewer steps, or give a file that has more of it by --prescribed-from "
                "(in Python prescribed=…)",
            )
        return range(frame, min(int(np.searchsorted(since, until - slack)), len(times) - 1) + 1)

    def _of_file(self, i: int, frame: int, until: float) -> Prescribed | None:
        assert self.source is not None
        store, moment = self.store, self._time(i, frame)
        data = _of_trajectory(opened(self.source), self.source, i, len(store))
        return from_labelled(data, self.needs, (store.grid, store.axes), moment, until)


def opened(source: str) -> xarray.Dataset:
    """A NetCDF or Zarr file, or a dataset of any layout, as labelled data.

    Raises:
        ValueError: it cannot be read.
    """
    if Path(source).suffix not in LABELLED:
        return open_store(source).to_xarray()
    from ..fields.labelled import open_labelled  # on use: xarray takes longer to load than the rest

    return open_labelled(source)


def from_labelled(
    data: xarray.Dataset,
    needs: Needs,
    where: tuple[Grid, tuple[str, ...]],
    moment: float,
    until: float,
) -> Prescribed | None:
    """What is needed from labelled data of one trajectory, with a batch axis.

    Args:
        data: has it by name.
        needs: what is wanted.
        where: the grid, and the names of its axes in the data.
        moment: the initial time.
        until: the last lead time; inf: as long as it is given.

    Raises:
        ValueError: as `labelled_prescribed.prescribed_in`.
    """
    from ..fields.labelled_prescribed import Place, prescribed_in  # on use, likewise

    return prescribed_in(data, needs, Place(*where), moment, until)


def _of_trajectory(data: xarray.Dataset, source: str, i: int, count: int) -> xarray.Dataset:
    """The data of trajectory i, where there are some of each, with their own times."""
    if TRAJECTORY in data.dims:
        known = data.sizes[TRAJECTORY]
        if known not in (1, count):
            raise ValueError(
                f"{source} has {known} trajectories, and the dataset {count}: give one for each, "
                "or one for all"
            )
        data = data.isel(trajectory=min(i, known - 1))
    if "physical_time" in data.coords and "time" in data.dims:
        data = data.assign_coords(time=data["physical_time"]).drop_vars("physical_time")
    return data
