"""Windows of a store's trajectories."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..fields.grid import spacing
from ..fields.prescribed import Prescribed
from ..fields.window import Context, Window

if TYPE_CHECKING:
    from .store import Store


@dataclass(frozen=True)
class Span:
    """Which frames a window has: history frames from `start` on, then target frames."""

    start: int = 0
    history: int = 1
    horizon: int = 1
    stride: int = 1

    @property
    def stop(self) -> int:
        """The frame after the last one."""
        return self.start + self.stride * (self.history + self.horizon - 1) + 1


def cut(store: Store, i: int, span: Span) -> Window:
    """A window of trajectory i; see `Store.window`.

    Raises:
        ValueError: the trajectory is too short, or a value is NaN or infinite.
    """
    if store.steady:
        return _steady(store, i, span)
    start, history, horizon, stride = span.start, span.history, span.horizon, span.stride
    stop, every = span.stop, store.trajectory_times(i)
    if min(history, horizon + 1, stride) < 1 or start < 0 or stop > len(every):
        raise ValueError(
            f"no window of {history} history and {horizon} target frames at stride {stride} "
            f"from frame {start}: trajectory {i} has {len(every)} frames"
        )
    line = store.timeline(i)
    for gap in line.breaks:
        if not start < gap < stop:
            continue
        before, after = every[gap - 1 : gap + 1]
        raise ValueError(
            f"no window of trajectory {i} of {store.name!r} crosses the gap between its frames "
            f"{gap - 1} and {gap}, from time {before:.10g} to {after:.10g}; frames are "
            f"{line.step:g} apart elsewhere"
        )
    frames = store.read(i, start, stop, stride)
    times = every[start:stop:stride]
    uniform = store.dt is not None and start >= store.first
    common = store.dt if uniform else line.step
    step = spacing(times) if common is None else stride * common
    if step is None:
        lead = times[history:] - times[history - 1]
    else:
        lead = step * np.arange(1, horizon + 1)
    context = _context(store, i, None if history == 1 else step, store.mask_after_reading(i))
    if store.prescribed is not None:
        before = times[:history] - times[history - 1]
        if step is not None:
            before = step * np.arange(1 - history, 1)
        given = torch.from_numpy(np.concatenate((before, lead)).astype(np.float32))
        values = store.prescribed.read(i, start, stop, stride)
        context = replace(context, prescribed=Prescribed(store.prescribed.fields, given, values))
    return Window(
        frames[:history], frames[history:], torch.from_numpy(lead.astype(np.float32)), context
    )


def _steady(store: Store, i: int, span: Span) -> Window:
    """The input fields as one history frame → the fields, at the lead time 1."""
    start, history, horizon, stride = span.start, span.history, span.horizon, span.stride
    if (start, history, stride) != (0, 1, 1) or horizon not in (0, 1):
        raise ValueError(
            f"{store.name!r} is a steady problem ({', '.join(store.inputs)} → "
            f"{', '.join(store.fields)}): its windows have 1 history and 1 target frame at "
            f"stride 1; got {history} and {horizon} at stride {stride} from frame {start}"
        )
    target = store.read(i, 0, horizon)
    context = _context(store, i, None, store.mask(i))
    assert context.constants is not None
    index = [store.constant_fields.index(name) for name in store.inputs]
    return Window(
        context.constants[index].unsqueeze(0),
        target,
        torch.ones(horizon),
        replace(context, inputs=store.inputs),
    )


def _context(store: Store, i: int, dt: float | None, mask: Tensor | None) -> Context:
    """What stays the same along trajectory i, whose history frames are `dt` apart."""
    return Context(
        fields=store.fields,
        grid=store.grid,
        dt=dt,
        dataset=store.name,
        constants=store.constants(i),
        constant_fields=store.constant_fields,
        parameters=store.parameters(i),
        parameter_names=store.parameter_names,
        mask=mask,
    )
