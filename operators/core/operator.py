"""The one interface of every operator: init a state, step it, and nothing hidden.

state = operator.init(history, context)            # (B, T, C, *S) in physical units
state, fields = operator.step(state, dt)           # fields (B, C, *S) in physical units
prediction = operator(window)                      # (B, T_out, C, *S), what DDP/FSDP wraps
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.normalization import Scaling
from ...datasets.fields.window import Context, Window
from . import checkpoint
from .conditions import conditions_of
from .description import Description
from .history import require_history, require_rank
from .observation import Observation, Sensors
from .recognition import recognised, warn_of_parameters
from .rollout import roll_out, rollout
from .state import State
from .surroundings import context_of, with_batch
from .time_steps import TimeSteps
from .trainable import Trainable
from .weight_cache import look_again
from .wishes import Wishes

OperatorT = TypeVar("OperatorT", bound="Operator")
HistoryT = TypeVar("HistoryT", Tensor, np.ndarray)


class Operator(Trainable):
    """A map from a history of fields to later fields. Subclass, name it, and register it.

    What training and fine-tuning ask of it besides is in `Trainable`.

    Attributes:
        Config: dataclass of the architecture.
        assimilates: whether `step` can take an observation: an `AssimilatingOperator`.
        direct: whether it is continuous in time and `forward` predicts every lead time directly
            from the history. Otherwise `forward` is the rollout.
        conditioned: whether `state.conditions` are extra inputs; else a description has none.
        driven: whether `state.channels` are, also what is prescribed; else a description has none.
    """

    Config: ClassVar[type]
    assimilates: ClassVar[bool] = False
    direct: ClassVar[bool] = False
    conditioned: ClassVar[bool] = False
    driven: ClassVar[bool] = False

    def __init__(self, config: Any, description: Description) -> None:
        super().__init__()
        if description.conditions and not self.conditioned:
            raise ValueError(
                f"{self.name} takes no constant fields or parameters as extra inputs; "
                f"got {', '.join(description.conditions)}. Leave `conditions` empty"
            )
        if description.prescribed and not self.driven:
            raise ValueError(
                f"{self.name} takes nothing prescribed as extra inputs; got "
                f"{', '.join(description.prescribed)}. Leave `prescribed` empty"
            )
        self.config, self.description = config, description

    @property
    def history(self) -> int:
        """Number of history frames that `init` needs; the config's."""
        return self.config.history

    @property
    def ndim(self) -> int:
        """Number of space axes; the config's."""
        return self.config.ndim

    @property
    def continuous(self) -> bool:
        """Whether `step` takes any dt > 0, and warns outside the trained range only."""
        return self.direct

    @property
    def further_parameters(self) -> tuple[str, ...]:
        """Parameters of the data that a step needs, beside the description's."""
        return ()

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """All parameters of the data that a step needs."""
        return (*self.description.parameters, *self.further_parameters)

    @property
    def sees_time(self) -> bool:
        """Whether the network is told how long a step is."""
        return self.direct

    @abstractmethod
    def step(
        self,
        state: State,
        dt: Float[Tensor, " B"],
        observation: Observation | Sensors | None = None,
    ) -> tuple[State, Float[Tensor, "B C *S"]]:
        """Advance by the physical time `dt`; returns the new state and its fields.

        Raises:
            ValueError: the operator cannot take this time step or this observation.
        """

    def init(self, history: Float[Tensor, "B T C *S"], context: Context | None = None) -> State:
        """The state after `history`; without a context, on the training grid.

        Fields that never varied in training are masked. Data of an unknown name are taken for the
        training dataset whose statistics are nearest, with a warning.

        Raises:
            ValueError: these do not fit; no context, and other points than the training grid's.
        """
        require_rank(history, self.name, self.ndim)
        context = context or context_of(history, self.description)
        context = recognised(with_batch(context, len(history)), history, self.description)
        self._check_history(history, context)
        if not (self.training or torch.is_grad_enabled()):
            look_again(self)
        context = self.description.masked(context, len(history))
        conditions = conditions_of(context, self.description, self.name)
        warn_of_parameters(conditions, self.description, self.training)
        scaling, time = self.description.scaling(history, context), torch.zeros(len(history))
        return State(history, context, time, scaling, conditions)

    def forward(self, window: Window) -> Float[Tensor, "B T C *S"]:
        """Prediction at the window's lead times, in physical units."""
        state = self.init(window.history, window.context)
        steps = window.lead_times.diff(dim=1, prepend=torch.zeros_like(window.lead_times[:, :1]))
        return torch.stack(list(rollout(self, state, steps.unbind(1))), 1)

    def rollout(
        self,
        history: HistoryT,
        context: Context | None = None,
        *,
        dt: float,
        steps: int,
        gradients: bool = False,
    ) -> Iterator[HistoryT]:
        """Predict `steps` frames, `dt` apart, one at a time and in constant memory.

        Args:
            history: (B, T, C, *S), or (T, C, *S) of one trajectory, a tensor or a NumPy array, in
                physical units; the frames, (B, C, *S) or (C, *S), are of the same kind.
            context: with or without a batch axis; None: the history lies on the training grid.
            dt, steps: physical time of a step, and number of steps.
            gradients: keep the graph for a backward pass, whose memory grows with the steps.

        Raises:
            ValueError: as `init`, `steps` is negative, or the history is not finite.
        """
        return roll_out(self, history, context, dt=dt, steps=steps, gradients=gradients)

    def predict(self, data: Any, wishes: Wishes | None = None, **asked: Any) -> Any:
        """Predict from labelled data, a store, a file or an array; the answer is of the same kind.

        Fields, constant fields and parameters are found by name, and units converted. A dataset
        comes back with the data's dimensions, coordinates and units, the lead time, and a verdict
        on whether all is inside of what was trained (`verdict_of`); outside, a warning names what.

        Args:
            data: an `xarray.Dataset` or `DataArray`, anything that has `to_xarray()`, as a store,
                or the path of a dataset; or a tensor or array (T, C, *S) or (N, T, C, *S) on the
                training grid, of which the last frames are taken, for (N, T_out, C, *S).
            wishes: what is asked for.
            asked: attributes of `Wishes` in place of the wishes', as in `times=…`, `members=8`.

        Returns:
            An `xarray.Dataset`, or an array as the data. Members are a leading axis.

        Raises:
            ValueError: fields, conditions, units, grid or times do not fit; or `strict` is set and
                the verdict is "outside".
        """
        from .predicting import predict  # on use: xarray takes longer to load than the rest

        return predict(self, data, replace(wishes or Wishes(), **asked))

    def save_pretrained(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a checkpoint directory (`config.json` + `model.safetensors`); see `checkpoint`."""
        return checkpoint.save(self, Path(path), overwrite=overwrite)

    @classmethod
    def from_pretrained(
        cls: type[OperatorT], path: str | Path, *, verify: bool = True
    ) -> OperatorT:
        """Open a checkpoint of this operator; see `checkpoint.from_pretrained`."""
        operator = checkpoint.from_pretrained(path, verify=verify)
        if not isinstance(operator, cls):
            raise ValueError(f"{path} holds the operator {operator.name!r}, not {cls.name!r}")
        return operator

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Upload a checkpoint to the Hugging Face hub; returns its address."""
        return checkpoint.push_to_hub(self, repository, **options)

    def _repr_html_(self) -> str:
        from .showing import operator_html  # on use: it loads xarray

        return operator_html(self)

    def scaling(self, state: State) -> Scaling:
        """The normaliser's scaling of a state."""
        return self.description.scaling(state.history, state.context, state.first)

    def check_step(
        self, state: State, dt: Tensor, observation: Observation | Sensors | None = None
    ) -> None:
        """Refuse what `step` cannot take; every `step` begins with it.

        Raises:
            ValueError: an observation that cannot be assimilated; a dt that is not positive, not
                the history's spacing, or never trained at (where continuous, only warned of).
        """
        if observation is not None and not self.assimilates:
            raise ValueError(f"{self.name} predicts but cannot assimilate: it takes no observation")
        self._time_steps().check_steps(dt, state.context.dt)

    def _time_steps(self) -> TimeSteps:
        return TimeSteps(self.name, self.description.time_steps, self.continuous)

    def _check_history(self, history: Tensor, context: Context) -> None:
        require_history(history, context, self.description, self.history)
        if not context.steady:
            self.description.warn_of_time_scale(context.dataset)
        self._time_steps().check_spacing(context.dt)
