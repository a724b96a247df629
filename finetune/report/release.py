"""A finished run as a checkpoint to share: with its model card, in half precision if asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...datasets.base.appearing import appearing_folder
from ...datasets.base.config import read
from ...datasets.fields.window import Window, collate
from ...operators.core import checkpoint
from ...operators.core.description import Description
from ...operators.core.halves import HALF, STORED, halved, widened
from ...operators.core.operator import Operator
from ...operators.core.shipped import CARD
from ...pretrain.data import open_stores, validation_windows
from ...pretrain.held_out import LongWindows
from ...pretrain.objectives import metric_sums
from ...pretrain.recipe import TrainRecipe
from ...pretrain.run import read_runs
from ...pretrain.trained import trained_ranges
from ..adapt import FinetuneRecipe
from .card import Card, Score, card

MOST_ERROR = 1e-3  # of the output, that half precision may cost


@dataclass(frozen=True)
class Release:
    """How a run is shared.

    Attributes:
        name: of the checkpoint's folder; empty: the run's.
        half: store large tensors in half precision.
        license: of the weights; empty: as the checkpoint says.
        note: a sentence for the card, on limits say.
    """

    name: str = ""
    half: bool = False
    license: str = ""
    note: str = ""


def release(run: Path, folder: Path, asked: Release, *, overwrite: bool = False) -> Path:
    """Write the checkpoint of a finished run into a folder of checkpoints, with a model card.

    Scores and the error of half precision are measured on the run's validation data.

    Args:
        run: a run directory.
        folder: where checkpoints lie, each in a folder of its name (see `operators.core.shipped`).
        asked: how it is shared.
        overwrite: replace a checkpoint that is there.

    Returns:
        The checkpoint's folder.

    Raises:
        ValueError: the run is not finished, its data cannot be read, the name is taken, or half
            precision would change predictions by more than 1e-3 of themselves.
    """
    out = folder / (asked.name or run.resolve().name)
    checkpoint.require_free(out, overwrite)
    [found] = read_runs([run])
    operator = checkpoint.from_pretrained(checkpoint.locate(run))
    recipe = read(
        FinetuneRecipe if "init_from" in found.recipe else TrainRecipe, run / "recipe.yaml"
    )
    operator.description = _described(operator.description, recipe, asked)
    windows = validation_windows(recipe, operator)
    error = require_small_error(operator, windows) if asked.half else None
    config = _shared(operator)
    state = {name: value.detach().cpu() for name, value in operator.state_dict().items()}
    if error is not None:
        config, state = {**config, STORED: HALF}, halved(state)
    size = sum(value.numel() * value.element_size() for value in state.values())
    text = card(
        Card(out.name, operator, found, _scores(operator, windows), size, error, asked.note)
    )
    with appearing_folder(out, overwrite=True) as draft:
        (draft / CARD).write_text(text, encoding="utf-8")
        checkpoint.fill(draft, config, state)
    return out


def _described(known: Description, recipe: TrainRecipe, asked: Release) -> Description:
    """With the licence, and the ranges of the training data where an earlier version wrote none."""
    trained = known.trained or trained_ranges(open_stores(recipe), known.channels)
    return replace(known, trained=trained, license=asked.license or known.license)


def require_small_error(operator: Operator, windows: Mapping[str, LongWindows]) -> float:
    """The largest error that half precision makes of a first prediction, over its norm.

    Raises:
        ValueError: it is more than 1e-3.
    """
    half = checkpoint.build(checkpoint.config_of(operator)).eval()
    checkpoint.load_state(half, widened(halved(operator.state_dict())), "the run")
    errors = {name: _difference(operator, half, items) for name, items in windows.items()}
    worst = max(errors, key=lambda name: errors[name])
    if not errors[worst] <= MOST_ERROR:
        raise ValueError(
            f"in half precision predictions on {worst} change by {errors[worst]:.2g} of "
            f"themselves, more than {MOST_ERROR:g}; share it in single precision (leave out --half)"
        )
    return errors[worst]


@torch.no_grad()
def _difference(one: Operator, other: Operator, windows: LongWindows) -> float:
    worst = 0.0
    for number in windows.numbers:
        first = collate([_first(windows[number])])
        prediction = one(first)
        worst = max(worst, float((other(first) - prediction).norm() / prediction.norm()))
    return worst


def _first(window: Window) -> Window:
    return replace(window, target=window.target[:1], lead_times=window.lead_times[:1])


@torch.no_grad()
def _scores(operator: Operator, windows: Mapping[str, LongWindows]) -> list[Score]:
    """Mean VRMSE of the first frame and of all, and of persistence, by dataset."""
    found = []
    for name, items in windows.items():
        totals, counts = torch.zeros(3), torch.zeros(3)
        for item in map(items.__getitem__, items.numbers):
            for i, (guess, truth) in enumerate(_guesses(operator, item)):
                sums, count = metric_sums("vrmse", guess, truth)
                totals[i] += sums.sum()
                counts[i] += count.sum()
        one, every, persistence = (totals / counts.clamp_min(1)).tolist()
        found.append(Score(name, len(items), items.horizon, one, every, persistence))
    return found


def _guesses(operator: Operator, item: Window) -> list[tuple[Tensor, Window]]:
    """The first frame, all frames, and persistence at all of them, each with its truth."""
    window, first = collate([item]), collate([_first(item)])
    guess = operator(window)
    last = torch.zeros_like(guess) if item.context.steady else window.history[:, -1:]
    return [(guess[:, :1], first), (guess, window), (last.expand_as(guess), window)]


def _shared(operator: Operator) -> dict[str, Any]:
    """`config.json` without where the data lay on the machine of the training."""
    config = checkpoint.config_of(operator)
    provenance = dict(config.get("provenance", {}))
    recipe = provenance.get("recipe")
    if isinstance(recipe, Mapping) and isinstance(recipe.get("data"), list):
        data = [{**entry, "path": Path(entry.get("path") or "").name} for entry in recipe["data"]]
        provenance["recipe"] = {**recipe, "data": data}
    return {**config, "provenance": provenance}
