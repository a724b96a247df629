"""The best weights of a run by validation: `RUN/best/step-00000200/`, a checkpoint.

Training may go back to any state that is kept, and with it to what was best at that step: of every
step from the oldest state on, the best weights of then are there.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor

from ...datasets.base.appearing import appearing_folder
from ...operators.core import checkpoint
from ...operators.core.writing import slots_of

FOLDER = "best"
_NAME = re.compile(r"step-(\d{8})")


def save_best(
    run: Path, step: int, config: dict[str, Any], weights: Mapping[str, Tensor], *, main: bool
) -> None:
    """Keep weights that are the best so far; replaces those of the same step.

    Every process must call it: sharded tensors are put together one by one, and written by the
    main one.

    Args:
        run: the run directory.
        step: at which they are the best.
        config: of their operator.
        weights: by name, of all processes the same names.
        main: whether this is the main process.
    """
    slots = slots_of(weights)
    whole = (_whole(weights[name]) for name in slots)
    if not main:
        for _ in whole:
            pass
        return
    with appearing_folder(run / FOLDER / f"step-{step:08d}", overwrite=True) as draft:
        checkpoint.fill_one_by_one(draft, config, slots, whole)


def _whole(tensor: Tensor) -> Tensor:
    """On the host, with the pieces that other processes have."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()).cpu()


def best_of(run: Path, step: int) -> Path | None:
    """The weights that were saved as the best of this step; None: there are none."""
    path = run / FOLDER / f"step-{step:08d}"
    return path if path.is_dir() else None


def all_best(run: Path) -> list[Path]:
    """The weights that were the best at some step and are kept, the latest first."""
    return [path for _, path in reversed(_saved(run))]


def forget_later(run: Path, step: int) -> None:
    """Remove what was best after `step`, where training goes on from."""
    for number, path in _saved(run):
        if number > step:
            shutil.rmtree(path)


def forget_earlier(run: Path, step: int) -> None:
    """Remove what was best only before `step`, the oldest to which training can go back."""
    for _, path in [each for each in _saved(run) if each[0] <= step][:-1]:
        shutil.rmtree(path)


def _saved(run: Path) -> list[tuple[int, Path]]:
    folder = run / FOLDER
    found = folder.glob("step-*") if folder.is_dir() else ()
    named = [(match[1], path) for path in found if (match := _NAME.fullmatch(path.name))]
    return sorted((int(number), path) for number, path in named)
