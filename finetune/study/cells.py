"""The cells of a study: which trainings it is made of, and what each one is.

The learning rate is chosen with the first seed, by validation: there every rate is tried, and the
other seeds are trained with the best. So which cells there are follows from the scores so far, and
from nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...datasets.base.config import plain
from ...datasets.fields.normalization import Statistics, normalizer_to_dict
from ...datasets.stores.store import Store
from ...operators.core import checkpoint
from ...operators.core.operator import Operator
from ...operators.core.registry import get
from ...pretrain.conserved import kept
from ...pretrain.recipe import TrainRecipe
from ...pretrain.start import known_of
from ..adapt.recipe import FinetuneRecipe
from .peer import NAME as PEER
from .recipe import Start, StudyConfig, StudyRecipe


@dataclass(frozen=True)
class Place:
    """Where on the curves a cell lies: all but seed and learning rate."""

    start: Start
    steps: int
    trajectories: int


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        place: start, budget and number of trajectories.
        seed: of the subset, the initial weights and the order of the data.
        rate: learning rate.
    """

    place: Place
    seed: int
    rate: float

    @property
    def path(self) -> Path:
        """Its run directory, within the study's folder."""
        at = self.place
        numbers = f"{at.steps}-steps-{at.trajectories}-trajectories-seed-{self.seed}"
        return Path("cells", at.start, f"{numbers}-rate-{self.rate:g}")


class Plan:
    """Which cells a study has.

    Args:
        config: what is varied.
        counts: the numbers of training trajectories.
    """

    def __init__(self, config: StudyConfig, counts: tuple[int, ...]) -> None:
        self.config, self.counts = config, counts

    def places(self) -> Iterator[Place]:
        """Short budgets and few trajectories first."""
        for steps in self.config.steps:
            for count in self.counts:
                for start in self.config.starts:
                    yield Place(start, steps, count)

    def cells(self, place: Place, validation: Mapping[Cell, float]) -> list[Cell]:
        """The cells of a place, as far as is known which these are.

        Args:
            place: on the curves.
            validation: the best validation score (infinite where there is none) of finished cells.
        """
        if self._tuned(place) == place:
            tried = self._tried(place)
            rate = self._best(place, validation)
        else:
            tried, rate = [], self._best(self._tuned(place), validation)
        if rate is None:
            return tried
        return list(dict.fromkeys([*tried, *self.chosen(place, validation)]))

    def chosen(self, place: Place, validation: Mapping[Cell, float]) -> list[Cell]:
        """The cells with the chosen learning rate, one for each seed; none before it is chosen."""
        rate = self._best(self._tuned(place), validation)
        return [] if rate is None else [Cell(place, k, rate) for k in range(self.config.seeds)]

    def work(self) -> int:
        """Optimizer steps of all cells."""
        seeds, total = self.config.seeds, 0
        for place in self.places():
            extra = len(self._tried(place)) - 1 if self._tuned(place) == place else 0
            total += place.steps * (seeds + extra)
        return total

    def _tuned(self, place: Place) -> Place:
        return replace(place, trajectories=self.config.tuned(place.trajectories, self.counts))

    def _tried(self, place: Place) -> list[Cell]:
        rates: Mapping[str, tuple[float, ...]] = vars(self.config.learning_rates)
        return [Cell(place, 0, rate) for rate in rates[place.start]]

    def _best(self, place: Place, validation: Mapping[Cell, float]) -> float | None:
        """The learning rate with the best validation score, once all were tried."""
        tried = self._tried(place)
        if any(cell not in validation for cell in tried):
            return None
        return min(tried, key=lambda cell: validation[cell]).rate


class Recipes:
    """Makes the recipe of a cell.

    Args:
        recipe: the study's.
        donor: the operator that the checkpoint holds.
        store: of the data.
        changes: config keys of the donor that the data want otherwise.
    """

    def __init__(
        self, recipe: StudyRecipe, donor: Operator, store: Store, changes: Mapping[str, Any]
    ) -> None:
        self.donor, self._config = donor, {**checkpoint.config_of(donor)["config"], **changes}
        self._known = known_of(donor.description, store.steady)
        self._fields = recipe.fields or store.fields
        conserved = [name for name in self._known.conserved if name in self._fields]
        self._conserved = kept(conserved, [store])
        # All starts see the same history, which splits by time depend on, too.
        seen = {"history": self._config["history"]} if "history" in self._config else {}
        operator = {"name": donor.name, **seen, **recipe.operator}
        self.recipe = replace(recipe, operator=operator)

    def of(self, cell: Cell) -> FinetuneRecipe:
        """The recipe by which `pelagos finetune` makes the cell again."""
        recipe, place = self.recipe, cell.place
        data = replace(recipe.data[0], trajectories=place.trajectories, subset_seed=cell.seed)
        optimizer = replace(recipe.optimizer, learning_rate=cell.rate)
        varied = {"data": (data,), "steps": place.steps, "seed": cell.seed, "optimizer": optimizer}
        if place.start == "pretrained":
            return self._finetuned(cell.rate / recipe.optimizer.learning_rate, varied)
        own = {"operator": self._operator(place.start), **self._as_the_donor()}
        return FinetuneRecipe(**{**recipe.common(TrainRecipe), **own, **varied})

    def _finetuned(self, factor: float, varied: Mapping[str, Any]) -> FinetuneRecipe:
        rates = {name: rate * factor for name, rate in self.recipe.learning_rates.items()}
        values = self.recipe.common(FinetuneRecipe)
        return FinetuneRecipe(**{**values, "learning_rates": rates, **varied})

    def _operator(self, start: Start) -> dict[str, Any]:
        """The operator of a start without a checkpoint; what is measured, of its own data."""
        config = {**self._config, **self.recipe.operator}
        if start == "peer":
            assert self.recipe.study.peer is not None, "there is such a start"
            history = config.get("history", self.donor.history)
            return {"name": PEER, "history": history, **plain(self.recipe.study.peer)}
        measured = {*get(self.donor.name).measured} - {*self.recipe.operator}
        kept = {key: value for key, value in config.items() if key not in measured}
        return kept

    def _prescribed(self) -> dict[str, Any]:
        """What is prescribed, where the checkpoint takes something."""
        known = self._known.prescribed
        return {"prescribed": known} if known and self.recipe.prescribed is None else {}

    def _as_the_donor(self) -> dict[str, Any]:
        """What fine-tuning takes from the checkpoint where the recipe does not say it."""
        recipe, known = self.recipe, self._known
        normalizer = recipe.normalizer or normalizer_to_dict(known.normalizer)
        if normalizer["name"] == Statistics.name:
            normalizer = {"name": Statistics.name}
        normalizer = {key: value for key, value in normalizer.items() if key != "constant"}
        conditions = known.conditions if recipe.conditions is None else recipe.conditions
        return {
            "normalizer": normalizer,
            "conditions": conditions,
            **self._prescribed(),
            "time_scale": recipe.time_scale or known.time_scale,
            "fill": recipe.fill or {k: v for k, v in known.fill.items() if k in self._fields},
            "conserved": self._conserved if recipe.conserved is None else recipe.conserved,
            "bounded": recipe.bounded or known.bounded or "none",
        }
