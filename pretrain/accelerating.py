"""What makes steps faster on a device, as a recipe asks for it: TF32, and compiled blocks."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..operators.core.operator import Operator

_AMPERE = (8, 0)  # the first compute capability with TF32
# Compiled versions of the same code: of every level, shape, and of training and evaluation.
_VERSIONS = 256
_MODES = {"block": None, "graphs": "reduce-overhead"}


@contextmanager
def tf32(wanted: bool, device: torch.device) -> Iterator[None]:
    """In this block CUDA multiplies and convolves single-precision numbers as TF32, or exactly.

    (PyTorch's own default is mixed: convolutions take TF32, matrix products do not.)

    Raises:
        ValueError: it is wanted, and the device has no TF32.
    """
    if wanted and not _has_tf32(device):
        raise ValueError(
            f"tf32: true needs an NVIDIA GPU of compute capability 8.0 or later, and this is "
            f"{_named(device)}; set tf32: false (a run may change it)"
        )
    if device.type != "cuda":
        yield
        return
    before = bool(torch.backends.cuda.matmul.allow_tf32), torch.backends.cudnn.allow_tf32
    try:
        _set_tf32(wanted, wanted)
        yield
    finally:
        _set_tf32(*before)


def _set_tf32(products: bool | str, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = bool(products)
    # The module's type does not show its properties.
    torch.backends.cudnn.allow_tf32 = convolutions  # pyright: ignore[reportAttributeAccessIssue]


def compile_blocks(operator: Operator, wanted: str, device: torch.device) -> None:
    """Compile every block of an operator; blocks that are alike share what is compiled.

    Args:
        operator: changed in place; its weights keep their names.
        wanted: "none", "block", or "graphs" for CUDA graphs of what is compiled.
        device: where it will run.

    Raises:
        ValueError: the operator has no blocks, or the machine lacks what is needed.
    """
    if wanted == "none":
        return
    blocks = operator.blocks()
    if not blocks:
        raise ValueError(
            f"compile: {wanted} compiles the blocks of an operator, and {operator.name} names "
            "none; set compile: none"
        )
    if wanted == "graphs" and device.type != "cuda":
        raise ValueError(
            f"compile: graphs needs CUDA, and this is {_named(device)}; set compile: block or none"
        )
    if shutil.which("c++") is None and shutil.which("g++") is None:
        raise ValueError(
            "compile needs a C++ compiler (package g++ or clang, on the PATH as c++ or g++); "
            "install one, or set compile: none"
        )
    options: dict[str, Any] = {"dynamic": False, "mode": _MODES[wanted]}
    if "recompile_limit" in inspect.signature(torch.compile).parameters:  # not in torch 2.8
        options["recompile_limit"] = _VERSIONS
    for block in blocks:
        block.compile(**options)


def begin_pass(wanted: str) -> None:
    """Before every call of the model: what CUDA graphs gave in the last one may be overwritten.

    Without this each block would count as a pass of its own.
    """
    if wanted == "graphs":
        torch.compiler.cudagraph_mark_step_begin()


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= _AMPERE


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"a {device.type} device"
