"""What a training recipe says. One YAML file holds these dataclasses, composed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from ..datasets.base.annotations import (
    AtLeastOne,
    BelowOne,
    Count,
    Fraction,
    Named,
    NotNegative,
    OneOrMore,
    Positive,
    Seed,
)
from ..datasets.base.config import Checked, nearest
from ..datasets.fields.normalization import NORMALIZERS, Statistics, normalizer_from_dict
from ..datasets.simulation.settings import Settings
from ..operators.core.operator import Operator
from ..operators.core.registry import OPERATORS
from .average import AverageConfig
from .objectives.base import Objective, Phase
from .objectives.registry import OBJECTIVES, objective_of
from .objectives.rollout import RolloutConfig


@dataclass(frozen=True, kw_only=True)
class SimulateConfig(Settings, Checked):
    """A dataset that is simulated while training reads it, and never ends; see `EndlessStore`.

    What is not given is the equation's default. Statistics are those of the first block.

    Attributes:
        equation: registry name.
        block: trajectories that are solved at once. Every micro-batch of a step draws from a block
            of its own, its windows in random order before the next block begins.
    """

    equation: str
    block: AtLeastOne = 32
    on_blowup: Literal["refuse", "redraw"] = "redraw"
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trajectories is not None or self.shard != Settings.shard:
            raise ValueError(
                "data.simulate.trajectories and data.simulate.shard have no meaning for a dataset "
                "that is never stored; leave them out (see data.simulate.block)"
            )


@dataclass(frozen=True)
class DataConfig(Checked):
    """One dataset of the mixture: stored at `path`, or simulated.

    Attributes:
        path: a dataset in any layout that `open_store` reads.
        layout, splits: as `open_store` takes them, where detection and published splits will not do
            (training needs "train" and "valid").
        simulate: an equation to simulate instead.
        units: name of a field, parameter, "time" or "length" (as renamed) -> the unit that it is
            converted to.
        prescribed: fields, and scalars over time, that are known at all times and not predicted (as
            renamed), beside those that the files say.
        rename: other names for its fields, constant fields and parameters (its own: the new one).
        name: by which the dataset goes, where its own would be that of another one.
        weight: its share of the micro-batches, relative to the others; see also `size_exponent`.
        stride: stored frames per time step of the operator.
        every: distance between the first frames of neighbouring windows.
        micro_batch: windows of it per forward pass, where the recipe's number does not suit its
            grid (more of a small one); a step has as many micro-batches. null: the recipe's.
        trajectories: use only so many training trajectories, also for statistics; null: all.
        subset_seed: of their choice; a larger number of one seed contains a smaller one.
        time_scale: physical time that the operator's network sees as 1 on this dataset; null: the
            recipe's.
        augment: symmetries by which every sample is moved at random: "flip", "rotate", "roll",
            "galilean"; see `datasets.sampling.augmentation`.
        parity: "even" or "odd" under reflections, for names that do not say it.
        holes: what becomes of values that are missing in some frames only: "refuse" them, "skip"
            the windows that touch them, or "mask" such points in all frames of their trajectory;
            null: as the dataset's description says, else "refuse".
        cache: "memory" keeps the training trajectories there once they are read.
    """

    path: str = ""
    layout: str | None = None
    splits: dict[str, float | str] = field(default_factory=dict)
    simulate: SimulateConfig | None = None
    units: dict[str, str] = field(default_factory=dict)
    prescribed: tuple[str, ...] = ()
    rename: dict[str, str] = field(default_factory=dict)
    name: str | None = None
    weight: Positive = 1.0
    stride: AtLeastOne = 1
    every: AtLeastOne = 1
    micro_batch: AtLeastOne | None = None
    trajectories: int | None = None
    subset_seed: Seed = 0
    time_scale: Positive | None = None
    augment: tuple[str, ...] = ()
    parity: dict[str, str] = field(default_factory=dict)
    holes: Literal["refuse", "skip", "mask"] | None = None
    cache: Literal["none", "memory"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.path) == (self.simulate is not None):
            raise ValueError("data needs a path, or an equation to simulate, and not both")
        if self.simulate is not None and self.trajectories is not None:
            raise ValueError(
                "data.trajectories has no meaning for a simulated dataset, which never ends; see "
                "simulate.block"
            )
        if self.simulate is not None and self.units:
            raise ValueError(
                "data.units has no meaning for a simulated dataset, whose equation has no units"
            )
        if self.simulate is not None and self.prescribed:
            raise ValueError(
                "data.prescribed has no meaning for a simulated dataset, whose equation says what "
                "is; leave it out"
            )
        if self.simulate is not None and self.cache != "none":
            raise ValueError(
                "data.cache has no meaning for a simulated dataset, which is never stored"
            )


def _of_one_kind(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Recipes of earlier versions hold the settings of all kinds: those that say nothing go."""
    kind = values.get("kind", RolloutConfig.kind)
    if kind not in OBJECTIVES.names():
        return values
    known = {f.name for f in fields(OBJECTIVES.get(kind).Config)}
    if values.get("assimilation") is not None and "assimilation" not in known:
        raise ValueError(
            f"objective.assimilation has no meaning for objective.kind {kind}; leave it "
            "out, or use kind: assimilation"
        )
    idle = {"identity", "assimilation"} - known
    idle |= {"assimilation"} if values.get("assimilation") is None else set()
    return {k: v for k, v in values.items() if k not in idle}


@dataclass(frozen=True)
class OptimizerConfig(Checked):
    """AdamW with linear warm-up and cosine decay.

    Attributes:
        learning_rate: peak learning rate.
        final: learning rate at the end, as a fraction of the peak.
        warmup: share of the steps spent warming up.
        betas: decay rates of the moment estimates.
        weight_decay: decoupled decay of weights; biases and scalars are not decayed.
        clip: largest gradient norm; null: no clipping.
        fused: whether one kernel updates many parameters; null: on GPUs.
    """

    learning_rate: Positive = 1e-3
    final: Fraction = 0.01
    warmup: Fraction = 0.05
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    weight_decay: NotNegative = 1e-4
    clip: Positive | None = 1.0
    fused: bool | None = None


@dataclass(frozen=True)
class ValidationConfig(Checked):
    """Rollouts on the valid split of every dataset.

    Attributes:
        every: optimizer steps between validations.
        trajectories: trajectories per dataset.
        horizon: frames to roll out.
        best: by which score the best weights are chosen: "mean" of all datasets, or that of one
            dataset, by its name.
    """

    every: AtLeastOne = 200
    trajectories: AtLeastOne = 8
    horizon: AtLeastOne = 10
    best: str = "mean"


@dataclass(frozen=True)
class StatesConfig(Checked):
    """How training states are written.

    Attributes:
        sharded: where there are several processes, each writes the pieces that it has, instead of
            sending them to one; null: where parameters are sharded.
        background: training goes on meanwhile; takes host memory for a copy.
    """

    sharded: bool | None = None
    background: bool = False


@dataclass(frozen=True)
class EarlyStoppingConfig(Checked):
    """Training ends before its last step where validation gets no better.

    Attributes:
        patience: so many validations in a row without a better score end it; of an objective that
            trains in phases, those of the last one count.
        min_delta: by how much a score (VRMSE) must be smaller to count as better.
    """

    patience: AtLeastOne
    min_delta: NotNegative = 0.0


@dataclass(frozen=True)
class TrainRecipe(Checked):
    """A complete training run.

    Attributes:
        data: the mixture.
        size_exponent: α of the datasets' shares ∝ weight · windows^α: 0, they are the weights; 1,
            every window counts the same; 1/T, a temperature T between these.
        operator: `name` and the operator's own config; `ndim` follows from the data.
        fields: fields to learn, by name; empty: those of the first dataset.
        inputs: input fields of a steady problem, by name; empty: those of the first dataset.
        fill: values of fields that some datasets lack, by name: there they stand in every frame,
            and are neither learned nor scored. Also of input fields and of prescribed ones.
        conditions: constant fields and parameters that the operator takes as extra inputs, by
            name, or "all" that the first dataset has (without coordinates). Every dataset must
            have them. Empty: none; null: those of the checkpoint where training starts from one.
        prescribed: fields that are known at all times, such as a forcing, which the operator takes
            as extra inputs at both ends of every step, by name, or "all" that a dataset has. A
            dataset that lacks one needs a value of it in `fill`. Empty: none; null: those of the
            checkpoint where training starts from one, else all, if the operator can take them.
        conserved: fields whose mean over the domain every step keeps, exactly, in training and in
            every rollout; null: those of the checkpoint where training starts from one, as far as
            the data keep them, too, else none.
        bounded: how much larger than in the training data the deviation of a predicted field over
            the domain may be, in training and in every rollout: beyond, it is scaled back, so that
            rollouts cannot blow up. Where fields are masked, the domain is what is left. "none":
            anything; null: as the checkpoint where training starts from one, else anything.
        time_scale: physical time that the operator's network sees as 1; null: the checkpoint's
            where training starts from one, else 1.
        normalizer: `name` ("window", "statistics" or "identity") and its settings; see
            `datasets.normalization`. Statistics are computed from the data. Null: the kind and
            settings of the checkpoint where training starts from one, else "window" ("statistics"
            for steady problems).
        objective: its `kind` ("rollout", "all2all", "assimilation" or another package's) and the
            settings of that one; see `objectives`.
        optimizer: AdamW with warm-up and decay.
        validation: rollouts on the valid splits, which are scored on the way.
        steps: optimizer steps.
        batch: windows per optimizer step, over all processes.
        micro_batch: windows per forward pass; each comes from one dataset.
        seed: of the initial weights and of the data order.
        precision: "fp32", or "bf16" for autocast.
        tf32: whether GPUs compute products and convolutions of single-precision numbers as TF32
            (10 bits of the fraction): faster, and less exact.
        compile: "block" compiles every block of the operator when it is first used (minutes), once
            for blocks that are alike; "graphs" runs what is compiled as CUDA graphs too, for small
            operators whose shapes repeat.
        log_every: optimizer steps between log lines.
        save_every: optimizer steps between saves of the training state.
        keep: how many training states, the newest, stay in the run; at least two do, of which one
            may be damaged.
        states: by whom training states are written, and whether training waits for it.
        stop_within: seconds between being told to stop and the end of the process; training says
            so where its steps are too slow for that.
        on_nonfinite: what to do where a loss or a gradient is not finite: "stop", naming the data;
            "skip" the step (every step then waits for its gradient); or "rewind", go back to the
            last state and on from there with the data in another order.
        rewinds: how often a run may go back in this way.
        average: keep an average of the weights along training too; null: none.
        early_stopping: end training where validation gets no better; null: never.
        publish: which weights become the run's checkpoint: the "last" ones, the "best" by
            validation (which are in `checkpoint/best` otherwise), or the "average".
        profile: so many optimizer steps are traced (torch.profiler), the third one first; the
            trace is kept in the run.
        workers: data-loading processes per training process.
        trackers: where else the log goes: "wandb", "tensorboard", "mlflow" or another package's.
        wandb: "offline" or "online": wandb is told too, and keeps its files in the run or sends
            them. "disabled": only where `trackers` names it, offline.
    """

    data: tuple[DataConfig, ...]
    operator: Annotated[dict[str, Any], Named(OPERATORS, "name")]
    size_exponent: Fraction = 0.0
    fields: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    fill: dict[str, float] = field(default_factory=dict)
    conditions: Literal["all"] | tuple[str, ...] | None = None
    prescribed: Literal["all"] | tuple[str, ...] | None = None
    conserved: tuple[str, ...] | None = None
    bounded: OneOrMore | Literal["none"] | None = None
    time_scale: Positive | None = None
    normalizer: Annotated[dict[str, Any], Named(NORMALIZERS, "name")] | None = None
    objective: Annotated[Any, Named(OBJECTIVES, "kind", _of_one_kind)] = field(
        default_factory=RolloutConfig
    )
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    steps: AtLeastOne = 1000
    batch: AtLeastOne = 32
    micro_batch: AtLeastOne = 16
    seed: Seed = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    tf32: bool = False
    compile: Literal["none", "block", "graphs"] = "none"
    log_every: AtLeastOne = 10
    save_every: AtLeastOne = 200
    keep: AtLeastOne = 2
    states: StatesConfig = field(default_factory=StatesConfig)
    on_nonfinite: Literal["stop", "skip", "rewind"] = "stop"
    rewinds: AtLeastOne = 3
    average: AverageConfig | None = None
    early_stopping: EarlyStoppingConfig | None = None
    publish: Literal["last", "best", "average"] = "last"
    profile: Count = 0
    stop_within: Positive = 20.0
    workers: Count = 0
    trackers: tuple[str, ...] = ()
    wandb: Literal["disabled", "offline", "online"] = "disabled"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data:
            raise ValueError("recipe.data must name at least one dataset")
        if self.normalizer is not None and self.normalizer != {"name": Statistics.name}:
            normalizer_from_dict(self.normalizer)
        self._check_simulated()
        if self.publish == "average" and self.average is None:
            raise ValueError("publish: average needs one; set average, as in {decay: 0.999}")
        if self.profile and self.profile + 2 > self.steps:
            raise ValueError(
                f"profile ({self.profile}) must leave the first two of the steps ({self.steps})"
            )
        if self.batch % self.micro_batch:
            raise ValueError(
                f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch})"
            )
        for name, every in (
            ("save_every", self.save_every),
            ("validation.every", self.validation.every),
        ):
            if every % self.log_every:
                raise ValueError(
                    f"{name} ({every}) must be a multiple of log_every ({self.log_every})"
                )

    def _check_simulated(self) -> None:
        if self.workers and any(d.simulate and d.simulate.device != "cpu" for d in self.data):
            raise ValueError(
                "data-loading processes cannot use the GPU; simulate there with workers: 0"
            )

    def phases(
        self, operator: Operator, objective: Objective[Any] | None = None
    ) -> tuple[Phase, ...]:
        """What is trained when, of this operator: the phases of the objective at work."""
        return (objective or objective_of(self.objective)).phases(operator, self.steps)

    @property
    def micro_batches(self) -> int:
        """Micro-batches per optimizer step, over all processes."""
        return self.batch // self.micro_batch

    @property
    def tracked_by(self) -> tuple[str, ...]:
        """Names of all trackers."""
        wandb = () if self.wandb == "disabled" else ("wandb",)
        return tuple(dict.fromkeys((*self.trackers, *wandb)))


def find_recipe(name: str, folder: Path) -> Path:
    """A recipe by path, or by the name of one that ships in `folder`.

    Raises:
        ValueError: there is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    if name in shipped:
        return shipped[name]
    raise ValueError(f"no recipe {name!r} (no such file{nearest(name, [*shipped])})")
