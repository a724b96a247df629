"""The average of the weights along training, which often predicts better than the last ones.

    θ̄ ← d θ̄ + (1 − d) θ  after step n,    d = min(decay, (1 + n) / (10 + n)),

so that the random weights of the start are soon forgotten. It is in single precision, as all
weights are, and every process keeps the pieces that it has of the weights themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..datasets.base.annotations import BelowOne
from ..datasets.base.config import Checked


@dataclass(frozen=True)
class AverageConfig(Checked):
    """An exponential moving average of the weights.

    Attributes:
        decay: share of the average that stays at every step; 1 / (1 - decay) is the number of
            steps that it looks back.
    """

    decay: BelowOne = 0.999


class Average:
    """The average of what training changes of a module: trained parameters, and statistics.

    Args:
        operator: in training, prepared for its processes; starts as the average.
        decay: see `AverageConfig`.

    Attributes:
        names: of the tensors that are averaged, as the state of the module has them.
    """

    def __init__(self, operator: nn.Module, decay: float) -> None:
        self.operator, self.decay = operator, decay
        kept = operator.state_dict()
        statistics = [b for b in operator.named_buffers() if b[1].is_floating_point()]
        trained = [p for p in operator.named_parameters() if p[1].requires_grad]
        self._live = {name: tensor for name, tensor in (*trained, *statistics) if name in kept}
        self.names = tuple(self._live)
        self._own = [piece.clone() for piece in self._pieces()]
        assert all(piece.dtype is torch.float32 for piece in self._own)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights after optimizer step `step` = 1, 2, …"""
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self._own, self._pieces(), step)

    def tensors(self) -> dict[str, Tensor]:
        """What is averaged, by name, shared out over processes as the weights are; not copied."""
        own = zip(self._live.items(), self._own, strict=True)
        return {name: _like(piece, live) for (name, live), piece in own}

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """In this block the module has the average for its weights, and this has its weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for live, own in zip(self._pieces(), self._own, strict=True):
            kept = live.clone()
            live.copy_(own)
            own.copy_(kept)
        for module in self.operator.modules():
            if isinstance(module, FSDPModule):  # it may hold weights that were gathered before
                module.reshard()

    @torch.no_grad()
    def _pieces(self) -> list[Tensor]:
        """What this process has of the module's tensors, not copied."""
        return [_piece(tensor) for tensor in self._live.values()]


def _piece(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()


def _like(piece: Tensor, live: Tensor) -> Tensor:
    """This process's piece of a tensor that is shared out as `live` is."""
    if not isinstance(live, DTensor):
        return piece
    shape = {"shape": live.shape, "stride": live.stride()}
    return DTensor.from_local(piece, live.device_mesh, live.placements, run_check=False, **shape)
