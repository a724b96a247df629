"""What Pelagos asks to be installed, against what is, whoever installed it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


def unmet() -> Iterator[tuple[str, str]]:
    """Name of what is missing or too old (Python, a package), and what is wrong with the remedy."""
    try:
        asked = metadata("pelagos")["Requires-Python"]
    except PackageNotFoundError:  # used in place, so that nothing is asked
        return
    python = ".".join(map(str, sys.version_info[:3]))  # without a builder's suffix
    if python not in SpecifierSet(asked):
        yield "Python", f"{python}, and Pelagos needs {asked}; make an environment with another"
    for needed in map(Requirement, requires("pelagos") or ()):
        if not needed.marker:  # else an extra
            yield from _unmet(needed)


def _unmet(needed: Requirement) -> Iterator[tuple[str, str]]:
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        yield needed.name, f"missing; pip install '{needed}'"
        return
    if not needed.specifier.contains(found, prereleases=True):
        told = f"{found}, and Pelagos needs {needed.specifier}"
        yield needed.name, f"{told}; pip install --upgrade '{needed}'"
