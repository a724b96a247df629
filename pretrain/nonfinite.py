"""Losses and gradients that are not finite: found, named, and kept to be looked at.

What is found on the device stays there until the loop looks, so that no step waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from ..datasets.base.appearing import appearing_file
from ..datasets.fields.window import Window
from ..datasets.sampling.mixture import Mixture
from ..operators.core.writing import write_tensors
from .ranks import Ranks
from .run.state import latest

PATIENCE = 10  # steps that may be skipped one after the other


@dataclass(frozen=True)
class Bad:
    """The first value that was not finite: of a micro-batch, or of a step's gradient (-1)."""

    step: int
    number: int
    what: str


class NotFinite(ValueError):
    """Training cannot go on like this: what was not finite, with a remedy.

    Attributes:
        found: what it was, in words.
        step: of which optimizer step.
    """

    def __init__(self, found: str, step: int, saved: Path | None) -> None:
        kept = f"the last good state is {saved}" if saved else "nothing was saved yet"
        super().__init__(
            f"{found}; {kept}. Lower optimizer.learning_rate, clip gradients, or look at these data"
        )
        self.found, self.step = found, step


class Watch:
    """Losses of this process's micro-batches and gradient norms, since they were last looked at.

    Args:
        mixture: of the micro-batches.
        run: the run directory, where a micro-batch whose loss is not finite is kept.
        ranks: the processes, which look together.
    """

    def __init__(self, mixture: Mixture, run: Path, ranks: Ranks) -> None:
        self.mixture, self.run, self.ranks = mixture, run, ranks
        self.seen: list[tuple[Bad, Tensor]] = []
        self.skipped = 0

    def loss(self, step: int, number: int, value: Tensor) -> None:
        """Of a micro-batch."""
        self.seen.append((Bad(step, number, "loss"), value.detach()))

    def norm(self, step: int, value: Tensor) -> None:
        """Of the gradient of a step."""
        self.seen.append((Bad(step, -1, "gradient norm"), value))

    def require_finite(self) -> None:
        """Look at everything since the last time.

        Raises:
            NotFinite: a value was not finite; the first one is named, with its data.
        """
        bad = self._first()
        if bad is not None:
            step, found = bad
            raise NotFinite(found, step, latest(self.run))

    def skips(self, step: int, norm: Tensor) -> str | None:
        """What is wrong with a step that must be left out, or None if nothing is.

        Raises:
            NotFinite: too many in a row: the weights themselves are bad.
        """
        if isfinite(norm.item()):
            self.skipped = 0
            return None
        self.skipped += 1
        if self.skipped > PATIENCE:
            self.require_finite()
        bad = self._first()
        return None if bad is None else bad[1]

    def _first(self) -> tuple[int, str] | None:
        """Step of what was not finite first on any process, and what; forgets what was seen."""
        seen, self.seen = self.seen, []
        if not seen:
            return None
        values = torch.stack([value.float() for _, value in seen]).tolist()
        wrong = [(bad, v) for (bad, _), v in zip(seen, values, strict=True) if not isfinite(v)]
        mine = None
        if wrong:
            bad, value = wrong[0]
            own = [each.number for each, _ in seen if each.step == bad.step and each.number >= 0]
            places = self._keep(bad.step, own if bad.number < 0 else [bad.number])
            words = f"the {bad.what} is {value} at step {bad.step}{places}"
            mine = (bad.step, bad.number < 0, words)
        found = [each for each in self.ranks.gather(mine) if each is not None]
        if not found:
            return None
        step, _, words = min(found)
        return step, words

    def _keep(self, step: int, numbers: Sequence[int]) -> str:
        """Write micro-batches to the run; where their windows come from, in words."""
        places, kept = [], ""
        for number in numbers:
            path = self.run / f"nonfinite-step-{step:08d}-batch-{number}.safetensors"
            origins = self.mixture.origins(number)
            places += origins
            try:
                with appearing_file(path, overwrite=True) as draft:
                    about = {"windows": "\n".join(origins)}
                    write_tensors(draft, _tensors(self.mixture.batch(number)), about)
            except (ValueError, OSError):  # of the disk; the message matters more
                continue
            kept = kept or f" (kept in {path}{' and others' if len(numbers) > 1 else ''})"
        if not places:
            return ""
        more = f" and {len(places) - 2} more" if len(places) > 2 else ""
        return f"; its windows are {'; '.join(places[:2])}{more}{kept}"


def _tensors(window: Window) -> dict[str, Tensor]:
    """All that an operator sees of a micro-batch, and what it should predict."""
    context = window.context
    found = {
        "history": window.history,
        "target": window.target,
        "lead_times": window.lead_times,
        "constants": context.constants,
        "parameters": context.parameters,
        "mask": context.mask,
    }
    if context.prescribed is not None:
        found["prescribed.times"] = context.prescribed.times
        found["prescribed.values"] = context.prescribed.values
    return {name: tensor for name, tensor in found.items() if tensor is not None}
