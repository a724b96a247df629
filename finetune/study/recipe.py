"""What a study recipe says: a fine-tuning recipe, and what is varied."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from ...datasets.base.annotations import AtLeastOne, Positive
from ...datasets.base.config import Checked
from ...pretrain.recipe import TrainRecipe
from ..adapt.recipe import FinetuneRecipe

Start = Literal["pretrained", "scratch", "peer"]


@dataclass(frozen=True)
class Rates(Checked):
    """Learning rates that are tried, by start; validation chooses.

    Attributes:
        pretrained: of fine-tuning.
        scratch: of the same operator from scratch.
        peer: of the peer.
    """

    pretrained: tuple[Positive, ...] = (1e-3, 3e-3, 1e-2)
    scratch: tuple[Positive, ...] = (1e-3, 3e-3, 1e-2)
    peer: tuple[Positive, ...] = (1e-3, 3e-3, 1e-2)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, rates in vars(self).items():
            if not rates or len({*rates}) < len(rates):
                raise ValueError(f"study.learning_rates.{name} needs rates, each once; got {rates}")


@dataclass(frozen=True)
class PeerConfig(Checked):
    """neuraloperator's FNO, trained beside the operator.

    Attributes:
        hidden: channels.
        layers: Fourier layers.
        modes: wave numbers that are kept per axis and sign.
    """

    hidden: AtLeastOne = 32
    layers: AtLeastOne = 4
    modes: AtLeastOne = 12


@dataclass(frozen=True)
class TestConfig(Checked):
    """What is predicted of the test split.

    Attributes:
        trajectories: so many, from the first; null: all.
        steps: frames that are rolled out; null: as many as are stored.
        batch: trajectories at a time.
    """

    trajectories: AtLeastOne | None = None
    steps: AtLeastOne | None = None
    batch: AtLeastOne = 16


@dataclass(frozen=True)
class StudyConfig(Checked):
    """What is varied, and how it is scored.

    Attributes:
        trajectories: numbers of training trajectories, increasing; empty: 1, 2, 4, … and all.
        seeds: so many seeds, 0, 1, …: each draws other nested subsets, other initial weights and
            another order of the data.
        steps: budgets, in optimizer steps; each is a study of its own.
        learning_rates: those that are tried.
        tuned_at: numbers of trajectories at which the rate is chosen, with the first seed; others
            take the rate of the nearest one. Empty: at all of them.
        peer: what else is trained; null: nothing.
        test: what is predicted of the test split.
    """

    trajectories: tuple[AtLeastOne, ...] = ()
    seeds: AtLeastOne = 3
    steps: tuple[AtLeastOne, ...] = (250, 1000)
    learning_rates: Rates = Rates()
    tuned_at: tuple[AtLeastOne, ...] = ()
    peer: PeerConfig | None = None
    test: TestConfig = TestConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("trajectories", "steps", "tuned_at"):
            numbers: tuple[int, ...] = vars(self)[name]
            if any(a >= b for a, b in itertools.pairwise(numbers)):
                raise ValueError(
                    f"study.{name} must increase; got {', '.join(map(str, numbers))}: write "
                    f"[{', '.join(map(str, sorted({*numbers})))}]"
                )
        if not self.steps:
            raise ValueError("study.steps needs a number of optimizer steps, as in [250, 1000]")

    @property
    def starts(self) -> tuple[Start, ...]:
        """What is trained."""
        return ("pretrained", "scratch", *(("peer",) if self.peer else ()))

    def counts(self, stored: int, name: str) -> tuple[int, ...]:
        """The numbers of training trajectories.

        Args:
            stored: how many there are.
            name: the dataset's, for messages.

        Raises:
            ValueError: there are fewer.
        """
        powers = (2**k for k in range(stored.bit_length()))
        counts = self.trajectories or tuple(sorted({*powers, stored}))
        if counts[-1] > stored:
            raise ValueError(
                f"study.trajectories asks for {counts[-1]} training trajectories, but {name!r} has "
                f"{stored}; end with {stored}"
            )
        unknown = [count for count in self.tuned_at if count not in counts]
        if unknown:
            raise ValueError(
                f"study.tuned_at names {unknown[0]}, which is none of the numbers of trajectories "
                f"({', '.join(map(str, counts))})"
            )
        return counts

    def tuned(self, count: int, counts: tuple[int, ...]) -> int:
        """The number of trajectories whose choice of a learning rate `count` takes."""
        return min(self.tuned_at or counts, key=lambda n: abs(math.log(n / count)))


@dataclass(frozen=True)
class StudyRecipe(FinetuneRecipe):
    """A study of how much data a checkpoint saves on one dataset.

    The keys of a fine-tuning recipe hold for every training. What the study varies itself is not
    given there: `steps`, `seed`, `data[0].trajectories` and `data[0].subset_seed`. The operator
    from scratch is the checkpoint's, with the keys that `operator` overrides; it and the peer keep
    the checkpoint's bounds and means, scaling, conditions and time scale; neither it nor the
    peer sees `method`, `freeze` or learning rates by name of a module. Those of fine-tuning are
    scaled with the learning rate: they are what `optimizer.learning_rate` goes with.

    Attributes:
        publish: which weights of a training are scored.
        study: what is varied, and how it is scored.
    """

    publish: Literal["last", "best", "average"] = "best"
    study: StudyConfig = StudyConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        data = self.data[0]
        if len(self.data) > 1 or data.simulate is not None:
            raise ValueError("a study is of one stored dataset: give data one entry, with a path")
        usual = {f.name: f.default for f in fields(TrainRecipe)}
        given = {
            "steps": self.steps != usual["steps"],
            "seed": self.seed != usual["seed"],
            "data[0].trajectories": data.trajectories is not None,
            "data[0].subset_seed": data.subset_seed != 0,
        }
        remedies = {"steps": "study.steps", "seed": "study.seeds"}
        for key, is_given in given.items():
            if is_given:
                instead = remedies.get(key, "study.trajectories and study.seeds")
                raise ValueError(f"{key} is what a study varies; set {instead} instead")
        if self.init_from is None:
            raise ValueError("a study needs init_from: the checkpoint whose worth it measures")

    def common(self, names: type[TrainRecipe]) -> Mapping[str, Any]:
        """The values of the keys that another kind of recipe has, too."""
        return {f.name: vars(self)[f.name] for f in fields(names)}
