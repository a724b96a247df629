"""Training state on disk: complete or absent, and exact to the bit.

`RUN/state/step-00000200/` holds the operator (a checkpoint), `optimizer.safetensors` and
`progress.json`. A directory appears under its name by one rename, so whatever is there is
complete; older ones are removed afterwards. Data order and dropout depend on the step alone, so
no random state is kept. States are full tensors: any number of processes can go on from them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from ..operators import Operator, checkpoint

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
_SEPARATOR = "/"


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        step: optimizer steps taken.
        samples: windows seen, over all processes.
        seconds: training time so far, over all attempts.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0


def latest(run: Path) -> Path | None:
    """The newest complete training state of a run, if there is one."""
    states = sorted((run / "state").glob("step-*"))
    return states[-1] if states else None


def read_progress(state: Path) -> Progress:
    """How far the run was when `state` was saved."""
    return Progress(**json.loads((state / "progress.json").read_text()))


def save_state(
    run: Path,
    operator: Operator,
    model: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
    accelerator: Accelerator,
) -> None:
    """Save the training state; every process must call it (sharded tensors are gathered)."""
    weights: Any = get_model_state_dict(model, options=_FULL)
    state: Any = get_optimizer_state_dict(model, optimizer, options=_FULL).get("state", {})
    if accelerator.is_main_process:
        folder = run / "state"
        folder.mkdir(exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
        checkpoint.write(temporary / "operator", checkpoint.config_of(operator), weights)
        tensors = {
            f"{name}{_SEPARATOR}{key}": value.clone().contiguous()
            for name, entries in state.items()
            for key, value in entries.items()
        }
        save_file(tensors, temporary / "optimizer.safetensors")
        (temporary / "progress.json").write_text(json.dumps(asdict(progress)) + "\n")
        final = folder / f"step-{progress.step:08d}"
        temporary.rename(final)
        for old in folder.iterdir():
            if old != final:
                shutil.rmtree(old)
    accelerator.wait_for_everyone()


def load_state(state: Path, operator: Operator, model: nn.Module, optimizer: Optimizer) -> Progress:
    """Put a saved training state back into a prepared model and optimizer.

    Settings of the optimizer are the recipe's; its moments are the saved ones.
    """
    weights: Any = checkpoint.read_state(state / "operator")
    set_model_state_dict(model, weights, options=_FULL)
    entries: dict[str, Any] = {}
    for key, value in load_file(state / "optimizer.safetensors").items():
        name, entry = key.rsplit(_SEPARATOR, 1)
        entries.setdefault(name, {})[entry] = value
    names = {parameter: name for name, parameter in operator.named_parameters()}
    groups = [
        {**group, "params": [names[parameter] for parameter in group["params"]]}
        for group in optimizer.param_groups
    ]
    loaded: Any = {"state": entries, "param_groups": groups}
    set_optimizer_state_dict(model, optimizer, loaded, options=_FULL)
    return read_progress(state)


def publish(run: Path) -> None:
    """Copy the operator of the latest state to `RUN/checkpoint`, complete or not at all."""
    state = latest(run)
    assert state is not None, "a run is published after its last save"
    temporary = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=run))
    shutil.copytree(state / "operator", temporary, dirs_exist_ok=True)
    temporary.chmod(0o755)
    temporary.rename(run / "checkpoint")
