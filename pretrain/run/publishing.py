"""A run's checkpoint, from its states and its best weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from ...datasets.base.appearing import appearing_folder
from ...operators.core import checkpoint
from ..adaptation import Adaptation
from . import shards
from .state import average_of, latest, sharded_weights, weights_of

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
    with appearing_folder(run / checkpoint.OF_A_RUN) as draft:
        if kind == "best" and best is not None:
            _publish(best, draft, adaptation)
            return
        _publish_state(state, draft, adaptation, average=kind == "average")
        if best is not None:
            (draft / BEST).mkdir()
            _publish(best, draft / BEST, adaptation)


def _publish_state(
    state: Path, target: Path, adaptation: Adaptation | None, *, average: bool
) -> None:
    """Write the weights of a training state, or the average that it has in their place."""
    operator = state / "operator"
    if adaptation is None and not average and not shards.are_in(state):
        shutil.copytree(operator, target, dirs_exist_ok=True)
        return
    config = checkpoint.read_config(operator)
    if adaptation is None and shards.are_in(state):
        checkpoint.fill_one_by_one(target, config, *sharded_weights(state, average=average))
        return
    weights = weights_of(state)
    if average:
        weights.update(average_of(state))
    _fill(target, config, weights, adaptation, operator)


def _publish(source: Path, target: Path, adaptation: Adaptation | None) -> None:
    """Copy a checkpoint."""
    if adaptation is None:
        shutil.copytree(source, target, dirs_exist_ok=True)
        return
    config, weights = checkpoint.read_config(source), checkpoint.read_state(source)
    _fill(target, config, weights, adaptation, source)


def _fill(
    target: Path,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    adaptation: Adaptation | None,
    source: Path,
) -> None:
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
