"""The peer of a study: neuraloperator's FNO behind the interface of our operators.

It is the library's network as it comes, with the frames of the history and the conditions as input
channels and one frame per step. Its complex spectral weights are held as real numbers, which
distributed training and checkpoints need; what it computes is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...datasets.base.annotations import AtLeastOne, Axes
from ...datasets.base.config import Checked
from ...operators.core.description import Description
from ...operators.core.observation import Observation, Sensors
from ...operators.core.operator import Operator
from ...operators.core.registry import OPERATORS
from ...operators.core.state import State

NAME = "fno"


@dataclass(frozen=True)
class FnoConfig(Checked):
    """Sizes of the network.

    Attributes:
        ndim: axes of space.
        history: frames that it sees.
        hidden: channels.
        layers: Fourier layers.
        modes: wave numbers that are kept per axis and sign.
    """

    ndim: Axes
    history: AtLeastOne = 1
    hidden: AtLeastOne = 32
    layers: AtLeastOne = 4
    modes: AtLeastOne = 12


class Fno(Operator):
    """`neuralop.models.FNO` (Li et al., arXiv 2010.08895), one frame per step.

    Raises:
        ValueError: neuraloperator is not installed.
    """

    name: ClassVar[str] = NAME
    Config: ClassVar[type] = FnoConfig
    conditioned: ClassVar[bool] = True
    driven: ClassVar[bool] = True

    def __init__(self, config: FnoConfig, description: Description) -> None:
        super().__init__(config, description)
        require_peer()
        self.net = self._network(seed=0)
        self.spectral = _Spectral(self.net)

    def _network(self, seed: int) -> nn.Module:
        """Weights are drawn where the library builds: from a seed of their own."""
        from neuralop.models import FNO  # pyright: ignore[reportMissingImports]

        about, sizes = self.description, self.config
        inputs = sizes.history * len(about.channels) + len(about.extra)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return FNO(
                n_modes=(2 * sizes.modes,) * sizes.ndim,
                in_channels=inputs,
                out_channels=len(about.fields),
                hidden_channels=sizes.hidden,
                n_layers=sizes.layers,
            )

    def reset(self, generator: torch.Generator) -> None:
        """Draw fresh initial weights, as the library does."""
        fresh = self._network(generator.initial_seed())
        spectral = _Spectral(fresh)
        with torch.no_grad():
            for ours, drawn in ((self.net, fresh), (self.spectral, spectral)):
                for value, new in zip(ours.parameters(), drawn.parameters(), strict=True):
                    value.copy_(new)

    def step(
        self,
        state: State,
        dt: Float[Tensor, " B"],
        observation: Observation | Sensors | None = None,
    ) -> tuple[State, Float[Tensor, "B C *S"]]:
        """The next frame; `dt` is one that it was trained at."""
        self.check_step(state, dt, observation)
        scaling = self.scaling(state)
        frames = scaling.encode(state.history).flatten(1, 2)
        inputs = torch.cat([frames, *state.channels(frames, dt)], 1)
        with self.spectral.given():
            output = self.net(inputs)
        fields = scaling.decode(output, state.history[:, -1])
        return state.advance(fields, dt), fields

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Tensors alone: the library adds its constructor's arguments, which are none."""
        state = super().state_dict(*args, **kwargs)
        for key in [key for key, value in state.items() if not isinstance(value, Tensor)]:
            del state[key]
        return state


class _Spectral(nn.Module):
    """The complex parameters of a network, held as real ones with a last axis of two.

    The library's tensors refuse `torch.nn.utils.parametrize`. A network has them while it computes.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.places = [
            (module, name)
            for module in net.modules()
            for name, value in module.named_parameters(recurse=False)
            if value.is_complex()
        ]
        held = [torch.view_as_real(module.get_parameter(name).data) for module, name in self.places]
        self.held = nn.ParameterList([real.contiguous() for real in held])
        self._take()

    def _take(self) -> None:
        for module, name in self.places:
            delattr(module, name)

    @contextmanager
    def given(self) -> Iterator[None]:
        """In this block the network has its complex parameters."""
        for (module, name), real in zip(self.places, self.held, strict=True):
            setattr(module, name, torch.view_as_complex(real))
        try:
            yield
        finally:
            self._take()


def require_peer() -> None:
    """Refuse where the peer's library is missing.

    Raises:
        ValueError: it is.
    """
    if find_spec("neuralop") is None:
        raise ValueError(
            "study.peer needs neuraloperator, which is not installed: pip install "
            "'pelagos[peers]', or leave it out (study.peer: null)"
        )


def register() -> None:
    """Make the peer known in this process, so that its checkpoints open."""
    if NAME not in OPERATORS.names():
        OPERATORS.add(NAME, Fno)
