"""An operator's step as a program of PyTorch's operations: `torch.export` opens it without Pelagos.

    step(history, first, dt, *conditions) -> fields

in physical units, on one grid and for one batch size: the latest frames (B, T, C, *S), those that
the forecast started from, the time step (), and, where the operator takes them, constant fields
(B, K, *S), parameters (B, P), and what is prescribed, at the beginning and at the end of the step
(B, 2, Q, *S).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.base.appearing import appearing_file
from ...datasets.fields.normalization import POOLED, Standard
from ...datasets.fields.prescribed import Prescribed
from ...datasets.fields.window import Context
from .conditions import conditions_of
from .operator import Operator
from .state import State

ABOUT = "pelagos.json"  # in the file, beside the program


class _Ends(Prescribed):
    """Of one step, whenever it is: the values at its beginning and at its end."""

    def ends(self, time: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
        """As they are given."""
        return self.values[:, 0], self.values[:, 1]


class Step(nn.Module):
    """One step of an operator, without checks: these are for people."""

    def __init__(self, operator: Operator, context: Context) -> None:
        super().__init__()
        self.operator, self.context = operator, context

    def forward(self, history: Tensor, first: Tensor, dt: Tensor, *conditions: Tensor) -> Tensor:
        """Fields (B, C, *S) one step of `dt` after the history."""
        operator, about = self.operator, self.operator.description
        batch, given = history.shape[0], iter(conditions)
        context = replace(
            self.context,
            constants=next(given) if about.constant_fields else None,
            parameters=next(given) if operator.parameter_names else None,
            prescribed=_Ends(about.prescribed, dt.new_zeros(1, 2), next(given))
            if about.prescribed
            else None,
        )
        context = about.masked(context, batch)
        scaling = about.scaling(first, context)
        state = State(
            history,
            context,
            torch.zeros(batch),
            scaling,
            conditions_of(context, about, operator.name),
        )
        fields = operator.step(state, dt.expand(batch))[1]
        if context.mask is not None and not context.steady:
            fields = torch.where(context.mask, fields, history[:, -1])
        return fields


def export_step(
    operator: Operator,
    path: Path,
    *,
    batch: int = 1,
    dataset: str = "",
    overwrite: bool = False,
    onnx: bool = False,
) -> dict[str, Any]:
    """Write an operator's step as a program (`.pt2`) on its training grid; returns what it says.

    The file is opened again, and must give the operator's own numbers.

    Args:
        operator: on the CPU.
        path: the file.
        batch: samples that it takes at a time.
        dataset: as which its data are scaled, where statistics are kept by dataset.
        overwrite: replace an existing file.
        onnx: write ONNX instead, where the operations allow.

    Raises:
        ValueError: the training grid is unknown, there are several datasets to choose from, the
            file is taken, or the program does not give the same numbers; or as `write_onnx`.
    """
    if onnx:
        from .exporting_onnx import require_onnx

        require_onnx()
    context = _context(operator, dataset)
    step, inputs = Step(operator.eval(), context).eval(), _example(operator, batch)
    says = _about(operator, context, inputs)
    with torch.no_grad():
        expected = step(*inputs)  # also fills what is computed once, with numbers
        program = torch.export.export(step, inputs, strict=False)
    if onnx:
        from .exporting_onnx import write_onnx  # its libraries are optional

        named = dict(zip(says["names"], inputs, strict=True))
        write_onnx(program, path, named, expected, says, overwrite=overwrite)
        return says
    with appearing_file(path, overwrite=overwrite) as draft:
        torch.export.save(program, draft, extra_files={ABOUT: json.dumps(says)})
        _require_same(draft, inputs, expected)
    return says


def _context(operator: Operator, dataset: str) -> Context:
    about = operator.description
    if about.grid is None:
        raise ValueError(
            f"this {operator.name} was trained on several grids: a program has one. Fine-tune it "
            "on the grid that you need"
        )
    return Context(
        about.fields,
        about.grid,
        dataset=_dataset(operator, dataset),
        constant_fields=about.constant_fields,
        parameter_names=operator.parameter_names,
        inputs=about.inputs,
    )


def _dataset(operator: Operator, dataset: str) -> str:
    known = tuple(operator.description.normalizer.datasets)
    if not known or dataset in (*known, POOLED):
        return dataset
    if len(known) == 1 and not dataset:
        return known[0]
    raise ValueError(
        f"statistics are kept by dataset: choose one of {', '.join(known)}, or {POOLED!r} for all "
        f"(--dataset, in Python dataset=…); got {dataset or 'none'}"
    )


def _example(operator: Operator, batch: int) -> tuple[Tensor, ...]:
    """Inputs of the program, about as large as the training data."""
    about = operator.description
    assert about.grid is not None, "refused before"
    generator = torch.Generator().manual_seed(0)
    shape = (batch, operator.history, len(about.channels), *about.grid.shape)
    history = torch.randn(shape, generator=generator)
    step = 1.0 if about.inputs or not about.time_steps else max(about.time_steps)
    inputs = [history, history.clone(), torch.tensor(step)]
    if about.constant_fields:
        constants = (batch, len(about.constant_fields), *about.grid.shape)
        inputs.append(torch.randn(constants, generator=generator))
    if operator.parameter_names:
        inputs.append(torch.ones(batch, len(operator.parameter_names)))
    if about.prescribed:
        shape = (batch, 2, *about.grid.shape)
        values = [
            _typical(about.scale_of(name), torch.randn(shape, generator=generator))
            for name in about.prescribed
        ]
        inputs.append(torch.stack(values, 2))
    return tuple(inputs)


def _typical(scale: Standard, noise: Tensor) -> Tensor:
    """Values that are scaled to `noise`."""
    values = scale.mean + scale.std * noise
    return values.exp() if scale.log else values


def _names(operator: Operator) -> list[str]:
    """Names of the program's inputs, in order."""
    about = operator.description
    conditions = {
        "constants": about.constant_fields,
        "parameters": operator.parameter_names,
        "prescribed": about.prescribed,
    }
    return ["history", "first", "dt", *(name for name, used in conditions.items() if used)]


def _about(operator: Operator, context: Context, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    about, grid = operator.description, context.grid
    return {
        "operator": operator.name,
        "fields": about.fields,
        "inputs": about.inputs,
        "units": about.units,
        "constant_fields": about.constant_fields,
        "parameters": operator.parameter_names,
        "prescribed": about.prescribed,
        "time_steps": about.time_steps,
        "grid": {"shape": grid.shape, "lengths": grid.lengths, "boundary": grid.boundary},
        "dataset": context.dataset,
        "names": _names(operator),
        "shapes": [tuple(value.shape) for value in inputs],
        "license": about.license,
    }


def _require_same(path: Path, inputs: tuple[Tensor, ...], expected: Tensor) -> None:
    with torch.no_grad():
        found = torch.export.load(path).module()(*inputs)
    size = expected.abs().max().clamp_min(1e-30)
    worst = float((found - expected).abs().max() / size)
    if not worst <= 1e-5:
        raise ValueError(
            f"the program gives other numbers than the operator (relative error {worst:.1g}); "
            "please report it"
        )
