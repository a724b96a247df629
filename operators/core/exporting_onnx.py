"""A program as ONNX, where its operations allow."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from ...datasets.base.appearing import appearing_file

MISSING = (
    "ONNX needs onnx, onnxscript and onnxruntime ({0} is missing): pip install 'pelagos[onnx]'"
)


def require_onnx() -> None:
    """Refuse before any work where a library is missing.

    Raises:
        ValueError: with what installs it.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401  (what PyTorch exports by)
    except ImportError as error:
        raise ValueError(MISSING.format(error.name)) from None


def write_onnx(
    program: ExportedProgram,
    path: Path,
    inputs: Mapping[str, Tensor],
    expected: Tensor,
    about: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write a program as ONNX, opened again by ONNX Runtime, which must give the same numbers.

    Args:
        program: of an operator's step.
        path: the file.
        inputs: by name, in the program's order.
        expected: what it gives for them.
        about: what the file says of itself, in the property `pelagos.json`.
        overwrite: replace an existing file.

    Raises:
        ValueError: as `require_onnx`; or the file is taken, ONNX lacks an operation, or the numbers
            are others.
    """
    require_onnx()
    import onnxruntime

    try:
        with _quietly():
            found = torch.onnx.export(
                program, tuple(inputs.values()), dynamo=True, verbose=False,
                input_names=list(inputs), output_names=["fields"],
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(
            f"this {about['operator']} has operations that PyTorch does not bring to ONNX "
            f"({_reason(error)}); write it with --format export, which PyTorch alone opens"
        ) from None
    assert found is not None, "not a file, but a program"
    found.model.metadata_props["pelagos.json"] = json.dumps(about)
    with appearing_file(path, overwrite=overwrite) as draft:
        found.save(draft, external_data=False)
        session = onnxruntime.InferenceSession(draft, providers=["CPUExecutionProvider"])
        given = {name: value.numpy() for name, value in inputs.items()}
        used = {item.name for item in session.get_inputs()}
        (fields,) = session.run(None, {k: v for k, v in given.items() if k in used})
        _require_same(np.asarray(fields), expected.numpy())


def _reason(error: BaseException) -> str:
    """The first cause of an error, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:160]


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks on libraries that we have no use for."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _require_same(found: np.ndarray, expected: np.ndarray) -> None:
    worst = np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-30)
    if not worst <= 1e-4:
        raise ValueError(
            f"the ONNX program gives other numbers than the operator (relative error {worst:.1g}); "
            "write it with --format export"
        )
