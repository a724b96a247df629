"""Components by name: those of Pelagos, and those that other installed packages declare.

A package adds a component by an entry point of the component's group, for example

    [project.entry-points."pelagos.operators"]
    mine = "my_package.operator:MyOperator"

Nothing of a package is imported before one of its components is asked for.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from .messages import nearest

Component = TypeVar("Component")


class Registry(Generic[Component]):
    """The components of one kind.

    Args:
        group: of the entry points by which other packages add theirs.
        kind: what a component is called in messages, such as "operator".
        ours: name -> "module:object" of the components of Pelagos, in the order of `names`.
    """

    def __init__(self, group: str, kind: str, ours: Mapping[str, str]) -> None:
        self.group, self.kind, self.ours = group, kind, dict(ours)
        self.added: dict[str, Component] = {}

    def add(self, name: str, component: Component) -> None:
        """Make a component known in this process, as in a notebook.

        Raises:
            ValueError: the name is taken.
        """
        if name in self.names():
            raise ValueError(f"{self.kind} {name!r} exists already; choose another name")
        self.added[name] = component

    def names(self) -> tuple[str, ...]:
        """All names: ours in their order, then others sorted."""
        return tuple(dict.fromkeys((*self.ours, *sorted({*self._others(), *self.added}))))

    def get(self, name: str) -> Component:
        """The component of this name.

        Raises:
            ValueError: there is none (the nearest name is given), its name is claimed twice, or
                its package cannot be imported.
        """
        if name in self.added:
            return self.added[name]
        others = self._others()
        if name in self.ours:
            return EntryPoint(name, self.ours[name], self.group).load()
        if name not in others:
            raise ValueError(f"unknown {self.kind} {name!r}{nearest(name, self.names())}")
        return self._load(others[name])

    def provider(self, name: str) -> str:
        """The package that a name comes from, as in "my_package 0.3"; "" for ours."""
        found = self._others().get(name)
        if found is None or found.dist is None:
            return ""
        return f"{found.dist.name} {found.dist.version}"

    def module(self, name: str) -> str:
        """The module that a component is declared in; "" for one that was added in this process."""
        if name in self.ours:
            return EntryPoint(name, self.ours[name], self.group).module
        found = self._others().get(name)
        return "" if found is None else found.module

    def _others(self) -> dict[str, EntryPoint]:
        """Entry points of other packages by name."""
        found: dict[str, EntryPoint] = {}
        for entry in _declared(tuple(sys.path)).get(self.group, ()):
            if entry.name in found and found[entry.name].value == entry.value:
                continue  # the same package, seen by two entries of the import path
            if entry.name in found or entry.name in self.ours:
                raise ValueError(
                    f"{self.kind} {entry.name!r} of the package {_package(entry)} has a name that "
                    f"is taken already; uninstall one of them, or rename its entry point"
                )
            found[entry.name] = entry
        return found

    def _load(self, entry: EntryPoint) -> Any:
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"{self.kind} {entry.name!r} of the package {_package(entry)} cannot be imported "
                f"from {entry.value}: {error}"
            ) from error


@functools.cache
def _declared(path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """All entry points on this import path by group; looking takes tens of milliseconds."""
    everything: Any = entry_points()
    return {group: tuple(everything.select(group=group)) for group in everything.groups}


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "?"
