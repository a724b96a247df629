"""In which ranges training data are, for verdicts on predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..datasets.fields.features import FEATURES, features
from ..datasets.stores.store import Store
from ..datasets.stores.survey import blocks
from ..operators.core.cloud import cloud_of
from ..operators.core.trained import Range, Ranges
from ..operators.core.verdict import drift

BLOCK = 2**22  # values that are read at once
TRAJECTORIES, FRAMES = 48, 4  # that are looked at, of every dataset
GENERATED = 8  # trajectories, where each is simulated when it is read


def trained_ranges(
    stores: Sequence[Store], channels: Sequence[str], prescribed: Sequence[str] = ()
) -> dict[str, Ranges]:
    """By dataset, the ranges of what `features` says of frames, of drifts and of parameters.

    Some trajectories, evenly chosen, and some frames of each are looked at; of parameters all.

    Args:
        stores: of the training data.
        channels: fields, or the inputs of a steady problem; those that a store lacks are left out.
        prescribed: what is prescribed, likewise.
    """
    return {store.name: _ranges(store, channels, prescribed) for store in stores}


def _ranges(store: Store, channels: Sequence[str], prescribed: Sequence[str]) -> Ranges:
    names = [name for name in channels if name in (store.inputs or store.fields)]
    seen, changes = [], []
    for frames, mask in _frames(store, names):
        seen.append(features(frames, store.grid, mask))
        if not store.steady:
            first, last = frames[:1].expand_as(frames), frames
            changes.append(drift(first, last, mask))
    if not seen:  # every frame has holes: other checks say so
        return Ranges({}, grid=store.grid)
    rows = torch.cat(seen)
    table = store.parameter_table()
    return Ranges(
        features={
            name: {feature: _range(rows[:, c, k]) for k, feature in enumerate(FEATURES)}
            for c, name in enumerate(names)
        },
        parameters={
            name: (float(values.min()), float(values.max()))
            for name, values in zip(store.parameter_names, table.T, strict=True)
            if np.isfinite(values).all()
        },
        prescribed=_of_prescribed(store, prescribed),
        drifts={
            name: {kind: _range(torch.cat([c[kind][:, k] for c in changes])) for kind in changes[0]}
            for k, name in enumerate(names if changes else ())
        },
        grid=store.grid,
        cloud=cloud_of(rows, names),
    )


def _of_prescribed(store: Store, names: Sequence[str]) -> dict[str, Range]:
    """Ranges of what is prescribed in some trajectories, at all of their times."""
    given, found = store.prescribed, {}
    names = [name for name in names if given is not None and name in given.fields]
    if given is None or not names:
        return found
    channels = [given.fields.index(name) for name in names]
    most = GENERATED if store.endless else TRAJECTORIES
    for i in np.unique(np.linspace(0, len(store) - 1, most).astype(int)).tolist():
        for part in blocks(given, i, BLOCK):
            values = given.read_raw(i, slice(part.start, part.stop), channels)
            for channel, name in enumerate(names):
                each = torch.from_numpy(values[:, channel][np.isfinite(values[:, channel])])
                if each.numel():
                    low, high = found.get(name, (np.inf, -np.inf))
                    low, high = min(low, each.min().item()), max(high, each.max().item())
                    found[name] = _range(torch.tensor([low, high]))
    return found


def _frames(store: Store, names: Sequence[str]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Frames (T, C, *S) of some trajectories, and where they are predicted."""
    most = GENERATED if store.endless else TRAJECTORIES
    for i in np.unique(np.linspace(0, len(store) - 1, most).astype(int)).tolist():
        if store.steady:
            constants = store.constants(i)
            assert constants is not None, "a steady problem has inputs"
            yield constants[[store.constant_fields.index(name) for name in names]][None], None
            continue
        channels = [store.fields.index(name) for name in names]
        whole = store.whole_frames(i)
        known = range(store.first, store.n_frames(i))
        known = [k for k in known if whole is None or whole[k]]
        chosen = np.unique(np.linspace(0, len(known) - 1, FRAMES).astype(int)).tolist()
        frames = [store.read(i, known[k], known[k] + 1)[:, channels] for k in chosen if known]
        if frames:
            mask = store.mask_after_reading(i)
            together = torch.cat(frames)
            yield together, None if mask is None else mask[channels].expand_as(together)


def _range(values: Tensor) -> Range:
    """Smallest and largest, with six digits: they are read by people, too."""
    low, high = values.min().item(), values.max().item()
    return float(f"{low:.6g}"), float(f"{high:.6g}")
