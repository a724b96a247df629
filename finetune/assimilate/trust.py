"""The verdict on an assimilation: do readings and spread agree, and is it inside of training.

**Innovations.** A reading less what the forecast expects of it, d, has the variance σ² of the
forecast's error (its spread there) plus that of the noise, r². So the mean of d² / (σ² + r²) is 1
where both are right. Errors of one time go together in space, so all readings of one time count
as one: over T times, T · mean is compared with the chi-square distribution of T degrees of freedom,
two-sided, at the level `LEVEL`. It cannot be wider, so what is said to disagree does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scipy.special import gammaincinv
from torch import Tensor

from ...operators.assimilation.measurement import Innovations
from ...operators.assimilation.operator import AssimilatingOperator
from ...operators.core.time_steps import SAME_STEP
from ...operators.core.verdict import (
    ANALYSIS,
    STATE,
    Finding,
    Status,
    Verdict,
    judge_end,
    judge_start,
    ranges_of,
)
from ...operators.core.verdict import Start as Judged
from .assimilator import Estimate
from .start import Start

LEVEL = 0.01
FAR = 5.0  # deviations of spread and noise: one reading in two million is farther
MANY = 0.01  # share of readings that may be
REACH = 6.0  # standard deviations over space by which a value may be off the mean in training
RATIO = 2.0  # spread over error, or error over spread, beyond which one is not the other's size


@dataclass
class _Readings:
    """Of one field."""

    times: int = 0
    count: int = 0
    total: float = 0.0  # over times, of the mean of d² / (σ² + r²)
    far: int = 0
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, values: Tensor, squares: Tensor) -> None:
        """The readings of one time."""
        self.times, self.count = self.times + 1, self.count + len(values)
        self.total += squares.mean().item()
        self.far += int((squares > FAR**2).sum())
        self.low = min(self.low, values.min().item())
        self.high = max(self.high, values.max().item())


@dataclass
class Trust:
    """Collects what a verdict follows from, in constant memory.

    Attributes:
        operator: assimilates.
        start: of the estimate.
        problems: rows that were left out.
    """

    operator: AssimilatingOperator
    start: Start
    problems: Sequence[str]
    _readings: dict[int, _Readings] = field(default_factory=dict)
    _analysis: Tensor | None = None
    _end: Tensor | None = None
    _times: list[float] = field(default_factory=list)

    def add(self, estimate: Estimate) -> None:
        """Take an analysis (which has innovations) or a forecast into account."""
        frame = estimate.mean[None].cpu()
        if estimate.innovations is None:
            self._end = frame
        else:
            self._analysis, self._times = frame, []
            self._add(estimate.innovations)
        if len(self._times) < 2:  # an analysis, and the first of equal steps
            self._times.append(estimate.time)

    def _add(self, found: Innovations) -> None:
        squares = (found.gap.square() / found.variance).cpu()
        channels, values = found.channel.cpu(), found.value.cpu()
        for channel in channels.unique().tolist():
            chosen = channels == channel
            self._readings.setdefault(channel, _Readings()).add(values[chosen], squares[chosen])

    def verdict(self, scores: Mapping[str, Mapping[str, float]]) -> Verdict:
        """On all of it.

        Args:
            scores: with a truth, "analyses of NAME" and "forecast of NAME" to their numbers.
        """
        assert self._analysis is not None, "a file of observations has one at least"
        steps = self._steps()
        frames = self._analysis[:, None].expand(
            -1, self.operator.history, *self._analysis.shape[1:]
        )
        context = self.operator.description.masked(self.start.context, 1)
        judged = Judged(frames, context.map(lambda tensor: tensor.cpu()), steps)
        begun = judge_start(self.operator, judged)
        # Bands are of forecasts from stored frames.
        findings = [
            replace(f, quantity=f.quantity.replace(STATE, ANALYSIS))
            for f in begun.findings
            if f.quantity != "error bands"
        ]
        if self._end is not None:
            findings += judge_end(self.operator, judged, self._end).findings
        findings += [*self._compared(judged), *_spreads(scores)]
        if self.problems:
            text = (
                f"{len(self.problems)} row(s) of the file were wrong, the first: {self.problems[0]}"
            )
            findings.append(Finding("readings left out", "unknown", text))
        return Verdict(tuple(findings))

    def _steps(self) -> tuple[float, ...]:
        """Those of the operator from the last analysis to a forecast; others are what they are."""
        trained = self.operator.description.time_steps
        gaps = (b - a for a, b in zip(self._times, self._times[1:], strict=False))
        if not trained or not self.operator.continuous:
            return ()
        longest = max(trained)
        return tuple(gap / max(1, math.ceil(gap / longest * (1 - SAME_STEP))) for gap in gaps)

    def _compared(self, judged: Judged) -> Iterator[Finding]:
        ranges = ranges_of(self.operator, judged)
        for channel, name in enumerate(self.start.context.fields):
            found = self._readings.get(channel)
            if found is None:
                text = "never measured: known by the forecast and what is measured of other fields"
                yield Finding(f"readings of {name}", "unknown", text)
                continue
            yield _consistent(name, found)
            known = {} if ranges is None else ranges.features.get(name, {})
            if "mean" in known and "deviation" in known:
                yield _within(name, found, known["mean"], 10 ** known["deviation"][1])


def _consistent(name: str, found: _Readings) -> Finding:
    """The test of the module's docstring, and readings that are far off by themselves."""
    mean, degrees = found.total / found.times, found.times
    low, high = (
        2 * float(gammaincinv(degrees / 2, share)) / degrees for share in (LEVEL / 2, 1 - LEVEL / 2)
    )
    text = (
        f"their mean square is {mean:.3g} times what spread and noise let expect, over "
        f"{found.count} reading(s) at {degrees} time(s); consistent are {low:.3g} to {high:.3g} "
        f"(chi-square, level {LEVEL:g})"
    )
    if found.far:
        text += f"; {found.far} are more than {FAR:g} deviations off: wrong values, or units?"
    elif mean > high:
        text += ": spread or noise is too small, or the forecast is wrong"
    elif mean < low:
        text += ": spread or noise is larger than it need be"
    outside = found.far > MANY * found.count or not low <= mean <= high
    distance = max(mean / high, low / max(mean, 1e-300)) - 1
    return Finding(f"innovations of {name}", "outside" if outside else "inside", text, distance)


def _within(name: str, found: _Readings, means: tuple[float, float], deviation: float) -> Finding:
    """Whether readings are values that training data had."""
    low, high = means[0] - REACH * deviation, means[1] + REACH * deviation
    distance = max(low - found.low, found.high - high, 0.0) / max(deviation, 1e-300)
    status: Status = "outside" if distance > 0 else "inside"
    text = f"{found.low:.3g} to {found.high:.3g}; in training about {low:.3g} to {high:.3g}"
    return Finding(f"readings of {name}", status, text, distance)


def _spreads(scores: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
    """Spread over error, where there is a truth."""
    for name, row in scores.items():
        ratio = row["spread / rmse"]
        if math.isnan(ratio):  # of no frame is the truth known
            continue
        inside = 1 / RATIO <= ratio <= RATIO
        text = f"{ratio:.3g} times the error; {1 / RATIO:g} to {RATIO:g} is of its size"
        distance = max(ratio, 1 / max(ratio, 1e-300)) / RATIO - 1
        yield Finding(f"spread of {name}", "inside" if inside else "outside", text, distance)
