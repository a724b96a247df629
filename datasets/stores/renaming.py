"""Other names for what a dataset holds, where two datasets call one thing by two names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from ..base.config import nearest
from ..layouts.source import Header
from .store import Store
from .views import View


def renamed(
    store: Store,
    names: Mapping[str, str],
    *,
    dataset: str | None = None,
    holes: Literal["refuse", "skip", "mask"] | None = None,
) -> Store:
    """The same trajectories, whose fields, constant fields and parameters have other names.

    Args:
        store: left as it is.
        names: name -> new name; what is not there keeps its own.
        dataset: the dataset's new name; None: its own.
        holes: what is done with values that are missing in some frames only, as in `Store`; None:
            as before.

    Raises:
        ValueError: there is no such name, or two would be the same.
    """
    if not names and dataset in (None, store.name) and holes in (None, store.holes):
        return store
    views = [View(source, range(len(source))) for source in store.sources]
    for view in views:
        header = renamed_header(view.header, names)
        name, kept = dataset or header.name, holes or header.holes
        view.header = replace(header, name=name, holes=kept)
    return store.over(views)


def renamed_header(header: Header, names: Mapping[str, str]) -> Header:
    """A header with other names.

    Raises:
        ValueError: as `renamed`.
    """
    if not names:
        return header
    scalars = [name for name in header.series if name in header.prescribed]
    known = [*header.fields, *header.constant_fields, *header.parameter_names, *scalars]
    for name in names:
        if name not in known:
            raise ValueError(
                f"rename: {header.name} has no field or parameter {name!r}{nearest(name, known)}"
            )
    after = [names.get(name, name) for name in known]
    twice = sorted({name for name in after if after.count(name) > 1})
    if twice:
        raise ValueError(f"rename: {header.name} would have two of the name {', '.join(twice)}")

    def new(given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in given)

    return replace(
        header,
        fields=new(header.fields),
        constant_fields=new(header.constant_fields),
        parameter_names=new(header.parameter_names),
        units={names.get(name, name): unit for name, unit in header.units.items()},
        series={names.get(name, name): values for name, values in header.series.items()},
        prescribed=new(header.prescribed),
        filled=new(header.filled),
        mask_fill={names.get(name, name): value for name, value in header.mask_fill.items()},
    )
