"""Other names for what a dataset holds, where two datasets call one thing by two names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..base.config import nearest
from ..layouts.source import Header
from .store import Store
from .views import View


def renamed(store: Store, names: Mapping[str, str]) -> Store:
    """The same trajectories, whose fields, constant fields and parameters have other names.

    Args:
        store: left as it is.
        names: name -> new name; what is not there keeps its own.

    Raises:
        ValueError: there is no such name, or two would be the same.
    """
    if not names:
        return store
    views = [View(source, range(len(source))) for source in store.sources]
    for view in views:
        view.header = renamed_header(view.header, names)
    return store.over(views)


def renamed_header(header: Header, names: Mapping[str, str]) -> Header:
    """A header with other names.

    Raises:
        ValueError: as `renamed`.
    """
    known = [*header.fields, *header.constant_fields, *header.parameter_names]
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
        filled=new(header.filled),
        mask_fill={names.get(name, name): value for name, value in header.mask_fill.items()},
    )
