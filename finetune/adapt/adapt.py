"""Start from another operator's weights, and say exactly what came over.

Parameters are matched by name. Where a parameter has an axis over fields (`Operator.field_axes`),
the entries of a field (or of an input or a constant field) are matched by its name, so that a new
one does not disturb old ones. Coordinates go with the kind of problem: who steps in time on
periodic boxes has learned to ignore the place, on which the solution of a steady problem depends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.table import Table

from ...datasets.base.tables import html_table
from ...operators.core import checkpoint
from ...operators.core.adapter import fingerprint
from ...operators.core.description import Description
from ...operators.core.operator import Operator
from ...operators.core.registry import create
from ...operators.core.state import FieldAxis
from .methods.base import Method

# A start from fewer loaded scalars than this share of the operator is refused as a mistake.
LEAST_LOADED = 0.5
# A factor between lead times before and after that is worth a word.
FAR = 3.0


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor when an operator started from a checkpoint.

    Attributes:
        source: the checkpoint.
        fields: names of the fields that both know, that are new, and that only the donor has.
        normalizers: names of the donor's normaliser and of the operator's own.
        times: longest lead times that they are trained at, in the network's unit of time; empty
            where one is unknown, or the network does not see the time.
        loaded: names copied whole.
        partly: names copied for the fields that both sides know.
        reinitialized: names that start afresh (absent there, or of another shape).
        skipped: names that only the checkpoint has.
        frozen: names that will not be trained.
        share: copied scalars as a share of the operator's.
    """

    source: str
    fields: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    normalizers: tuple[str, str]
    times: tuple[float, ...]
    loaded: tuple[str, ...]
    partly: tuple[str, ...]
    reinitialized: tuple[str, ...]
    skipped: tuple[str, ...]
    frozen: tuple[str, ...]
    share: float

    @property
    def title(self) -> str:
        """What is told, in a line."""
        return f"start from {self.source}: {self.share:.1%} of the weights loaded"

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """What, how many, and which."""
        for name in ("loaded", "partly", "reinitialized", "skipped", "frozen"):
            tensors: tuple[str, ...] = getattr(self, name)
            if tensors:
                shown = ", ".join(tensors[:4]) + (", …" if len(tensors) > 4 else "")
                yield name, str(len(tensors)), shown
        for label, names in zip(("kept", "new", "left out"), self.fields, strict=True):
            if names:
                yield f"fields {label}", str(len(names)), ", ".join(names)
        before, after = self.normalizers
        if before != after:
            yield "normaliser", "", f"{before} → {after}: its outputs mean something else"
        if self.times and not 1 / FAR < self.times[1] / self.times[0] < FAR:
            old, new = (f"{time:.2g}" for time in self.times)
            yield (
                "time",
                "",
                f"the network was trained at lead times up to {old}, and now sees up to {new}; "
                "time_scale is the physical time that it sees as 1",
            )

    def table(self) -> Table:
        """The report for people."""
        table = Table(title=self.title)
        table.add_column("what")
        table.add_column("how many", justify="right")
        table.add_column("which")
        for row in self.rows():
            table.add_row(*row)
        return table

    def _repr_html_(self) -> str:
        return html_table(self.title, ("what", "how many", "which"), self.rows())


def adapt(
    donor: Operator,
    description: Description,
    *,
    source: str = "the donor",
    overrides: Mapping[str, Any] | None = None,
    method: Method[Any] | None = None,
    seed: int = 0,
) -> tuple[Operator, LoadReport]:
    """An operator for `description`, started from another operator's weights.

    Args:
        donor: whose weights.
        description: fields, normaliser, time steps and provenance of the new operator.
        source: where the donor comes from, for the report.
        overrides: config keys that differ from the donor's.
        method: prepares the operator; None: all of it is trained.
        seed: of what starts afresh.

    Raises:
        ValueError: the method does not fit the operator, or leaves fresh weights as they are; or so
            little is in common that starting from the donor must be a mistake.
    """
    config = {**checkpoint.config_of(donor)["config"], **(overrides or {})}
    base = {"source": source, "sha256": fingerprint(donor.state_dict())}
    start = {"init_from": donor.description.provenance, "base": base}
    provenance = {**description.provenance, **start}
    description = replace(description, provenance=provenance, license=donor.description.license)
    operator = create(donor.name, description=description, seed=seed, **config)
    report = _copy(donor, operator, source)
    if report.share < LEAST_LOADED:
        raise ValueError(_too_little(report, donor, overrides or {}))
    if method is None:
        return operator, report
    frozen = method.prepare(operator, seed)
    fresh = set(frozen) & {*report.reinitialized, *report.partly}
    if fresh:
        raise ValueError(
            f"{method.config.name}: {', '.join(sorted(fresh))} start(s) afresh and must be "
            f"trained; {method.remedy}"
        )
    return operator, replace(report, frozen=frozen)


def _too_little(report: LoadReport, donor: Operator, overrides: Mapping[str, Any]) -> str:
    """Why so few weights fit, and what to do."""
    theirs = checkpoint.config_of(donor)["config"]
    differing = {k: v for k, v in overrides.items() if k in theirs and theirs[k] != v}
    if differing:
        told = ", ".join(
            f"operator.{k} is {v} here and {theirs[k]} there" for k, v in differing.items()
        )
        it = "it" if len(differing) == 1 else "them"
        return (
            f"the weights of {report.source} do not fit: {told}; leave {it} out, or start from "
            "scratch (init_from: null)"
        )
    return (
        f"only {report.share:.0%} of the operator's weights are in {report.source}; "
        "start from another checkpoint, or from scratch (init_from: null)"
    )


@torch.no_grad()
def _copy(donor: Operator, operator: Operator, source: str) -> LoadReport:
    theirs, ours = donor.state_dict(), operator.state_dict()
    axes = operator.field_axes()
    loaded, partly, fresh, copied = [], [], [], 0
    changed = [name for name, axis in axes.items() if axis != donor.field_axes().get(name)]
    for name, value in ours.items():
        other = theirs.get(name) if _weight_of(name) not in fresh else None
        if other is not None and other.shape == value.shape and name not in changed:
            value.copy_(other)
            loaded.append(name)
            copied += value.numel()
            continue
        count = 0
        if other is not None and name in axes:
            count = _copy_fields(name, donor, operator)
        (partly if count else fresh).append(name)
        copied += count
    return LoadReport(
        source=source,
        fields=_shared(donor.description.channels, operator.description.channels),
        times=_longest_times(donor, operator),
        normalizers=(donor.description.normalizer.name, operator.description.normalizer.name),
        loaded=tuple(loaded),
        partly=tuple(partly),
        reinitialized=tuple(fresh),
        skipped=tuple(name for name in theirs if name not in ours),
        frozen=(),
        share=copied / sum(value.numel() for value in ours.values()),
    )


def _weight_of(bias: str) -> str:
    """The weight beside a bias, which starts afresh with it; of another name, none."""
    return f"{bias.removesuffix('bias')}weight" if bias.endswith(".bias") else ""


def _shared(
    theirs: tuple[str, ...], ours: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Names of both, of ours alone, of theirs alone."""
    return (
        tuple(name for name in ours if name in theirs),
        tuple(name for name in ours if name not in theirs),
        tuple(name for name in theirs if name not in ours),
    )


def _longest_times(*operators: Operator) -> tuple[float, ...]:
    """The longest lead time of each over its time scale, where there is one and it matters."""
    about = [operator.description for operator in operators]
    seen = all(operator.sees_time for operator in operators)
    known = all(max(a.time_steps, default=0) > 0 and not a.time_scales for a in about)
    if not (seen and known):
        return ()
    return tuple(max(a.time_steps) / a.time_scale for a in about)


def _copy_fields(name: str, donor: Operator, operator: Operator) -> int:
    """Copy the entries of shared fields, and of what follows the fields; returns how many."""
    source, target = donor.state_dict()[name], operator.state_dict()[name]
    pairs = list(zip(_axes(name, donor), _axes(name, operator), strict=True))
    same_kind = bool(donor.description.inputs) == bool(operator.description.inputs)
    others = set(range(source.ndim)) - {axis.axis for axis, _ in pairs}
    if any(source.shape[d] != target.shape[d] for d in others):
        return 0
    values, places = source, [torch.arange(size) for size in target.shape]
    for from_axis, to_axis in pairs:
        theirs, ours = _entries(name, from_axis, donor), _entries(name, to_axis, operator)
        shared = [key for key in ours if key in theirs and (key[0] or same_kind)]
        index = torch.tensor([theirs[key] for key in shared], dtype=torch.long)
        values = values.index_select(from_axis.axis, index)
        places[to_axis.axis] = torch.tensor([ours[key] for key in shared], dtype=torch.long)
    target[torch.meshgrid(*places, indexing="ij")] = values
    return values.numel()


def _axes(name: str, operator: Operator) -> tuple[FieldAxis, ...]:
    axes = operator.field_axes()[name]
    return (axes,) if isinstance(axes, FieldAxis) else axes


def _entries(name: str, axis: FieldAxis, operator: Operator) -> dict[tuple[str, int], int]:
    """Position along the axis of (channel, frame counted from the last), and of what follows."""
    count, size = len(axis.names), operator.state_dict()[name].shape[axis.axis]
    positions = {
        (channel, axis.repeats - t): t * count + c
        for t in range(axis.repeats)
        for c, channel in enumerate(axis.names)
    }
    after = axis.repeats * count
    positions |= {(extra, 0): after + i for i, extra in enumerate(axis.extra)}
    after += len(axis.extra)
    return positions | {("", i): after + i for i in range(size - after)}
