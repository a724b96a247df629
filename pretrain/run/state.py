"""Training state on disk: complete or absent, and exact to the bit.

`RUN/state/step-00000200/` holds the operator (a checkpoint), `optimizer.safetensors`,
`progress.json`, the checksums of all, and `average.safetensors` where an average is kept; or, in
place of all tensors, `shards/` with a file of each process. A directory appears under its name by
one rename, so whatever is there is complete; the one before it is kept, older ones are removed.
Data order and dropout depend on the step alone, so no random state is kept. Any number of processes
can go on from a state.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from ...datasets.base.appearing import appearing_folder, flush
from ...datasets.base.config import build
from ...datasets.base.manifest import MANIFEST, require_intact, seal
from ...datasets.base.texts import MOST_JSON, parse_json, read_text
from ...operators.core import checkpoint
from ...operators.core.operator import Operator
from ...operators.core.writing import Slots, slots_of, write_tensors
from ..average import Average
from . import shards
from .best import forget_earlier
from .directory import identity
from .fingerprints import has_fingerprints
from .history import extent

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_STATE = re.compile(r"step-\d{8}")
_REMEDY = "remove {} to start over"
_MOMENTS_FILE, AVERAGE = "optimizer.safetensors", "average.safetensors"
_FILES = (f"operator/{MANIFEST}", _MOMENTS_FILE, "progress.json")
_OPERATOR, _MOMENTS_OF, _AVERAGED = "operator/", "optimizer/", "average/"  # before tensors' names
_DAMAGED = "damaged-"  # before the name of a state that is not used


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: optimizer steps taken.
        samples: windows seen, over all processes.
        seconds: training time so far, over all attempts.
        rewinds: how often training went back to an earlier state; the order of the data follows
            from it.
        objective: what the objective has learned itself, by name.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    rewinds: int = 0
    objective: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Saved(Progress):
    """What `progress.json` holds.

    Attributes:
        run: of which run (see `directory.identity`); empty if it is not known.
        log: what was on record (see `history.extent`); of an earlier version it is not known.
        data: whether it was on record what data the run has seen (see `fingerprints`).
    """

    run: str = ""
    log: tuple[int, str] = (0, "")
    data: bool = False


def latest(run: Path) -> Path | None:
    """The newest complete training state of a run, if there is one."""
    return max(_states(run), default=None)


def set_damaged_aside(run: Path, say: Callable[[str], None]) -> None:
    """Rename states that are not as they were saved, so that the one before them is the latest.

    Args:
        run: the run directory, which no other job uses.
        say: told which state is damaged, how, and which one is used.

    Raises:
        ValueError: there are states, and none is as it was saved; nothing is renamed.
    """
    damaged: list[tuple[Path, str]] = []
    for state in sorted(_states(run), reverse=True):
        try:
            require_intact(state, _files(state))
            _require_own(state, run)
        except ValueError as error:
            damaged.append((state, str(error)))
            continue
        for other, reason in damaged:
            other.rename(other.with_name(f"{_DAMAGED}{other.name}-{secrets.token_hex(4)}"))
            say(f"warning: {reason}; going on from {state}, which is as it was saved")
        return
    if damaged:
        state, reason = damaged[0]
        remedy = "" if "to start over" in reason else f"; {_REMEDY.format(state.parent)}"
        raise ValueError(f"{reason}{remedy}")


def _states(run: Path) -> list[Path]:
    return [path for path in (run / "state").glob("step-*") if _STATE.fullmatch(path.name)]


def _files(state: Path) -> tuple[str, ...]:
    """What the manifest of a state must list."""
    if shards.are_in(state):
        return ("operator/config.json", "progress.json", *shards.files_of(state))
    return _FILES


def _require_own(state: Path, run: Path) -> None:
    """Refuse a state of another step than its name says, of another run, or without checksums."""
    progress = _read_saved(state)
    if progress.data and not (state / MANIFEST).exists():  # earlier versions knew of neither
        raise ValueError(f"{state / MANIFEST} is missing")
    if state.name != f"step-{progress.step:08d}":
        raise ValueError(f"{state / 'progress.json'} is damaged (it says step {progress.step})")
    own = identity(run)
    if own and progress.run and progress.run != own:
        raise ValueError(f"{state} belongs to another run than {run}")


def read_progress(state: Path) -> Progress:
    """How far the run was when `state` was saved.

    Raises:
        ValueError: the file is missing or damaged.
    """
    saved = _read_saved(state)
    return Progress(saved.step, saved.samples, saved.seconds, saved.rewinds, saved.objective)


def recorded_in(state: Path) -> tuple[int, str]:
    """What was on record when `state` was saved (see `history.extent`).

    Raises:
        ValueError: as `read_progress`.
    """
    return _read_saved(state).log


def knew_data(state: Path) -> bool:
    """Whether it was on record what data the run has seen when `state` was saved.

    Raises:
        ValueError: as `read_progress`.
    """
    return _read_saved(state).data


def _read_saved(state: Path) -> _Saved:
    path = state / "progress.json"
    try:
        return build(_Saved, parse_json(read_text(path, MOST_JSON)))
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); {_REMEDY.format(state)}") from None


def save_state(
    run: Path,
    operator: Operator,
    model: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
    accelerator: Accelerator,
    keep: int = 2,
    average: Average | None = None,
) -> None:
    """Save the training state as whole tensors, and keep the newest ones.

    Every process must call it (sharded tensors are gathered).
    """
    tensors = tensors_of(model, optimizer, average, whole=True)
    if accelerator.is_main_process:
        write_whole(run, checkpoint.config_of(operator), tensors, progress, keep)
    accelerator.wait_for_everyone()


def tensors_of(
    model: nn.Module, optimizer: Optimizer, average: Average | None, *, whole: bool
) -> dict[str, Tensor]:
    """All tensors of a training state, by `operator/NAME`, `optimizer/NAME/MOMENT`, `average/NAME`.

    Args:
        model: prepared for its processes, each of which must call this.
        optimizer: over its parameters.
        average: of its weights.
        whole: gathered on the host of the main process, in place of the pieces that each has.
    """
    options = _FULL if whole else None
    weights: Any = get_model_state_dict(model, options=options)
    averaged = {}
    if average is not None:
        averaged = _averaged(model, average) if whole else average.tensors()
    state: Any = get_optimizer_state_dict(model, optimizer, options=options).get("state", {})
    moments = {
        f"{name}/{moment}": value
        for name, entries in state.items()
        for moment, value in entries.items()
    }
    parts = {_OPERATOR: weights, _MOMENTS_OF: moments, _AVERAGED: averaged}
    return {f"{part}{name}": value for part, of in parts.items() for name, value in of.items()}


def write_whole(
    run: Path, config: dict[str, Any], tensors: dict[str, Tensor], progress: Progress, keep: int
) -> None:
    """Write a training state of whole tensors; of the main process.

    Args:
        run: the run directory.
        config: of the operator, as its checkpoint has it.
        tensors: from `tensors_of`.
        progress: how far the run is.
        keep: how many states, the newest, stay.
    """
    files = {_MOMENTS_FILE: _part(tensors, _MOMENTS_OF)}
    averaged = _part(tensors, _AVERAGED)
    if averaged:
        files[AVERAGE] = averaged
    with appearing_state(run, progress, keep) as draft:
        (draft / "operator").mkdir()
        with ThreadPoolExecutor(len(files)) as pool:  # one file waits for the disk, others not
            written = {n: pool.submit(write_tensors, draft / n, t) for n, t in files.items()}
            checkpoint.fill(draft / "operator", config, _part(tensors, _OPERATOR))
        seal(draft, {name: each.result() for name, each in written.items()})


@contextmanager
def appearing_state(run: Path, progress: Progress, keep: int) -> Iterator[Path]:
    """A folder to fill with tensors, which becomes the newest state; older ones are removed.

    It has `progress.json` already; whoever fills it seals it.

    Args:
        run: the run directory.
        progress: how far the run is.
        keep: how many states, the newest, stay.
    """
    record = extent(run, progress.step)
    known = has_fingerprints(run)
    saved = _Saved(**asdict(progress), run=identity(run), log=record, data=known)
    if (run / "log.jsonl").exists():
        flush(run / "log.jsonl")  # the record of a step is on disk before its state
    with appearing_folder(run / "state" / f"step-{progress.step:08d}") as draft:
        (draft / "progress.json").write_text(json.dumps(asdict(saved)) + "\n")
        yield draft
    remove_older(run, keep)


def weights_in(model: nn.Module, average: Average | None) -> dict[str, Tensor]:
    """The tensors of a prepared model by name, as this process has them; not copied.

    Args:
        model: prepared for its processes, each of which must call this.
        average: whose tensors take the place of those that are averaged.
    """
    weights: Any = get_model_state_dict(model)
    return weights if average is None else {**weights, **average.tensors()}


def _averaged(model: nn.Module, average: Average) -> dict[str, Tensor]:
    with average.swapped():
        weights: Any = get_model_state_dict(model, options=_FULL)
        return {name: weights[name].clone() for name in average.names if name in weights}


def load_state(
    state: Path,
    operator: Operator,
    model: nn.Module,
    optimizer: Optimizer,
    average: Average | None = None,
) -> Progress:
    """Put a saved training state back into a prepared model, its optimizer and its average.

    Settings of the optimizer are the recipe's; its moments are the saved ones.

    Raises:
        ValueError: a file is damaged, or a tensor is missing or does not fit (named).
    """
    progress = read_progress(state)
    names = {parameter: name for name, parameter in operator.named_parameters()}
    groups = [
        {**group, "params": [names[parameter] for parameter in group["params"]]}
        for group in optimizer.param_groups
    ]
    if shards.are_in(state):
        tensors = tensors_of(model, optimizer, average, whole=False)
        shards.read(state, tensors)
        weights, moments, options = _part(tensors, _OPERATOR), _part(tensors, _MOMENTS_OF), None
    else:
        weights, moments = _read_whole(state, operator, model, groups, average)
        options = _FULL
    set_model_state_dict(model, weights, options=options)
    entries: dict[str, dict[str, Tensor]] = {}
    for key, value in moments.items():
        name, _, moment = key.rpartition("/")
        entries.setdefault(name, {})[moment] = value
    loaded: Any = {"state": entries, "param_groups": groups}
    set_optimizer_state_dict(model, optimizer, loaded, options=options)
    for group, own in zip(optimizer.param_groups, groups, strict=True):
        group.update({k: v for k, v in own.items() if k != "params"})  # it loses empty ones
    return progress


def _read_whole(
    state: Path,
    operator: Operator,
    model: nn.Module,
    groups: Sequence[dict[str, Any]],
    average: Average | None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The weights and moments of a state of whole tensors; its average is put in place.

    Raises:
        ValueError: a file is damaged, or a tensor is missing or does not fit (named).
    """
    weights: Any = checkpoint.read_state(state / "operator")
    checkpoint.require_fit(weights, operator.state_dict(), str(state))
    checkpoint.require_dtypes(weights, operator.state_dict(), str(state))
    tensors = checkpoint.read_tensors(state / _MOMENTS_FILE)
    trained = [name for group in groups for name in group["params"]]
    expected = {f"{name}/{moment}" for name in trained for moment in _MOMENTS}
    wrong = sorted(expected ^ set(tensors))
    if wrong:
        raise ValueError(
            f"{state / 'optimizer.safetensors'} lacks or should not hold {', '.join(wrong[:5])}; "
            f"{_REMEDY.format(state)}"
        )
    if average is not None:
        averaged = _read_average(state, weights, average)
        with average.swapped():
            set_model_state_dict(model, averaged, options=_FULL)
    return weights, tensors


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Any]:
    """The tensors whose names begin with `part`, by the rest of their names."""
    return {name.removeprefix(part): t for name, t in tensors.items() if name.startswith(part)}


def weights_of(state: Path) -> dict[str, Tensor]:
    """The whole tensors of a state's operator.

    Raises:
        ValueError: a file is missing or damaged.
    """
    if shards.are_in(state):
        return shards.read_whole(state, _OPERATOR)
    return checkpoint.read_state(state / "operator")


def average_of(state: Path) -> dict[str, Tensor]:
    """What the average of a state has in place of the operator's tensors, whole.

    Raises:
        ValueError: a file is missing or damaged.
    """
    if shards.are_in(state):
        return shards.read_whole(state, _AVERAGED)
    return checkpoint.read_tensors(state / AVERAGE)


def sharded_weights(state: Path, *, average: bool) -> tuple[Slots, Iterator[Tensor]]:
    """What `weights_of` gives of a state in shards, one tensor after another.

    Args:
        state: a training state in shards.
        average: whether what is averaged has the place of the weights themselves.

    Returns:
        Type and shape of the tensors by name, and the tensors in this order.

    Raises:
        ValueError: a file is missing or damaged; also where tensors are read.
    """
    found = shards.shapes(state)
    parts = (_OPERATOR, _AVERAGED) if average else (_OPERATOR,)
    places = {n.removeprefix(part): n for part in parts for n in found if n.startswith(part)}
    slots = slots_of({name: found[place] for name, place in places.items()})
    return slots, shards.read_one_by_one(state, [places[name] for name in slots])


def _read_average(state: Path, weights: dict[str, Tensor], average: Average) -> dict[str, Any]:
    """All tensors of the averaged operator.

    Raises:
        ValueError: the file is missing or damaged, or holds other tensors than are averaged.
    """
    path = state / AVERAGE
    if not path.is_file():
        raise ValueError(f"{path} is missing; {_REMEDY.format(state)}")
    found = checkpoint.read_tensors(path)
    named = {name: weights[name] for name in average.names}
    checkpoint.require_fit(found, named, str(path))
    checkpoint.require_dtypes(found, named, str(path))
    return {**weights, **found}


def remove_older(run: Path, keep: int) -> None:
    """Keep the newest states, and nothing else that killed processes left.

    Two stay at least: should the newest be damaged, the run goes on from the one before it.
    """
    states = sorted(_states(run))
    for path in states[: -max(2, keep)]:
        shutil.rmtree(path)
    forget_earlier(run, int(states[-max(2, keep) :][0].name.removeprefix("step-")))
    for path in (run / "state").glob(".step-*"):
        if path.is_dir() and _STATE.fullmatch(path.name.lstrip(".").split(".")[0]):
            shutil.rmtree(path)
