"""`pelagos predict`, `pelagos evaluate` and `pelagos report`.

Everything slow to import is imported when a command runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ...datasets.base.appearing import refuse_existing
from ...datasets.base.options import (
    Count,
    Device,
    File,
    Increasing,
    Index,
    Positive,
    Source,
    Values,
    named_device,
)
from ..forecast.lead_windows import LeadWindow, lead_windows
from ..forecast.request import Ensemble, Errors, Mode, Request
from .reading import OneSplit

if TYPE_CHECKING:
    from ...datasets.stores.store import Store
    from ...operators.core.operator import Operator
    from ..forecast.stream import Written


Windows = Annotated[
    tuple[LeadWindow, ...],
    Parameter(
        converter=lambda _, tokens: lead_windows(tokens[-1].value), n_tokens=1, metavar="A:B,…"
    ),
]


@Parameter(name="*")
@dataclass(frozen=True)
class Asked(Request):
    """A request as it is typed.

    Attributes:
        trajectories: only so many trajectories, from the first (default: all).
        start: first frame of the history.
        steps: frames to predict (default: as many as are stored).
        lead_times: predict at these physical times after the last given frame instead of --steps,
            for operators that are continuous in time.
        mode: predict each frame from the prediction before, or directly from the given frames, for
            operators that are continuous in time.
        batch: trajectories computed at a time.
        device: where to compute: cpu, cuda, …; auto: a GPU if there is one.
        prescribed: a file (NetCDF, Zarr, or any dataset) that has what is prescribed, by name and
            physical time, in place of the data.
    """

    trajectories: Count | None = None
    start: Index = 0
    steps: Count | None = None
    lead_times: Increasing | None = None
    mode: Mode = "autoregressive"
    batch: Count = 16
    device: Device = "auto"
    parameters: Annotated[dict[str, float], Parameter(parse=False)] = field(default_factory=dict)
    prescribed: Annotated[Source | None, Parameter(name="--prescribed-from")] = None
    ensemble: Annotated[Ensemble, Parameter(parse=False)] = field(default_factory=Ensemble)
    noise: Annotated[float, Parameter(parse=False)] = 0.0
    noise_seed: Annotated[int, Parameter(parse=False)] = 0


@Parameter(name="*")
@dataclass(frozen=True)
class Perturbed(Ensemble):
    """An ensemble as it is typed.

    Attributes:
        members: forecasts of each trajectory, all but the first from perturbed initial states.
        perturbation: their size, in standard deviations of each field over space.
        seed: of the perturbations.
        errors: how they are drawn: spectral, with the spectrum of each state; own, as the errors
            that an observer has learned (the size in those of its scale).
    """

    members: Count = 0
    perturbation: Positive = 0.01
    seed: Index = 0
    errors: Errors = "spectral"


@Parameter(name="*")
@dataclass(frozen=True)
class Judged:
    """How forecasts are judged, as it is typed.

    Attributes:
        long: judge long rollouts too: spectra, drifts, the attractor, growth of differences,
            eigenvalues, and forecasts that need no training.
        lead: sum up these windows of steps on their own, counted from 1, as in 6:12,13:30.
        noise: add white noise to the given frames, its deviation in standard deviations of each
            field over space.
        noise_seed: of that noise.
        break_even: measure after how many solves the operator was cheaper than our solver at equal
            error; for data that were simulated by an equation of ours.
        training_seconds: time of its training (default: as the run's log says).
        training_trajectories: trajectories that were simulated for it (default: as its recipe and
            the dataset say).
    """

    long: Annotated[bool, Parameter(negative="")] = False
    lead: Windows = ()
    noise: Positive | None = None
    noise_seed: Index = 0
    break_even: Annotated[bool, Parameter(negative="")] = False
    training_seconds: Positive | None = None
    training_trajectories: Count | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Answer:
    """Where a prediction goes, and what is asked of it, as it is typed.

    Attributes:
        out: file to write, Zarr where it ends in .zarr (default: prediction.nc in the run
            directory, else in the current one).
        overwrite: replace an existing file.
        strict: refuse what is outside of what was trained, instead of a warning.
        no_verify: open the checkpoint without checking its SHA-256.
    """

    out: File | None = None
    overwrite: bool = False
    strict: bool = False
    no_verify: bool = False


def predict(
    checkpoint: File,
    data: Source,
    /,
    *,
    reading: OneSplit = OneSplit(),  # noqa: B008  frozen, as all defaults here
    asked: Asked = Asked(),
    ensemble: Perturbed = Perturbed(),
    others: Annotated[tuple[File, ...], Parameter(name="--with", negative="")] = (),
    parameters: Annotated[Values, Parameter(name="--parameter")] = {},  # noqa: B006
    answer: Answer = Answer(),
) -> None:
    """Roll a checkpoint out from stored initial frames, and write the predicted fields, with the
    stored ones beside them, as NetCDF or Zarr.

    Frames are written as they come: any number of steps fits into memory, and the same command
    goes on after an interruption.

    Args:
        checkpoint: a checkpoint directory, or a run directory (then its checkpoint).
        data: a dataset that has the operator's fields.
        others: further checkpoints that predict the same, as members of an ensemble; repeatable.
        parameters: predict with this value of a parameter; repeatable.

    Examples:
        pelagos predict runs/mine data/burgers_1d --trajectories 4
        pelagos predict runs/mine/checkpoint data/burgers_1d --steps 200 --out long.nc
        pelagos predict runs/all2all data/burgers_2d --lead-times 0.35,0.7 --mode direct
        pelagos predict runs/mine data/burgers_1d --members 8 --parameter viscosity=0.01
        pelagos predict runs/seed0 data/burgers_1d --with runs/seed1 --with runs/seed2
    """
    overwrite, verify = answer.overwrite, not answer.no_verify
    checkpoint, out = _places(checkpoint, answer.out, "prediction.nc", overwrite)
    from ..forecast.stream import write_forecast

    operator, store = _open(checkpoint, data, reading, verify)
    request = replace(_request(asked), ensemble=ensemble, parameters=parameters)
    found = write_forecast(
        operator,
        store,
        out,
        request,
        overwrite=overwrite,
        strict=answer.strict,
        progress=True,
        others=[_opened(other, verify) for other in others],
    )
    _say_prediction(found, store.units.get("time", ""))


def _say_prediction(found: Written, unit: str) -> None:
    from ..report.comparison import number

    plan = found.plan
    if found.broken:
        print(
            f"pelagos: warning: {found.broken} of {len(plan.trajectories)} trajectories are not "
            f"finite from lead time {number(found.broken_from, unit)} on (the earliest)",
            file=sys.stderr,
        )
    first, last = (number(lead, unit) for lead in (plan.leads[0], plan.leads[-1]))
    print(
        f"prediction: {found.path} ({plan.steps} frame(s), {first} to {last} after the last given "
        f"one; {found.verdict.said}; open it with: xarray.open_dataset)"
    )


def evaluate(
    checkpoint: File,
    data: Source,
    /,
    *,
    reading: OneSplit = OneSplit(),  # noqa: B008
    asked: Asked = Asked(),
    judged: Judged = Judged(),
    out: File | None = None,
    overwrite: bool = False,
    no_verify: bool = False,
) -> None:
    """Roll a checkpoint out from stored initial frames and score every step against the stored
    frames, with persistence (repeating the last given frame) beside it; writes JSON.

    Args:
        checkpoint: a checkpoint directory, or a run directory (then its checkpoint).
        data: a dataset that has the operator's fields.
        out: file to write (default: evaluation.json in the run directory, else in the current one).
        overwrite: replace an existing file.
        no_verify: open the checkpoint without checking its SHA-256.

    Examples:
        pelagos evaluate runs/mine data/burgers_1d
        pelagos evaluate runs/mine data/burgers_1d --split valid --steps 20 --out valid.json
        pelagos evaluate runs/mine data/kuramoto_sivashinsky_1d --long
        pelagos evaluate runs/mine data/burgers_1d --break-even
    """
    run_folder = checkpoint
    checkpoint, out = _places(checkpoint, out, "evaluation.json", overwrite)
    from ..forecast.evaluate import evaluate as run
    from ..forecast.evaluate import write_evaluation

    operator, store = _open(checkpoint, data, reading, not no_verify)
    pays = _break_even(operator, store, asked, judged, run_folder) if judged.break_even else {}
    request = replace(_request(asked), noise=judged.noise or 0.0, noise_seed=judged.noise_seed)
    result = run(operator, store, request, progress=True, windows=judged.lead, long=judged.long)
    result |= {"checkpoint": str(checkpoint), "data": data, **pays}
    write_evaluation(result, out, overwrite=overwrite)
    _print_scores(result)
    for quantity, text in result["verdict"]["outside"].items():
        print(f"pelagos: warning: outside of what was trained: {quantity}: {text}", file=sys.stderr)
    if judged.long:
        _print_long(result)
    if judged.break_even:
        print(f"break-even: {result['break_even']['text']}")
    print(f"evaluation: {out}")


def report(
    runs: Annotated[tuple[File, ...], Parameter(name="RUN")],
    /,
    *,
    out: File = Path("report.html"),
    title: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write one self-contained HTML page about runs: whether pretraining helped, scores, learning
    curves, errors over lead time, fields, spectra, and how it was all made.

    Args:
        runs: run directories, and folders of studies.
        out: file to write.
        title: heading of the page.
        overwrite: replace an existing file.

    Examples:
        pelagos report runs/finetuned runs/scratch runs/pretrain --out report.html
        pelagos report runs/mine --title 'Burgers, 64 trajectories' --overwrite
    """
    refuse_existing(out, overwrite)
    from ..report.report import write_report

    path = write_report(runs, out, title=title, overwrite=overwrite)
    print(f"report: {path} (open it in a browser)")


def _places(run: Path, out: Path | None, name: str, overwrite: bool) -> tuple[Path, Path]:
    """The checkpoint's own directory, and the output, checked to be free."""
    from ...operators.core.checkpoint import locate

    checkpoint = locate(run)
    out = out or (run / name if checkpoint != run else Path(name))
    if out.suffix != ".zarr" or not out.is_dir() or not overwrite:
        refuse_existing(out, overwrite)
    return checkpoint, out


def _open(checkpoint: Path, data: str, reading: OneSplit, verify: bool) -> tuple[Operator, Store]:
    from ...operators.core.checkpoint import from_pretrained

    store = reading.open(data)
    return from_pretrained(checkpoint, verify=verify), store


def _opened(run: Path, verify: bool) -> Operator:
    from ...operators.core.checkpoint import from_pretrained, locate

    return from_pretrained(locate(run), verify=verify)


def _request(asked: Asked) -> Request:
    return replace(asked, device=named_device(asked.device))


def _break_even(
    operator: Operator, store: Store, asked: Asked, judged: Judged, run: Path
) -> dict[str, Any]:
    """After how many solves the operator pays; the time of training is the run's."""
    from ...pretrain.run.records import read_runs
    from ..forecast.break_even import Spent, break_even

    seconds = judged.training_seconds
    if seconds is None and (run / "recipe.yaml").is_file():
        seconds = read_runs([run])[0].seconds
    spent = Spent(seconds, judged.training_trajectories)
    found = break_even(operator, store, _request(asked), spent, progress=True)
    return {"break_even": found.to_json()}


def _print_scores(result: dict[str, Any]) -> None:
    """Mean VRMSE of model and persistence at the first, middle and last lead time."""
    from rich.console import Console
    from rich.table import Table

    from ..report.comparison import number

    lead, unit = result["lead_times"], result["store"]["units"].get("time", "")
    chosen = sorted({0, (len(lead) - 1) // 2, len(lead) - 1})
    table = Table(title=f"mean VRMSE on {result['store']['name']} ({result['store']['split']})")
    table.add_column("field")
    table.add_column("forecast by")
    for k in chosen:
        table.add_column(f"after {number(lead[k], unit)}", justify="right")
    for name in result["store"]["fields"]:
        for label, scores in ((result["operator"], "scores"), ("persistence", "persistence")):
            means = result[scores]["vrmse"][name]["mean"]
            table.add_row(name, label, *(number(means[k]) for k in chosen))
    Console().print(table)
    for window, means in result.get("windows", {}).items():
        pair = f"{number(means['vrmse'])}, persistence {number(means['persistence']['vrmse'])}"
        print(f"steps {window}: mean VRMSE {pair}")
    if not result["steady"]:
        _print_valid_time(result)
    if result["nonfinite_trajectories"]:
        print(f"{result['nonfinite_trajectories']} rollout(s) became infinite or NaN")


def _print_valid_time(result: dict[str, Any]) -> None:
    """How long forecasts stay correlated with the truth, beside persistence."""
    from ..report.comparison import number

    unit, lyapunov = result["store"]["units"].get("time", ""), result["lyapunov_time"]
    times = [part["valid_time"] for part in (result["summary"], result["summary"]["persistence"])]
    for label, time in zip((result["operator"], "persistence"), times, strict=True):
        if time is not None:
            chaos = "" if lyapunov is None else f" = {number(time / lyapunov)} Lyapunov times"
            print(f"{label} stays valid for {number(time, unit)}{chaos}")


def _print_long(result: dict[str, Any]) -> None:
    """The few numbers of long rollouts that fit into lines."""
    from ..report.comparison import number

    found = result["long"]
    attractor, floor = found["attractor"]["prediction"], found["attractor"].get("floor")
    for key, what in (("occupation", "divergence of states"), ("spectrum", "distance of spectra")):
        if attractor is not None:
            beside = "" if floor is None else f" (between halves of the truth {number(floor[key])})"
            print(f"attractor: {what} {number(attractor[key])}{beside}")
    exponents = [found["lyapunov"][who] for who in ("operator", "solver")]
    told = ["unknown" if value is None else number(value) for value in exponents]
    print(f"largest Lyapunov exponent: {told[0]} of {result['operator']}, {told[1]} of the solver")
