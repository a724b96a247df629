"""A forecast written frame by frame: any number of steps and trajectories in constant memory.

It appears under its name when complete. Until then a draft beside it holds what is done; the same
call goes on from there, to the same bytes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray

from ...datasets.base.appearing import naming_full_disk, refuse_existing
from ...datasets.base.paths import require_netcdf
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from ...operators.core.predicted import BAND, MEMBER, band_attributes, member_coordinate
from ...operators.core.verdict import (
    FINITE,
    Start,
    Verdict,
    judge_end,
    judge_start,
    verdict_from_json,
)
from .frames import Done, Step, forecast, truth
from .labels import attributes, coordinates, masked_points, unit_of
from .marks import Marks, alone, discard, identity_of, places, read_marks
from .members import Team, team_of
from .plan import Plan, make_plan
from .predict import TRUTH, TRUTH_TIME
from .request import Request
from .written import ZARR, FrameFile, Variable, create, opened

_MARGIN = 2**17  # bytes that a file may take beside its values
_BLOCK = 2**20  # bytes of one field and trajectory that are written at a time
_PAUSE = 2.0  # seconds between two marks


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: where.
        plan: what was predicted.
        verdict: on it.
        broken: how many trajectories are not finite.
        broken_from: the earliest lead time of that; None where all are finite.
    """

    path: Path
    plan: Plan
    verdict: Verdict
    broken: int
    broken_from: float | None


def write_forecast(
    operator: Operator,
    store: Store,
    path: str | Path,
    request: Request | None = None,
    *,
    overwrite: bool = False,
    strict: bool = False,
    progress: bool = False,
    others: Sequence[Operator] = (),
    **wishes: Any,
) -> Written:
    """Roll an operator out from stored initial frames, and write what it predicts as it comes.

    Stored frames at the same times are written beside it as NAME_truth, along `truth_time` where
    not all times have one.

    Args:
        operator: moved to the device and set to evaluation mode.
        store: gives the history, and the truth where it has it.
        path: a NetCDF file, or with the suffix .zarr a Zarr store.
        request: what to predict, also beyond the stored frames and between them.
        overwrite: replace what is there.
        strict: refuse what is outside of what was trained.
        progress: show a bar on the error stream.
        others: further operators that predict the same, each a member (or several) of an ensemble.
        wishes: attributes of `Request` in place of the request's, as in `steps=20`.

    Raises:
        ValueError: `path` is taken or ends otherwise, its disk is too full, another process writes
            it; or as in `predict`; or `strict` is set and the verdict is "outside".
    """
    request, path = replace(request or Request(), **wishes), Path(path)
    require_netcdf(path, others=(ZARR,))
    plan = make_plan(operator, store, request, beyond=True)
    _refuse(path, overwrite)
    team = team_of(operator, others, store, request, plan)
    job = _Job(team, store, request, plan, path, strict)
    with alone(path), naming_full_disk(path):
        job.open()
        try:
            job.run(progress)
        except ValueError:
            discard(path)
            raise
        return job.finish(overwrite)


def _refuse(path: Path, overwrite: bool) -> None:
    if path.suffix != ZARR or not path.is_dir():
        refuse_existing(path, overwrite)
    elif not overwrite:
        raise ValueError(
            f"{path} exists already; choose another path, or replace it "
            "(--overwrite, in Python overwrite=True)"
        )


@dataclass
class _Job:
    """The writing of one forecast."""

    team: Team
    store: Store
    request: Request
    plan: Plan
    path: Path
    strict: bool
    variables: list[Variable] = field(default_factory=list)
    known: list[int] = field(default_factory=list)

    @property
    def operator(self) -> Operator:
        """The one that is asked."""
        return self.team.operators[0]

    @property
    def members(self) -> int:
        """Of the ensemble; 0: there is none."""
        return self.team.count if self.team.ensemble else 0

    def open(self) -> None:
        """The draft of an earlier attempt, or a new one."""
        self.draft, self.marked = places(self.path)
        self.known = [
            k
            for k in range(self.plan.steps)
            if any(self.plan.stored(k, self.store, i) for i in self.plan.trajectories)
        ]
        self.variables = _variables(self.store, self.plan, self.members, self.known)
        points = int(np.prod(self.store.grid.shape))
        self.block = max(1, min(_BLOCK // (4 * points), self.plan.steps, 256))
        identity = identity_of(self.team.operators, self.store, self.request, self.plan)
        found = read_marks(self.marked, identity)
        self.marks = found or Marks(identity)
        if found is None or not self.draft.exists():
            discard(self.path)
            self._require_room()
            self.marks = Marks(identity)
            create(self.draft, _labels(self), self.variables, self.block)
        self.file: FrameFile = opened(self.draft, self.variables)

    def run(self, progress: bool) -> None:
        """Predict and write what is missing."""
        done, marks = self._done(), self.marks
        buffer: list[np.ndarray] = []
        self.saved = time.monotonic()
        steps = forecast(
            self.operator, self.store, self.plan, self.request,
            title="predict", progress=progress, done=done, others=self.team.operators[1:],
        )  # fmt: skip
        for step in steps:
            marks.dataset = step.dataset
            if not marks.started:
                self._begin(step)
            self._note_broken(step)
            buffer.append(step.fields.cpu().float().numpy())
            last = step.index + 1 == self.plan.steps
            if last or (step.index + 1) % self.block == 0:
                self._write(step, np.stack(buffer, 1))
                buffer = []
                marks.member, marks.row, marks.steps = step.member, step.rows.start, step.index + 1
                if last:
                    self._judge(judge_end(self.operator, self._start(step), step.fields))
                    self._next(step)
                self._save(last)

    def finish(self, overwrite: bool) -> Written:
        """Give the draft its name."""
        marks, plan = self.marks, self.plan
        verdict = verdict_from_json(marks.verdict)
        self.file.finish({"verdict": marks.verdict})
        if self.path.is_dir() and overwrite:
            shutil.rmtree(self.path)
        self.draft.replace(self.path)
        self.marked.unlink(missing_ok=True)
        # Trajectories that break are counted instead.
        Verdict(tuple(f for f in verdict.findings if f.quantity != FINITE)).act(strict=False)
        first = min(marks.broken.values(), default=None)
        lead = None if first is None else plan.leads[first]
        rows = {key.split(".")[1] for key in marks.broken}
        return Written(self.path, plan, verdict, len(rows), lead)

    def _done(self) -> Done:
        """Where the forecast goes on."""
        marks, recent = self.marks, None
        if marks.steps and self._resumable():
            last = min(marks.row + self.request.batch, len(self.plan.trajectories))
            first = max(0, marks.steps - self.plan.history)
            rows = [self._read(row, first) for row in range(marks.row, last)]
            recent = torch.from_numpy(np.stack(rows))
        else:
            marks.steps = 0
        return Done(marks.member, marks.row, marks.steps, marks.dataset, recent)

    def _read(self, row: int, first: int) -> np.ndarray:
        """Frames (T, C, *S) that were written of a row, up to the marks."""
        marks, sample = self.marks, self._sample(self.marks.member, row)
        fields = self.plan.fields
        return np.stack([self.file.read(name, sample, first, marks.steps) for name in fields], 1)

    def _resumable(self) -> bool:
        """Whether the written frames are the whole state: they are in single precision."""
        operator = self.team.operator(min(self.marks.member, self.team.count - 1))
        exact = all(p.dtype == torch.float32 for p in operator.parameters())
        return exact and not operator.assimilates

    def _begin(self, step: Step) -> None:
        """Judge the start of a batch, and write its truth."""
        verdict = judge_start(self.operator, self._start(step))
        if self.strict:
            verdict.act(strict=True)
        self._judge(verdict)
        self.marks.started = True
        if step.member == 0:
            for row, i in enumerate(step.trajectories, step.rows.start):
                self._write_truth(row, i)

    def _write_truth(self, row: int, i: int) -> None:
        elsewhere = masked_points(self.store, self.plan.fields, i)
        for place, k in enumerate(self.known):
            if not self.plan.stored(k, self.store, i):
                frame = np.full((len(self.plan.fields), *self.store.grid.shape), np.nan, np.float32)
            else:
                frame = truth(self.store, self.plan, [i], k)[0].numpy().copy()
            if elsewhere is not None:
                frame[elsewhere] = np.nan
            for channel, name in enumerate(self.plan.fields):
                self.file.write(name + TRUTH, (row,), place, frame[channel][None])

    def _write(self, step: Step, frames: np.ndarray) -> None:
        """A block (B, T, C, *S) that ends with a step."""
        first = step.index + 1 - frames.shape[1]
        for row, i in enumerate(step.trajectories):
            elsewhere = masked_points(self.store, self.plan.fields, i)
            values = frames[row]
            if elsewhere is not None:
                values[:, elsewhere] = np.nan
            sample = self._sample(step.member, step.rows.start + row)
            for channel, name in enumerate(self.plan.fields):
                self.file.write(name, sample, first, values[:, channel])

    def _sample(self, member: int, row: int) -> tuple[int, ...]:
        return (member, row) if self.members else (row,)

    def _start(self, step: Step) -> Start:
        context = replace(step.given.context, dataset=step.dataset)
        return Start(step.given.history, context, self.plan.increments, self.plan.leads)

    def _judge(self, verdict: Verdict) -> None:
        marks = self.marks
        before = verdict_from_json(marks.verdict) if marks.verdict else Verdict(())
        marks.verdict = before.merged(verdict).to_json()

    def _note_broken(self, step: Step) -> None:
        wrong = ~step.fields.isfinite()
        if step.mask is not None:
            wrong &= step.mask
        for row in wrong.flatten(1).any(1).nonzero().flatten().tolist():
            key = f"{step.member}.{step.rows.start + row}"
            self.marks.broken.setdefault(key, step.index)

    def _next(self, step: Step) -> None:
        """The marks of the batch after the one that is finished."""
        marks = self.marks
        marks.row, marks.steps, marks.started = step.rows.start + self.request.batch, 0, False
        if marks.row >= len(self.plan.trajectories):
            marks.member, marks.row = marks.member + 1, 0

    def _save(self, batch_done: bool) -> None:
        now = time.monotonic()
        if now - self.saved >= _PAUSE or (batch_done and now - self.saved >= _PAUSE / 4):
            self.file.flush()
            self.marks.write(self.marked)
            self.saved = now

    def _require_room(self) -> None:
        needed = sum(v.size for v in self.variables) + _MARGIN
        folder = next(parent for parent in self.path.absolute().parents if parent.exists())
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise ValueError(
                f"{self.path} needs {needed / 2**20:.1f} MiB and only {free / 2**20:.1f} MiB are "
                "free on its disk"
            )


def _variables(store: Store, plan: Plan, members: int, known: Sequence[int]) -> list[Variable]:
    """The predicted fields, and the stored ones where there are some."""
    count = len(plan.trajectories)
    lead = ((MEMBER, members),) if members else ()
    space = tuple(zip(store.axes, store.grid.shape, strict=True))
    found = []
    for name in plan.fields:
        dims = (*lead, ("trajectory", count), ("time", plan.steps), *space)
        about = {"long_name": f"predicted {name}"} | unit_of(store, name)
        found.append(_variable(name, dims, 1 + len(lead), about))
        if known:
            time = "time" if len(known) == plan.steps else TRUTH_TIME
            dims = (("trajectory", count), (time, len(known)), *space)
            about = {"long_name": f"stored {name}"} | unit_of(store, name)
            found.append(_variable(name + TRUTH, dims, 1, about))
    return found


def _variable(
    name: str, dims: Sequence[tuple[str, int]], samples: int, about: dict[str, Any]
) -> Variable:
    names, sizes = zip(*dims, strict=True)
    return Variable(name, names, sizes, samples, about)


def _labels(job: _Job) -> xarray.Dataset:
    """Coordinates and attributes of the file."""
    found = coordinates(job.store, job.plan)
    found["trajectory"] = (("trajectory",), np.asarray(job.plan.trajectories))
    found |= member_coordinate(job.members)
    if 0 < len(job.known) < job.plan.steps:
        leads = np.array([job.plan.leads[k] for k in job.known])
        about = {"long_name": "time since last given frame, of stored frames"}
        found[TRUTH_TIME] = ((TRUTH_TIME,), leads, about | unit_of(job.store, "time"))
    calibration, bands = job.operator.description.calibration, {}
    for name in job.plan.fields if calibration else ():
        assert calibration is not None
        about = band_attributes(calibration, name, job.store.units.get(name))
        bands[name + BAND] = (("time",), calibration.band(name, job.plan.leads), about)
    return xarray.Dataset(bands, found, attributes(job.operator, job.store, job.plan))
