"""The sections of a campaign, by name; imports all that the cases need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import damage
import disks
import inputs
import kills
import soak
import starts
import torch
from ledger import Case
from made import Made, make

# What the commands import, so that children find it there.
from pelagos.finetune.cli import assimilate, data, exchange, forecast, training  # noqa: F401
from pelagos.finetune.report import report  # noqa: F401
from pelagos.pretrain import training as trained  # noqa: F401

ALONE: dict[str, Callable[[Made, int], Case]] = {
    "damaged files": damage.case,
    "simultaneous starts": starts.case,
    "kills": kills.case,
    "kills inside imports": kills.importing,
    "disks": disks.case,
}


def cases(section: str, numbers: Sequence[int], folder: Path, minutes: float) -> Iterator[Case]:
    """The cases of these numbers, one after another."""
    torch.set_num_threads(1)
    made = make(folder)
    if section == inputs.SECTION:
        while numbers:
            found = inputs.batch(made, numbers[: inputs.BATCH])
            yield from found
            known = {case.number for case in found}
            numbers = [number for number in numbers if number not in known]
        return
    for number in numbers:
        if section == soak.SECTION:
            yield soak.case(made, number, minutes)
        else:
            yield ALONE[section](made, number)
