"""What a training recipe says. One YAML file holds these dataclasses, composed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from ..datasets.base.config import build, nearest
from ..datasets.base.registry import Named
from ..datasets.fields.normalization import Statistics, normalizer_from_dict
from .objectives.base import ObjectiveConfig
from .objectives.registry import OBJECTIVES
from .objectives.rollout import RolloutConfig

RECIPES = Path(__file__).parent / "recipes"  # that ship


@dataclass(frozen=True)
class SimulateConfig:
    """A dataset that is simulated while training reads it, and never ends; see `datasets.endless`.

    What is not given is the equation's default. Statistics are those of the first block.

    Attributes:
        equation: registry name.
        block: trajectories that are solved at once. Every micro-batch of a step draws from a block
            of its own, its windows in random order before the next block begins.
        resolution, lengths: points and extent per axis; one number for all axes.
        frames, dt: saved frames per trajectory, and the time between them.
        parameters: a value, or a range [low, high] to draw from, by name.
        subsample: solve on a grid finer by this factor per axis.
        on_blowup: "redraw" or "refuse" trajectories that cannot be integrated.
        seed: of all random numbers of the simulation.
        dtype: precision of the solver, "float64" or "float32".
        device: where to solve, "cpu" or "cuda".
    """

    equation: str
    block: int = 32
    resolution: int | tuple[int, ...] | None = None
    lengths: float | tuple[float, ...] | None = None
    frames: int | None = None
    dt: float | None = None
    parameters: dict[str, float | tuple[float, float]] = field(default_factory=dict)
    subsample: int | None = None
    on_blowup: Literal["redraw", "refuse"] = "redraw"
    seed: int = 0
    dtype: Literal["float64", "float32"] = "float64"
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        _at_least_one(self, "data.simulate", "block")

    @property
    def settings(self) -> dict[str, Any]:
        """What the simulation takes beside the equation and the size of a block."""
        return {k: v for k, v in vars(self).items() if k not in ("equation", "block")}


@dataclass(frozen=True)
class DataConfig:
    """One dataset of the mixture: stored at `path`, or simulated.

    Attributes:
        path: a dataset in any layout that `open_store` reads.
        layout, splits: as `open_store` takes them, where detection and published splits will not do
            (training needs "train" and "valid").
        simulate: an equation to simulate instead.
        name: by which the dataset goes, where its own would be that of another one.
        weight: its share of the micro-batches, relative to the others; see also `size_exponent`.
        stride: stored frames per time step of the operator.
        every: distance between the first frames of neighbouring windows.
        trajectories: use only so many training trajectories (nested, seeded); null: all.
        time_scale: physical time that the operator's network sees as 1 on this dataset; null: the
            recipe's.
        augment: symmetries by which every sample is moved at random: "flip", "rotate", "roll",
            "galilean"; see `datasets.augmentation`.
        parity: "even" or "odd" under reflections, for names that do not say it.
        cache: "memory" keeps the training trajectories there once they are read.
    """

    path: str = ""
    layout: str | None = None
    splits: dict[str, float] = field(default_factory=dict)
    simulate: SimulateConfig | None = None
    name: str | None = None
    weight: float = 1.0
    stride: int = 1
    every: int = 1
    trajectories: int | None = None
    time_scale: float | None = None
    augment: tuple[str, ...] = ()
    parity: dict[str, str] = field(default_factory=dict)
    cache: Literal["none", "memory"] = "none"

    def __post_init__(self) -> None:
        if bool(self.path) == (self.simulate is not None):
            raise ValueError("data needs a path, or an equation to simulate, and not both")
        if self.simulate is not None and self.trajectories is not None:
            raise ValueError(
                "data.trajectories has no meaning for a simulated dataset, which never ends; see "
                "simulate.block"
            )
        if self.simulate is not None and self.cache != "none":
            raise ValueError(
                "data.cache has no meaning for a simulated dataset, which is never stored"
            )
        if not self.weight > 0:
            raise ValueError(f"data.weight must be positive; got {self.weight}")
        if self.time_scale is not None and not self.time_scale > 0:
            raise ValueError(f"data.time_scale must be positive; got {self.time_scale}")
        _at_least_one(self, "data", "stride", "every")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay.

    Attributes:
        learning_rate: peak learning rate.
        final: learning rate at the end, as a fraction of the peak.
        warmup: share of the steps spent warming up.
        betas: decay rates of the moment estimates.
        weight_decay: decoupled decay of weights; biases and scalars are not decayed.
        clip: largest gradient norm; null: no clipping.
    """

    learning_rate: float = 1e-3
    final: float = 0.01
    warmup: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"optimizer.learning_rate must be positive; got {self.learning_rate}")
        for name in ("final", "warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"optimizer.{name} is a fraction; got {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"optimizer.betas must lie in [0, 1); got {self.betas}")
        if not self.weight_decay >= 0:
            raise ValueError(
                f"optimizer.weight_decay must not be negative; got {self.weight_decay}"
            )
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"optimizer.clip must be positive or null; got {self.clip}")


@dataclass(frozen=True)
class ValidationConfig:
    """Rollouts on the valid split of every dataset.

    Attributes:
        every: optimizer steps between validations.
        trajectories: trajectories per dataset.
        horizon: frames to roll out.
    """

    every: int = 200
    trajectories: int = 8
    horizon: int = 10

    def __post_init__(self) -> None:
        _at_least_one(self, "validation", "every", "trajectories", "horizon")


@dataclass(frozen=True)
class TrainRecipe:
    """A complete training run.

    Attributes:
        data: the mixture.
        size_exponent: α of the datasets' shares ∝ weight · windows^α: 0, they are the weights; 1,
            every window counts the same; 1/T, a temperature T between these.
        operator: `name` and the operator's own config; `ndim` follows from the data.
        fields: fields to learn, by name; empty: those of the first dataset.
        inputs: input fields of a steady problem, by name; empty: those of the first dataset.
        fill: values of fields that some datasets lack, by name: there they stand in every frame,
            and are neither learned nor scored.
        conditions: constant fields and parameters that the operator takes as extra inputs, by
            name, or "all" that the first dataset has (without coordinates). Every dataset must
            have them. Empty: none; null: those of the checkpoint where training starts from one.
        time_scale: physical time that the operator's network sees as 1; null: the checkpoint's
            where training starts from one, else 1.
        normalizer: `name` ("window", "statistics" or "identity") and its settings; see
            `datasets.normalization`. Statistics are computed from the data. Null: the kind and
            settings of the checkpoint where training starts from one, else "window" ("statistics"
            for steady problems).
        objective: its `kind` ("rollout", "all2all", "assimilation" or another package's) and the
            settings of that one; see `objectives`.
        optimizer, validation: as above.
        steps: optimizer steps.
        batch: windows per optimizer step, over all processes.
        micro_batch: windows per forward pass; each comes from one dataset.
        seed: of the initial weights and of the data order.
        precision: "fp32", or "bf16" for autocast.
        log_every: optimizer steps between log lines.
        save_every: optimizer steps between saves of the training state.
        workers: data-loading processes per training process.
        trackers: where else the log goes: "wandb", "tensorboard", "mlflow" or another package's.
        wandb: "offline" or "online": wandb is told too, and keeps its files in the run or sends
            them. "disabled": only where `trackers` names it, offline.
    """

    data: tuple[DataConfig, ...]
    operator: dict[str, Any]
    size_exponent: float = 0.0
    fields: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    fill: dict[str, float] = field(default_factory=dict)
    conditions: Literal["all"] | tuple[str, ...] | None = None
    time_scale: float | None = None
    normalizer: dict[str, Any] | None = None
    objective: Annotated[Any, Named(OBJECTIVES, "kind")] = field(default_factory=RolloutConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    steps: int = 1000
    batch: int = 32
    micro_batch: int = 16
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    log_every: int = 10
    save_every: int = 200
    workers: int = 0
    trackers: tuple[str, ...] = ()
    wandb: Literal["disabled", "offline", "online"] = "disabled"

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", _objective(self.objective))
        if not self.data:
            raise ValueError("recipe.data must name at least one dataset")
        if self.normalizer is not None and self.normalizer != {"name": Statistics.name}:
            normalizer_from_dict(self.normalizer)
        if not 0 <= self.size_exponent <= 1:
            raise ValueError(f"size_exponent must be in [0, 1]; got {self.size_exponent}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2⁶³); got {self.seed}")
        if self.workers < 0:
            raise ValueError(f"workers must not be negative; got {self.workers}")
        self._check_simulated()
        _at_least_one(self, "recipe", "steps", "batch", "micro_batch", "log_every", "save_every")
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

    @property
    def micro_batches(self) -> int:
        """Micro-batches per optimizer step, over all processes."""
        return self.batch // self.micro_batch

    @property
    def tracked_by(self) -> tuple[str, ...]:
        """Names of all trackers."""
        wandb = () if self.wandb == "disabled" else ("wandb",)
        return tuple(dict.fromkeys((*self.trackers, *wandb)))


def _objective(values: Any) -> ObjectiveConfig:
    """The config of an objective.

    Recipes of earlier versions hold the settings of all kinds: those that say nothing are dropped.
    """
    if isinstance(values, ObjectiveConfig):
        return values
    kind = values.get("kind", "rollout") if isinstance(values, Mapping) else None
    if not isinstance(kind, str):
        raise ValueError(f"objective must be a mapping of keys, with a kind; got {values!r}")
    cls = OBJECTIVES.get(kind).Config
    known = {f.name for f in fields(cls)}
    if values.get("assimilation") is not None and "assimilation" not in known:
        raise ValueError(
            f"objective.assimilation has no meaning for objective.kind {kind}; leave it "
            "out, or use kind: assimilation"
        )
    idle = {"identity", "assimilation"} - known
    idle |= {"assimilation"} if values.get("assimilation") is None else set()
    return build(cls, {k: v for k, v in values.items() if k not in idle}, prefix="objective")


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


def _at_least_one(config: object, prefix: str, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{prefix}.{name} must be at least 1; got {getattr(config, name)}")
