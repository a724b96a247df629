"""Where an estimate starts: from stored frames, or from nothing but grid and parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ...datasets.fields.grid import Grid
from ...datasets.fields.units import check_units, conversion
from ...datasets.fields.vocabulary import AXES
from ...datasets.fields.window import Context
from ...datasets.stores.driving import Driving, from_labelled, opened
from ...datasets.stores.store import Store
from ...operators.assimilation.operator import AssimilatingOperator
from ...operators.core.operator import Operator
from .observations import Dates


@dataclass(frozen=True)
class Start:
    """Where an estimate starts.

    Attributes:
        context: fields, grid, parameters; tensors with a batch axis of 1.
        time: physical time.
        history: (1, T, C, *S), or None where nothing is known.
        units: as the dataset of the history says.
        axes: names of its coordinates; none without a dataset.
        dates: how its times count since a date, if they do.
    """

    context: Context
    time: float
    history: torch.Tensor | None
    units: Mapping[str, str]
    axes: tuple[str, ...] = ()
    dates: Dates | None = None


def require_assimilating(operator: Operator) -> AssimilatingOperator:
    """The same operator, known to assimilate.

    Raises:
        ValueError: it only predicts.
    """
    if not operator.assimilates:
        raise ValueError(
            f"this {operator.name} predicts but cannot assimilate; wrap it "
            "(pelagos.operators.assimilate) and train the correction, or train an observer"
        )
    assert isinstance(operator, AssimilatingOperator), "what `assimilates` means"
    return operator


def start_cold(
    operator: Operator,
    grid: Grid | None,
    parameters: Mapping[str, float],
    time: float,
    prescribed: str | None = None,
) -> Start:
    """A start that knows nothing but the grid and the parameters.

    Args:
        operator: its description has the training grid, used where `grid` is None.
        grid: the domain.
        parameters: by name.
        time: physical time of the start.
        prescribed: a file that has what is prescribed, by name and physical time.

    Raises:
        ValueError: no grid is known, or the file does not have what is prescribed.
    """
    description = operator.description
    grid = grid or description.grid
    if grid is None:
        raise ValueError(
            "the checkpoint was trained on several grids; say which with --history DATASET"
        )
    names = tuple(parameters)
    values = torch.tensor([[parameters[name] for name in names]]) if names else None
    context = Context(description.fields, grid, parameters=values, parameter_names=names)
    if description.prescribed and prescribed is not None:
        axes = description.axes or AXES[: grid.ndim]
        data, needs = opened(prescribed), description.needs
        found = from_labelled(data, needs, (grid, axes), time, math.inf)
        context = replace(context, prescribed=found)
    return Start(context, time, None, description.units)


def start_from(
    operator: Operator,
    store: Store,
    trajectory: int,
    frame: int,
    prescribed: str | None = None,
) -> Start:
    """A start from stored frames, the last of which is `frame`.

    Args:
        operator: takes them.
        store, trajectory: of the frames.
        frame: the last given one.
        prescribed: a file that has what is prescribed, in place of the store.

    Raises:
        ValueError: no such trajectory or frames, or a field is missing.
    """
    if not 0 <= trajectory < len(store):
        raise ValueError(f"{store.name!r} has {len(store)} trajectories; got {trajectory}")
    history = operator.history
    first = frame - history + 1
    if first < 0 or frame >= store.n_frames(trajectory):
        raise ValueError(
            f"a history of {history} frame(s) up to frame {frame} does not fit trajectory "
            f"{trajectory} of {store.name!r}, which has {store.n_frames(trajectory)}"
        )
    description = operator.description
    named = description.named
    check_units("the operator", description.units, f"dataset {store.name!r}", store.units, named)
    window = store.window(trajectory, first, history, 0).select(description.fields)
    context = replace(window.context, prescribed=None).map(lambda tensor: tensor[None])
    time = float(store.trajectory_times(trajectory)[frame])
    driving = Driving(description.needs, store, prescribed)
    context = replace(context, prescribed=driving.of([trajectory], frame, math.inf))
    axes, dates = tuple(store.axes), _dates_of(store)
    return Start(context, time, window.history[None], store.units, axes, dates)


def _dates_of(store: Store) -> Dates | None:
    origin = store.provenance.get("time")
    if not isinstance(origin, Mapping) or not origin.get("units"):
        return None
    units = str(origin["units"])
    counted = units.split(" since ")[0]
    found = conversion(counted, store.units.get("time") or counted)
    scale = 1.0 if found is None else found[0]
    return Dates(units, str(origin["calendar"]), float(origin["first"]), scale)
