"""What is known of the layout in which published code keeps the weights of an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .operator import Operator


@dataclass(frozen=True)
class PublishedLayout:
    """How weights of published code come in and go out.

    Attributes:
        operator: name of the operator that computes the published function.
        recognises: whether weights may be of this layout: takes the path that a user gave and, of
            a directory with a `config.json`, its contents.
        load: opens a path, with `options` by name.
        save: writes a directory that the published code opens, and gives its path.
        options: names of what `load` takes beside the path.
    """

    operator: str
    recognises: Callable[[str, Mapping[str, Any] | None], bool]
    load: Callable[..., Operator]
    save: Callable[[Any, Path], Path]
    options: tuple[str, ...]
