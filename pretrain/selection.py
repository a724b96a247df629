"""Which weights are the best by validation, and whether to go on: both follow from the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from ..datasets.base.config import nearest
from .recipe import TrainRecipe

LAST, AVERAGE = "last", "average"  # which weights
MEAN = "mean"

# Weights -> dataset -> VRMSE (not finite: inf), of one validation.
Scores = Mapping[str, Mapping[str, float]]


def require_scored(recipe: TrainRecipe, datasets: Sequence[str]) -> None:
    """Refuse to choose by a dataset that is not validated.

    Raises:
        ValueError: there is none of that name.
    """
    by = recipe.validation.best
    if by not in (MEAN, *datasets):
        raise ValueError(
            f"validation.best names no dataset of the mixture: {by!r}"
            f"{nearest(by, (MEAN, *datasets))}"
        )


@dataclass(frozen=True)
class Standing:
    """How the validations so far went.

    Attributes:
        step: of the best weights; -1: none yet.
        score: their VRMSE.
        weights: whether they were the last ones of that step, or the average.
        reference: the score that is to be undercut, by `min_delta`.
        waited: validations in a row that did not.
    """

    step: int = -1
    score: float = inf
    weights: str = LAST
    reference: float = inf
    waited: int = 0


class Selection:
    """Follows the validations of a run; the same on all processes.

    Args:
        recipe: by which score, and how patiently.
        counts_from: the first step whose validation counts for early stopping: the start of the
            objective's last phase.
    """

    def __init__(self, recipe: TrainRecipe, counts_from: int) -> None:
        self.by, self.stopping = recipe.validation.best, recipe.early_stopping
        self.counts_from, self.standing = counts_from, Standing()

    @property
    def exhausted(self) -> bool:
        """Whether training should end."""
        return self.stopping is not None and self.standing.waited >= self.stopping.patience

    def replay(self, validations: Iterable[tuple[int, Scores]]) -> None:
        """Start over with the validations of a log, in their order."""
        self.standing = Standing()
        for step, scores in validations:
            self.see(step, scores)

    def see(self, step: int, scores: Scores) -> bool:
        """One more validation; whether its weights are the best so far."""
        before = self.standing
        means = {weights: self._score(by_name) for weights, by_name in scores.items()}
        weights = min(means, key=lambda name: means[name])
        score, now = means[weights], before
        better = score < before.score
        if better:
            now = replace(now, step=step, score=score, weights=weights)
        if step >= self.counts_from:
            least = 0.0 if self.stopping is None else self.stopping.min_delta
            undercuts = score < now.reference - least
            now = replace(
                now,
                reference=score if undercuts else now.reference,
                waited=0 if undercuts or step == self.counts_from else now.waited + 1,
            )
        self.standing = now
        return better

    def lose(self) -> None:
        """The best weights are not there: the next finite score is the best."""
        self.standing = replace(self.standing, step=-1, score=inf)

    def _score(self, scores: Mapping[str, float]) -> float:
        chosen = scores.values() if self.by == MEAN else [scores.get(self.by, inf)]
        return sum(chosen) / len(chosen)
