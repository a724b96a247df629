"""What happens beside the steps of a run: going on, saving, validating, choosing, going back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from ..operators.core.checkpoint import config_of
from ..operators.core.operator import Operator
from .adaptation import Adaptation
from .data import TrainingData
from .nonfinite import NotFinite
from .run import state as resume
from .run.best import best_of, forget_later, save_best
from .run.directory import changes_of
from .run.history import ENDED, drop_validation, has_record, rewind, validations
from .run.log import REWOUND, Log
from .run.publishing import publish
from .selection import LAST, Selection
from .trainee import Trainee


def order_seed(seed: int, rewinds: int) -> int:
    """The seed of the data's order after training went back so often; at first the recipe's."""
    if not rewinds:
        return seed
    words = np.random.SeedSequence((seed, 2**64, rewinds)).generate_state(1, np.uint64)
    return int(words[0]) >> 1


class Course:
    """A run from any of its states to its checkpoint; every process has one.

    Args:
        trainee: what is trained.
        data: windows to train and to validate on.
        run: the run directory.
    """

    def __init__(self, trainee: Trainee, data: TrainingData, run: Path) -> None:
        self.trainee, self.data, self.run = trainee, data, run
        self.recipe, self.ranks = trainee.recipe, trainee.job.ranks
        self.selection = Selection(self.recipe, trainee.phases[-1].steps.start)
        self._scored = -1  # the last step whose validation is on record

    @property
    def enough(self) -> bool:
        """Whether validation says that training should end."""
        return self.selection.exhausted

    def resume(self) -> resume.Progress:
        """Go on from the run's latest state, if it has one."""
        state = resume.latest(self.run)
        _require_same_state(state, self.run, self.trainee.accelerator)
        progress = resume.Progress() if state is None else self.trainee.load(state)
        step = -1 if state is None else progress.step
        self.ranks.once(lambda: rewind(self.run, step))
        self._recall(step)
        if self._scored < step:
            self.ranks.once(lambda: drop_validation(self.run, step))  # a kill cut it short
        return progress

    def _recall(self, step: int) -> None:
        """What validation said up to `step`, from the log."""
        sets = 1 if self.trainee.average is None else 2
        datasets = len(self.data.validation)
        found = self.ranks.once(lambda: validations(self.run, datasets, sets))
        self._scored = found[-1][0] if found else -1
        self.selection.replay(found)
        self.ranks.once(lambda: forget_later(self.run, step))
        best = self.selection.standing.step
        if best < 0 or self.ranks.once(lambda: best_of(self.run, best) is not None):
            return
        if best == step:  # killed before they were saved
            self._save_best()
        else:
            self.selection.lose()

    def announce(self, step: int, log: Log) -> None:
        """Say where this job starts, and what it changes of the run's recipe."""
        if step:
            log.say(f"going on from step {step}")
        for change in changes_of(self.run, self.recipe):
            log.record("recipe", step=step, change=change)
            log.say(f"from here on, {change}")

    def _latest(self) -> Path | None:
        """The newest state, as the main process sees it."""
        return self.ranks.once(lambda: resume.latest(self.run))

    def begin(self, progress: resume.Progress, log: Log) -> bool:
        """Make up for a validation that was due and is not on record: that of fresh weights, or one
        that was stopped. False: told to stop on the way."""
        step, recipe = progress.step, self.recipe
        if recipe.on_nonfinite == "rewind" and self._latest() is None:
            self.save(progress)  # there is always a state to go back to
        due = step % recipe.validation.every == 0 or step == recipe.steps
        if due and self._scored < step:
            return self.validate(step, log)
        if self.enough and not self.ranks.once(lambda: has_record(self.run, ENDED)):
            self._end(step, log)
        return True

    def settle(self, done: resume.Progress, log: Log, logs: bool, stopping: bool) -> bool:
        """After a step that is logged, or at which training stops: save and validate as is due.

        What was learned is on disk before a validation, which may take long. False: told to stop.
        """
        recipe, last = self.recipe, done.step == self.recipe.steps
        saves = last or stopping or (logs and done.step % recipe.save_every == 0)
        if saves:
            self.save(done)
        validates = last or (logs and done.step % recipe.validation.every == 0)
        goes_on = not validates or stopping or self.validate(done.step, log)
        if not saves and (self.enough or not goes_on):
            self.save(done)
        return goes_on and not stopping

    def save(self, progress: resume.Progress) -> None:
        """Save the training state."""
        self.trainee.save(self.run, progress)

    def validate(self, step: int, log: Log) -> bool:
        """Score every dataset, record it, and keep the weights if they are the best.

        False: told to stop on the way, and nothing is recorded.
        """
        found = self.trainee.validate(self.data.validation)
        if found is None:
            return False
        for weights, by_name in found.items():
            of = {} if weights == LAST else {"weights": weights}
            for name, (score, persistence) in by_name.items():
                numbers = {"vrmse": score, "persistence": persistence}
                log.record("valid", step=step, dataset=name, **of, **numbers)
        self._scored = step
        scores = {
            weights: {name: score for name, (score, _) in by_name.items()}
            for weights, by_name in found.items()
        }
        if self.selection.see(step, scores):
            self._save_best()
        if self.enough and step < self.recipe.steps:
            self._end(step, log)
        return True

    def _save_best(self) -> None:
        standing, trainee = self.selection.standing, self.trainee
        weights, main = trainee.weights(standing.weights), trainee.accelerator.is_main_process
        save_best(self.run, standing.step, config_of(trainee.operator), weights, main=main)
        trainee.accelerator.wait_for_everyone()

    def _end(self, step: int, log: Log) -> None:
        best, waited = self.selection.standing, self.selection.standing.waited
        log.record(ENDED, step=step, best=best.step, vrmse=best.score, waited=waited)
        log.say(
            f"training ends at step {step}: {waited} validations were no better than before; the "
            f"best was at step {best.step} (VRMSE {best.score:.4f})"
        )

    def go_back(self, failure: NotFinite, rewinds: int, log: Log) -> resume.Progress:
        """To the last state, from which the data come in another order.

        Args:
            failure: why.
            rewinds: how often, this time included.
            log: told.

        Raises:
            NotFinite: the failure, where the recipe does not ask for this (any more).
        """
        self.trainee.saver.wait()
        state = self._latest()
        if self.recipe.on_nonfinite != "rewind" or state is None:
            raise failure
        if rewinds > self.recipe.rewinds:
            log.say(f"training went back {rewinds - 1} times already (rewinds)")
            raise failure
        progress = replace(self.trainee.load(state), rewinds=rewinds)
        log.rewind(progress.step)
        self._recall(progress.step)
        about = {"failed": failure.step, "order": rewinds, "why": failure.found}
        log.record(REWOUND, step=progress.step + 1, **about)  # gone if this state is resumed
        log.say(
            f"{failure.found}; back to step {progress.step}, and on with the data in another order "
            f"({rewinds} of {self.recipe.rewinds} times)"
        )
        if self.recipe.tracked_by:
            log.say(
                f"{', '.join(self.recipe.tracked_by)} cannot go back: what was told of steps "
                f"{progress.step + 1} to {failure.step} stays there; log.jsonl has what counts"
            )
        return progress

    def finish(self, adaptation: Adaptation | None, log: Log) -> Operator:
        """Publish the run's checkpoint; the trained operator."""
        trainee, best = self.trainee, self.selection.standing
        trainee.saver.wait()
        if trainee.accelerator.is_main_process:
            path = best_of(self.run, best.step)
            publish(self.run, adaptation, path, self.recipe.publish)
            at = f"was at step {best.step} (VRMSE {best.score:.4f})"
            none = "is not known, as no score was finite; the last weights are published"
            log.say(f"the best of all validations {at if path else none}")
        trainee.accelerator.wait_for_everyone()
        return trainee.accelerator.unwrap_model(trainee.model)


def _require_same_state(state: Path | None, run: Path, accelerator: Accelerator) -> None:
    """Refuse to go on from different states, as on machines that do not share a disk."""
    step = -1 if state is None else resume.read_progress(state).step
    steps = accelerator.gather(torch.tensor([step], device=accelerator.device))
    assert isinstance(steps, Tensor)
    seen = sorted({"none" if each < 0 else f"step {each}" for each in steps.tolist()})
    if len(seen) > 1:
        raise ValueError(
            f"the processes see different states of {run} ({', '.join(seen)}); it must lie on a "
            "disk that all machines share"
        )
