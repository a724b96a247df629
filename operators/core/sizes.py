"""A bound on what a config may ask for, whatever its keys are called.

Layers, branches, heads: all of them make parameters, and they are counted while they are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

MOST_TENSORS = 20_000  # the largest published network has 1,500


class TooManyTensors(ValueError):
    """A module asks for more parameters than it may have."""


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """Stop the making of modules as soon as they have more than so many parameters.

    Raises:
        TooManyTensors: they have.
    """
    made, thread = 0, get_ident()

    def counted(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal made
        made += get_ident() == thread  # the hook is of all threads
        if made > count:
            raise TooManyTensors(f"its config asks for more than {count:,} tensors; take less")

    handle = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()
