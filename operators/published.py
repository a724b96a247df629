"""Published weights in, and our weights out, by the name of a layout or of an operator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.base.registry import Registry
from .core.checkpoint import HUB
from .core.foreign import read_json

if TYPE_CHECKING:
    from .core.operator import Operator
    from .core.published import PublishedLayout

# A layout that knows its files less surely stands before one that knows them better.
LAYOUTS: Registry[PublishedLayout] = Registry(
    "pelagos.published",
    "published layout",
    {
        "dymixop": "pelagos.operators.dymixop.published:LAYOUT",
        "scot": "pelagos.operators.multiscale.published:LAYOUT",
    },
)


def detect(path: str | Path) -> str:
    """Name of the layout of a file or directory of published weights, or of a `hf:owner/model`.

    Raises:
        ValueError: it is one of our own checkpoints, or of no layout that is known.
    """
    config = None
    if not str(path).startswith(HUB) and (file := Path(path) / "config.json").is_file():
        config = read_json(file)
        if "schema" in config:
            raise ValueError(f"{path} is a checkpoint already, which every command takes as it is")
    for name in reversed(LAYOUTS.names()):
        if LAYOUTS.get(name).recognises(str(path), config):
            return name
    raise ValueError(f"{path} is of no published layout; known are {', '.join(LAYOUTS.names())}")


def load(path: str | Path, layout: str = "", **options: Any) -> Operator:
    """The operator with published weights.

    Args:
        path: a file, a directory, or a `hf:owner/model`.
        layout: name of the layout; by what is there, if not given.
        options: as the layout takes them, such as `fields`; see `load_scot` and `load_dymixop`.

    Raises:
        ValueError: no such layout or option, or the weights do not fit.
    """
    name = layout or detect(path)
    known = LAYOUTS.get(name)
    for option in options:
        if option not in known.options:
            raise ValueError(f"{option} has no meaning for {name} weights; leave it out")
    return known.load(path, **options)


def save(operator: Operator, directory: str | Path) -> Path:
    """Write a directory that the published code of an operator opens.

    Raises:
        ValueError: there is no published code for it, or this operator is more than that has; the
            directory exists.
    """
    found = [LAYOUTS.get(name) for name in reversed(LAYOUTS.names())]
    for layout in found:
        if layout.operator == operator.name:
            return layout.save(operator, Path(directory))
    raise ValueError(
        f"no published layout exists for the operator {operator.name!r}; only "
        f"{' and '.join(layout.operator for layout in found)} can be exported"
    )
