"""Predictions from what people have: labelled data, stores, files, arrays; in kind.

    operator.predict(data, times=…)    # xarray.Dataset → xarray.Dataset, array → array

Fields are found by name, units converted; what comes back has the dimensions, coordinates and units
of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
import xarray
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.labelled import Labelled, Wanted, labelled, open_labelled
from ...datasets.fields.labelled_times import moment
from ...datasets.fields.window import Context
from . import showing as showing  # `dataset.pelagos` is known from here on
from .conditions import require_parameters
from .given import given, require_finite
from .history import require_rank
from .leads import Leads, lead_steps
from .perturbing import Member, Perturbation, members_of, perturbed
from .predicted import LEAD, MEMBER, Labels, assemble
from .rollout import rollout
from .surroundings import context_of
from .time_steps import TimeSteps
from .verdict import Start, judge
from .wishes import Wishes

if TYPE_CHECKING:
    from .operator import Operator

NETCDF, ENGINE = (".nc", ".nc4", ".cdf", ".zarr"), "pelagos"


@runtime_checkable
class HasXarray(Protocol):
    """Data that can be seen as an `xarray.Dataset`, as stores can."""

    def to_xarray(self) -> xarray.Dataset:
        """All of them, lazily."""
        ...


def predict(operator: Operator, data: Any, wishes: Wishes) -> Any:
    """What `Operator.predict` does."""
    if isinstance(data, (np.ndarray, Tensor)):
        return _from_array(operator, data, wishes)
    stored = isinstance(data, (str, Path, HasXarray))
    source = labelled(_dataset(data), wanted_of(operator, wishes))
    ensemble = wishes.members is not None
    _require_free_names(source, ensemble)
    window = _window(operator, source, wishes, stored)
    members = members_of(operator, wishes)
    fields = _all_frames(members, window, wishes)
    verdict = judge(operator, window.start(), fields if len(members) > 1 else fields[0])
    verdict.act(wishes.strict)
    labels = Labels(source, window.leads.leads, window.origin, window.context.mask, ensemble)
    return assemble(operator, fields if ensemble else fields[:1], labels, verdict)


def wanted_of(operator: Operator, wishes: Wishes) -> Wanted:
    """What an operator takes of labelled data."""
    about = operator.description
    return Wanted(
        fields=about.fields,
        ndim=operator.ndim,
        inputs=about.inputs,
        constant_fields=about.constant_fields,
        parameters=operator.parameter_names,
        units=about.units,
        fill=about.fill,
        grid=about.grid,
        axes=about.axes,
        given=wishes.parameters,
        prescribed=about.prescribed,
    )


def _require_free_names(source: Labelled, ensemble: bool) -> None:
    """Refuse data of which a dimension, or values along one, have a name that the answer needs.

    The number of one member that was chosen has no place beside those of the ensemble.
    """
    if LEAD in source.dims.samples:
        raise ValueError(
            f"the data have a dimension {LEAD!r} beside {source.dims.time!r}, which is what the "
            f"lead times of the forecast are called; rename theirs: data.rename({LEAD}='given_at')"
        )
    if not ensemble:
        return
    dimension = MEMBER in source.dims.order
    if dimension or (MEMBER in source.data.coords and source.data.coords[MEMBER].ndim):
        what, other = ("dimension", "trajectory") if dimension else ("coordinate", "given_member")
        raise ValueError(
            f"the data have a {what} {MEMBER!r} of their own, which is what the members of the "
            f"ensemble would be along; rename theirs: data.rename({MEMBER}='{other}')"
        )


@dataclass(frozen=True)
class Given:
    """From what, and when, it is predicted.

    Attributes:
        history: (N, T, C, *S).
        context: with a batch axis.
        leads: steps of the rollout.
        origin: the initial time, as the data have it; None where they have no times.
    """

    history: Tensor
    context: Context
    leads: Leads
    origin: Any = None

    def start(self) -> Start:
        """What the verdict looks at."""
        return Start(self.history, self.context, self.leads.increments, self.leads.leads)


def _dataset(data: Any) -> xarray.Dataset:
    if isinstance(data, xarray.Dataset):
        return data
    if isinstance(data, xarray.DataArray):
        if data.name is None:
            raise ValueError("a DataArray needs the name of its field: data.rename('u')")
        return data.to_dataset()
    if isinstance(data, (str, Path)):
        if Path(data).suffix in NETCDF:
            return open_labelled(data)
        return xarray.open_dataset(data, engine=ENGINE)
    if isinstance(data, HasXarray):
        return data.to_xarray()
    raise ValueError(
        "predict takes an xarray.Dataset, a store, a path, a tensor or a NumPy array; got "
        f"{type(data).__name__}"
    )


def _window(operator: Operator, source: Labelled, wishes: Wishes, stored: bool) -> Given:
    """The given frames, and the steps from them."""
    about, history = operator.description, operator.history
    if about.inputs:
        values, _ = source.history([0])
        context = source.context(None, None)
        return Given(values, context, lead_steps(operator, 1.0, steps=1, times=None))
    spacing = source.step()
    stride = 1
    if spacing is not None and (history > 1 or wishes.times is None or not operator.continuous):
        steps = TimeSteps(operator.name, about.time_steps, operator.continuous)
        stride = steps.stride(spacing, "the data")
    step = None if spacing is None else stride * spacing
    last = _initial_frame(source, wishes.start, (history - 1) * stride if stored else None)
    first = last - (history - 1) * stride
    if first < 0:
        raise ValueError(
            f"{operator.name} needs {history} frame(s){f', {step:g} apart' if step else ''}, and "
            f"there are {last // stride + 1} up to the initial time"
        )
    values, mask = source.history(range(first, last + 1, stride))
    origin = None if source.times is None else source.times[last]
    times = None
    if wishes.times is not None:
        zero = source.clock.after(0.0, (0.0,))[0] if origin is None else origin
        times = source.clock.leads(wishes.times, zero)
    count = wishes.steps
    if times is None and count is None:
        count = (source.frames - 1 - last) // stride
        if not count:
            raise ValueError(
                "say how far to predict, by times or steps: no frames follow the initial time"
            )
    leads = lead_steps(operator, step, steps=count, times=times, mode=wishes.mode)
    context = source.context(mask, step if history > 1 else None)
    if about.prescribed:
        other = None if wishes.prescribed is None else _dataset(wishes.prescribed)
        given = source.prescribed(origin, leads.leads[-1], other)
        if given is not None:
            given.warn_between(leads.moments)
        context = replace(context, prescribed=given)
    return Given(values, context, leads, origin)


def _initial_frame(source: Labelled, start: Any, default: int | None) -> int:
    """The number of the last given frame."""
    if start is None:
        return source.frames - 1 if default is None else min(default, source.frames - 1)
    if source.times is None:
        return _numbered(start, source.frames)
    try:
        gaps = np.abs(source.clock.since(source.times, moment(start, source.times[0])))
    except (AttributeError, TypeError, ValueError):  # numbers beside dates, texts that are none
        raise ValueError(
            f"start must be a time of the data, such as {source.times[0]}; got {start!r}"
        ) from None
    found = int(gaps.argmin())
    if not gaps[found] <= 1e-3 * (source.step() or 0.0):  # also what is NaN
        raise ValueError(
            f"no frame is at {start}: the data have {source.times[0]} to {source.times[-1]}; the "
            f"nearest is at {source.times[found]}"
        )
    return found


def _numbered(start: Any, frames: int) -> int:
    """The number of the last given frame of data without times."""
    if not isinstance(start, Integral) or not 0 <= int(start) < frames:
        raise ValueError(
            f"the data have no times: start is the number of a frame, 0 to {frames - 1}; got "
            f"{start!r}"
        )
    return int(start)


def _from_array(operator: Operator, data: Any, wishes: Wishes) -> Any:
    """Arrays (T, C, *S) or (N, T, C, *S) to arrays of as many predicted frames."""
    if wishes.prescribed is not None:
        raise ValueError(
            "arrays have no times, so that prescribed=… cannot be told to go with them: give an "
            "xarray.Dataset, or Context(prescribed=…) to operator.rollout"
        )
    taken = given(data, operator.ndim, next(operator.parameters(), torch.zeros(())))
    require_rank(taken.history, operator.name, operator.ndim)
    require_finite(taken.history, operator.description.channels)
    frames = taken.history.shape[1]
    last = frames - 1 if wishes.start is None else _numbered(wishes.start, frames)
    history = taken.history[:, max(0, last + 1 - operator.history) : last + 1]
    about = operator.description
    context = context_of(history, about)
    if wishes.parameters:
        require_parameters(operator.parameter_names, wishes.parameters, operator.name)
        names = tuple(wishes.parameters)
        values = torch.tensor([float(v) for v in wishes.parameters.values()])
        context = replace(
            context, parameter_names=names, parameters=values.expand(len(history), -1)
        )
    if wishes.times is None and wishes.steps is None and not about.inputs:
        raise ValueError("say how far to predict, by times or steps")
    times = None if wishes.times is None else tuple(float(t) for t in wishes.times)
    steps = 1 if about.inputs else wishes.steps
    leads = lead_steps(operator, None, steps=steps, times=times, mode=wishes.mode)
    window, members = Given(history, context, leads), members_of(operator, wishes)
    fields = _all_frames(members, window, wishes)
    judge(operator, window.start(), fields if len(members) > 1 else fields[0]).act(wishes.strict)
    result = fields if wishes.members is not None else fields[0]
    if taken.single:
        result = result.squeeze(1 if wishes.members is not None else 0)
    return result.cpu().numpy() if taken.array else result.to(taken.history)


def _all_frames(
    members: list[Member], window: Given, wishes: Wishes
) -> Float[Tensor, "M N T C *S"]:
    """The wanted frames of all members, on the host."""
    fields = window.context.fields
    count = len(window.history)
    shape = (len(members), count, len(window.leads.kept), len(fields), *window.context.grid.shape)
    found, how = torch.empty(shape), Perturbation(wishes.perturbation, wishes.seed)
    for m, member in enumerate(members):
        history = perturbed(window.history, member.number, how, window.context.mask)
        dataset = ""
        for begin in range(0, count, wishes.batch):
            rows = slice(begin, begin + wishes.batch)
            context = window.context.map(lambda value, rows=rows: value[rows])
            context = replace(context, dataset=dataset or context.dataset)
            frames = _frames(member.operator, history[rows], context, window.leads)
            for k, frame, taken_for in frames:
                found[m, rows, k], dataset = frame.cpu().float(), taken_for
    return found


def _frames(
    operator: Operator, history: Tensor, context: Context, leads: Leads
) -> Iterator[tuple[int, Tensor, str]]:
    """Number and fields of the wanted frames, and the dataset that the data were taken for."""
    like = next(operator.parameters(), torch.zeros(()))
    history, context = history.to(like), context.to(like.device)
    training = operator.training
    operator.eval()
    try:
        with torch.inference_mode():
            state = operator.init(history, context)
            wanted = {step: k for k, step in enumerate(leads.kept)}
            if leads.direct:
                for k, lead in enumerate(leads.increments):
                    yield k, next(rollout(operator, state, [lead])), state.context.dataset
                return
            for step, frame in enumerate(rollout(operator, state, leads.increments)):
                if step in wanted:
                    yield wanted[step], frame, state.context.dataset
    finally:
        operator.train(training)
