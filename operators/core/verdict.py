"""The verdict on a prediction: is it inside of what was trained, and does it stay there."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ...datasets.base.tables import html_table
from ...datasets.fields.features import FEATURES, NARROWEST, beyond, features
from ...datasets.fields.grid import Grid
from ...datasets.fields.window import Context
from .time_steps import SAME_STEP, same_step, within
from .trained import Range, Ranges, Trained

if TYPE_CHECKING:
    from .operator import Operator

Status = Literal["inside", "outside", "unknown"]
MARGIN = 0.5  # widths of the trained range by which a number may be outside of it
LARGEST_SPREAD = 0.7  # of members, in standard deviations over space, beyond which they are lost
DRIFTS = {"mean": 0.05, "size": 0.05}  # the narrowest ranges of drifts
FINITE = "finite values"
REMEDY = "fine-tune on such data, or predict"
STATE, ANALYSIS = "initial state", "last analysis"
TOGETHER = f"{STATE} as a whole"
_ORDER = ("inside", "unknown", "outside")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        quantity: what: "deviation of u", "parameter viscosity", "time step", ….
        status: whether it is inside of what was trained; "unknown" where the checkpoint does not
            say.
        text: the numbers.
        distance: how far outside; to compare findings of one quantity.
    """

    quantity: str
    status: Status
    text: str
    distance: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """Findings on a prediction; `print(verdict)` has a line for each that matters."""

    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """ "outside" if any quantity is, "unknown" if states or nothing could be compared."""
        if self.outside:
            return "outside"
        known = {f.quantity: f.status for f in self.findings}
        if "unknown" in (known.get(STATE), known.get(ANALYSIS)):
            return "unknown"
        return "inside" if "inside" in known.values() else "unknown"

    @property
    def said(self) -> str:
        """The status in words."""
        if self.status == "unknown":
            return "not known whether inside of what was trained"
        return f"{self.status} of what was trained"

    @property
    def outside(self) -> tuple[Finding, ...]:
        """What is outside of what was trained."""
        return tuple(f for f in self.findings if f.status == "outside")

    def act(self, strict: bool, *, remedy: str = REMEDY) -> None:
        """Warn of what is outside, or refuse it and say the remedy.

        Raises:
            ValueError: something is outside and `strict` is set.
        """
        if not self.outside:
            return
        said = "; ".join(f"{f.quantity}: {f.text}" for f in self.outside)
        if strict:
            raise ValueError(
                f"the prediction is outside of what was trained ({said}); {remedy} without "
                "--strict (in Python strict=False)"
            )
        warnings.warn(f"outside of what was trained: {said}", stacklevel=4)

    def merged(self, other: Verdict) -> Verdict:
        """One verdict on both: of each quantity the worse finding."""
        found = {f.quantity: f for f in self.findings}
        for finding in other.findings:
            before = found.setdefault(finding.quantity, finding)
            if _rank(finding) > _rank(before):
                found[finding.quantity] = finding
        return Verdict(tuple(found.values()))

    def to_json(self) -> str:
        """As text that `verdict_from_json` reads."""
        return json.dumps({"status": self.status, "findings": [asdict(f) for f in self.findings]})

    def __str__(self) -> str:
        lines = [f"{f.status}: {f.quantity}: {f.text}" for f in self.findings]
        return "\n  ".join([f"verdict: {self.said}", *lines])

    def _repr_html_(self) -> str:
        worst_first = sorted(self.findings, key=_rank, reverse=True)
        rows = ((f.quantity, f.status, f.text) for f in worst_first)
        return html_table(self.said, ("quantity", "verdict", "numbers"), rows)


def verdict_from_json(text: str) -> Verdict:
    """The verdict that `to_json` wrote.

    Raises:
        ValueError: it is no verdict.
    """
    try:
        return Verdict(tuple(Finding(**found) for found in json.loads(text)["findings"]))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"this is no verdict: {text[:60]!r}") from None


@dataclass(frozen=True)
class Start:
    """What is known before a prediction is made.

    Attributes:
        history: (N, T, C, *S).
        context: with a batch axis.
        steps: times of the steps.
        leads: times of the wanted frames.
    """

    history: Tensor
    context: Context
    steps: Sequence[float] = field(default=())
    leads: Sequence[float] = field(default=())


def judge(operator: Operator, start: Start, fields: Tensor) -> Verdict:
    """The verdict on predicted frames.

    Args:
        operator: predicted them.
        start: from what.
        fields: (N, T, C, *S), or (M, N, T, C, *S) of the members of an ensemble.
    """
    members = fields if fields.ndim == start.history.ndim + 1 else fields[None]
    findings = [*judge_start(operator, start).findings]
    for number, last in enumerate(members[:, :, -1]):
        verdict = judge_end(operator, start, last)
        findings += verdict.findings if number == 0 else ()
    if len(members) > 1:
        findings += _spread(members[:, :, -1], start)
    return Verdict(tuple(findings))


def judge_start(operator: Operator, start: Start) -> Verdict:
    """What can be told from the given frames and the steps alone."""
    about = operator.description
    trained = about.trained
    seen = features(start.history[:, -1].cpu(), start.context.grid, _mask(start))
    ranges = _nearest(trained, start.context.dataset, seen, start.context.channels)
    findings = [
        *_steps(operator, start.steps),
        *_bands(operator, start.leads),
        *_grid(
            start.context,
            [r.grid for r in trained.values() if r.grid] or about.grid,
            about.units.get("length", ""),
        ),
        *_parameters(start.context, ranges, operator.parameter_names),
        *_prescribed(start, ranges, about.prescribed),
    ]
    if ranges is None:
        text = "the checkpoint does not say what its training data were like"
        return Verdict((*findings, Finding(STATE, "unknown", text)))
    findings += _features(seen, start.context.channels, ranges)
    findings += _together(seen, start.context.channels, ranges)
    return Verdict(tuple(findings))


def ranges_of(operator: Operator, start: Start) -> Ranges | None:
    """What training data nearest to a start were like; None: the checkpoint does not say."""
    seen = features(start.history[:, -1].cpu(), start.context.grid, _mask(start))
    trained, context = operator.description.trained, start.context
    return _nearest(trained, context.dataset, seen, context.channels)


def judge_end(operator: Operator, start: Start, last: Tensor) -> Verdict:
    """What can be told from the last predicted frame (N, C, *S): is it finite, has it drifted."""
    last = last.cpu()
    fields = start.context.fields
    mask = _mask(start)
    broken = ~last.isfinite()
    if mask is not None:
        broken &= mask
    if broken.any():
        count = int(broken.flatten(1).any(1).sum())
        text = f"{count} of {len(last)} are infinite or NaN"
        return Verdict((Finding(FINITE, "outside", text, math.inf),))
    findings = [Finding(FINITE, "inside", "all are finite")]
    about = operator.description
    if start.context.steady or not about.trained:
        return Verdict(tuple(findings))
    seen = features(start.history[:, -1].cpu(), start.context.grid, mask)
    ranges = _nearest(about.trained, start.context.dataset, seen, fields)
    changes = drift(start.history[:, -1].cpu(), last, mask)
    for channel, name in enumerate(fields):
        for kind, limits in (ranges.drifts.get(name, {}) if ranges else {}).items():
            values = changes[kind][:, channel]
            findings.append(_compared(f"drift of the {kind} of {name}", values, limits,
                                      DRIFTS[kind]))  # fmt: skip
    return Verdict(tuple(findings))


def drift(first: Tensor, last: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """How conserved quantities change from one frame (N, C, *S) to another, each (N, C).

    "mean": of the mean, in standard deviations over space of the first; "size": of the root mean
    square, log₁₀ of the ratio.
    """
    space = tuple(range(2, first.ndim))
    one, two = first.double(), last.double()
    if mask is not None:
        one, two = torch.where(mask, one, 0.0), torch.where(mask, two, 0.0)
    spread = one.std(space, correction=0).clamp_min(1e-30)
    sizes = [x.square().mean(space).sqrt().clamp_min(1e-30).log10() for x in (one, two)]
    return {"mean": (two.mean(space) - one.mean(space)) / spread, "size": sizes[1] - sizes[0]}


def _mask(start: Start) -> Tensor | None:
    mask = None if start.context.steady else start.context.mask
    return None if mask is None else mask.cpu()


def _rank(finding: Finding) -> tuple[int, float]:
    return _ORDER.index(finding.status), finding.distance


def _nearest(
    trained: Trained, dataset: str, seen: Tensor, channels: Sequence[str]
) -> Ranges | None:
    """The ranges of this dataset; of an unknown one those that are nearest."""
    if dataset in trained or not trained:
        return trained.get(dataset)
    return min(
        trained.values(),
        key=lambda ranges: sum(f.distance for f in _features(seen, channels, ranges)),
    )


def _features(seen: Tensor, channels: Sequence[str], ranges: Ranges) -> Iterator[Finding]:
    for channel, name in enumerate(channels):
        known = ranges.features.get(name, {})
        for k, feature in enumerate(FEATURES):
            if feature not in known:
                continue
            narrowest = NARROWEST[feature]
            if feature == "mean":  # in units of the field
                narrowest *= 10 ** known.get("deviation", (0.0, 0.0))[1]
            yield _compared(f"{feature} of {name}", seen[:, channel, k], known[feature], narrowest)


def _together(seen: Tensor, channels: Sequence[str], ranges: Ranges) -> Iterator[Finding]:
    """All features at once: whether such a state was among those of the training data."""
    cloud = ranges.cloud
    distances = None if cloud is None else cloud.distances(seen, channels)
    if cloud is None or distances is None:
        return
    far = distances.max().item()
    text = (
        f"{far:.3g} standard deviations from the mean of the training data, all features together; "
        f"in training up to {cloud.reach:.3g}"
    )
    distance = max(far / cloud.reach - 1.0, 0.0)
    status: Status = "inside" if distance <= MARGIN else "outside"
    yield Finding(TOGETHER, status, text, distance)


def _compared(quantity: str, values: Tensor, limits: Range, narrowest: float) -> Finding:
    low, high = limits
    far = max(values.tolist(), key=lambda value: beyond(value, low, high, narrowest))
    distance = beyond(far, low, high, narrowest)
    show = _shown(quantity)
    text = f"{show(far)}; in training {show(low)} to {show(high)}"
    return Finding(quantity, "outside" if distance > MARGIN else "inside", text, distance)


def _shown(quantity: str) -> Callable[[float], str]:
    logs = quantity.startswith(("deviation", "wave number", "small scales", "drift of the size"))
    return lambda value: f"{10**value:.3g}" if logs else f"{value:.3g}"


def _parameters(context: Context, ranges: Ranges | None, names: Sequence[str]) -> Iterator[Finding]:
    for name in names:
        if context.parameters is None or name not in context.parameter_names:
            continue  # a step will refuse it
        if ranges is None or name not in ranges.parameters:
            yield Finding(f"parameter {name}", "unknown", "the checkpoint does not say its range")
            continue
        values = context.parameters[:, context.parameter_names.index(name)]
        low, high = ranges.parameters[name]
        tiny = 1e-3 * max(abs(low), abs(high))
        yield _compared(f"parameter {name}", values.double(), (low, high), tiny)


def _prescribed(start: Start, ranges: Ranges | None, names: Sequence[str]) -> Iterator[Finding]:
    """What is prescribed from the last given frame until the last that is wanted."""
    given = start.context.prescribed
    for name in names:
        if given is None or name not in given.names:
            continue  # `fill` stands for it
        if ranges is None or name not in ranges.prescribed:
            text = "the checkpoint does not say its range"
            yield Finding(f"prescribed {name}", "unknown", text)
            continue
        until = max(start.leads, default=math.inf)
        seen = (given.times >= 0) & (given.times <= until * (1 + SAME_STEP))
        values = given.values[:, :, given.names.index(name)].cpu()
        chosen = values.flatten(2)[seen] if seen.any() else values
        low, high = ranges.prescribed[name]
        tiny = 1e-3 * max(abs(low), abs(high))
        ends = torch.stack([chosen.amin(), chosen.amax()]).double()
        yield _compared(f"prescribed {name}", ends, (low, high), tiny)


def _steps(operator: Operator, steps: Sequence[float]) -> Iterator[Finding]:
    trained = operator.description.time_steps
    if not steps or operator.description.inputs:
        return
    if not trained:
        yield Finding("time step", "unknown", "the checkpoint does not say which were trained")
        return
    low, high = min(trained), max(trained)
    wrong = [
        s for s in steps if not (any(same_step(s, t) for t in trained) or within(s, low, high))
    ]
    shown = wrong[0] if wrong else steps[0]
    text = f"{shown:g}; in training {low:g}" + (f" to {high:g}" if high > low else "")
    yield Finding("time step", "outside" if wrong else "inside", text, float(len(wrong)))


def _bands(operator: Operator, leads: Sequence[float]) -> Iterator[Finding]:
    found = operator.description.calibration
    if found is None:
        yield Finding("error bands", "unknown", "not calibrated on held-out data")
    elif leads and leads[-1] > found.leads[-1] * (1 + SAME_STEP):
        text = f"lead time {leads[-1]:g}; calibrated up to {found.leads[-1]:g}"
        yield Finding("error bands", "unknown", text)
    else:
        text = f"{found.coverage:g} by {found.trajectories} held-out trajectories"
        yield Finding("error bands", "inside", text)


def _grid(context: Context, known: Sequence[Grid] | Grid | None, unit: str) -> Iterator[Finding]:
    trained = [known] if isinstance(known, Grid) else known
    if not trained:
        yield Finding("grid", "unknown", "the checkpoint does not say which were trained")
        return
    grid = context.grid
    shape = "×".join(map(str, grid.shape))
    alike = [other for other in trained if _same_grid(grid, other)]
    if alike and unit.startswith("degree") and not any(_same_place(grid, one) for one in alike):
        here, there = (", ".join(f"{x:g}" for x in one.origin) for one in (grid, alike[0]))
        text = f"it begins at {here} ({unit}); in training at {there}"
        yield Finding("grid", "outside", text, 1.0)
        return
    if alike:
        yield Finding("grid", "inside", f"{shape} points, as in training")
        return
    text = f"{_grid_text(grid)}; in training {_grid_text(trained[0])}"
    yield Finding("grid", "outside", text, 1.0)


def _same_grid(one: Grid, other: Grid) -> bool:
    if (one.shape, one.boundary) != (other.shape, other.boundary):
        return False
    pairs = zip(one.lengths, other.lengths, strict=True)
    return all(math.isclose(a, b, rel_tol=1e-3) for a, b in pairs)


def _same_place(one: Grid, other: Grid) -> bool:
    """Whether grids of degrees begin at the same place, to within a spacing."""
    pairs = zip(one.origin, other.origin, one.spacing, strict=True)
    return all(abs((a - b + 180.0) % 360.0 - 180.0) <= step for a, b, step in pairs)


def _grid_text(grid: Grid) -> str:
    lengths = ", ".join(f"{length:g}" for length in grid.lengths)
    return f"{'×'.join(map(str, grid.shape))} points, lengths {lengths}, {', '.join(grid.boundary)}"


def _spread(last: Tensor, start: Start) -> Iterator[Finding]:
    """Spread of members (M, N, C, *S) at the last time, beside each field's size."""
    space = tuple(range(2, last.ndim - 1))
    size = last.double().mean(0).std(space, correction=0).clamp_min(1e-30)
    spread = (last.double().var(0, correction=1).mean(space).sqrt() / size).mean(0)
    for name, value in zip(start.context.fields, spread.tolist(), strict=True):
        status: Status = "outside" if not value <= LARGEST_SPREAD else "inside"
        text = f"{value:.3g} standard deviations over space at the last time"
        yield Finding(f"spread of {name}", status, text, value)
