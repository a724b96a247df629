"""A run's checkpoint, from its states and its best weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from ...datasets.base.appearing import appearing_folder
from ...operators.core import checkpoint
from ..adaptation import Adaptation
from .state import AVERAGE, latest

BEST = "best"  # where a run's checkpoint has the best weights, if others are its own


def publish(
    run: Path,
    adaptation: Adaptation | None = None,
    best: Path | None = None,
    kind: str = "last",
) -> None:
    """Write the weights of the latest state to `RUN/checkpoint`, complete or not at all.

    What an adaptation changed of the operator is undone in the copy.

    Args:
        run: the run directory.
        adaptation: what was changed while training.
        best: the best weights by validation, a checkpoint: published beside them.
        kind: "best": these are the checkpoint instead; "average": the average is.
    """
    state = latest(run)
    assert state is not None, "a run is published after its last save"
    source = best if kind == "best" and best is not None else state / "operator"
    with appearing_folder(run / checkpoint.OF_A_RUN) as draft:
        _publish(source, draft, adaptation, state / AVERAGE if kind == "average" else None)
        if best is not None and source is not best:
            (draft / BEST).mkdir()
            _publish(best, draft / BEST, adaptation)


def _publish(
    source: Path, target: Path, adaptation: Adaptation | None, instead: Path | None = None
) -> None:
    """Copy a checkpoint; tensors of the file `instead` take the place of its own."""
    if adaptation is None and instead is None:
        shutil.copytree(source, target, dirs_exist_ok=True)
        return
    config = checkpoint.read_config(source)
    weights = checkpoint.read_state(source)
    if instead is not None:
        weights.update(checkpoint.read_tensors(instead))
    if adaptation is not None:
        weights = _plain_weights(weights, config, adaptation, source)
    checkpoint.fill(target, config, weights)


def _plain_weights(
    weights: dict[str, Tensor], config: dict[str, Any], adaptation: Adaptation, source: Path
) -> dict[str, Tensor]:
    """The operator's tensors by name, without what the adaptation changed."""
    operator = checkpoint.build(config)
    adaptation.prepare(operator, seed=0)  # what is drawn is then read from the state
    checkpoint.load_state(operator, weights, str(source))
    adaptation.finish(operator)
    return operator.state_dict()
