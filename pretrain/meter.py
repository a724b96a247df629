"""What a run says of itself beside its loss: speed, waiting, memory, losses and gradients in parts.

Nothing here waits for a device: values stay there until a log line is due.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from .ranks import Ranks

Item = TypeVar("Item")


class Meter:
    """Measures the steps between two log lines, over all processes.

    Args:
        ranks: the processes.
        device: of this one.
        share: micro-batches that this process computes of a step; losses are divided by it.
    """

    def __init__(self, ranks: Ranks, device: torch.device, share: int) -> None:
        self.ranks, self.device, self.share = ranks, device, share
        self._losses: list[tuple[str, Tensor]] = []
        self._waited = 0.0
        self.resume()

    def resume(self) -> None:
        """Steps begin, or go on after other work, which does not count."""
        self._since, self._waited = time.perf_counter(), 0.0

    def next(self, batches: Iterator[Item]) -> Item:
        """The next of `batches`, for which the process waits."""
        began = time.perf_counter()
        item = next(batches)
        self._waited += time.perf_counter() - began
        return item

    def loss(self, dataset: str, value: Tensor) -> None:
        """The loss of a micro-batch, as it counts in the step's."""
        self._losses.append((dataset, value.detach()))

    def losses(self) -> dict[str, float]:
        """Mean loss of every dataset since the last time, by `loss/NAME`; every process calls it.

        Datasets that were not drawn are left out.
        """
        seen, self._losses = self._losses, []
        values = torch.stack([value.float() for _, value in seen]).tolist() if seen else []
        mine: defaultdict[str, list[float]] = defaultdict(list)
        for (name, _), value in zip(seen, values, strict=True):
            mine[name].append(value * self.share)
        sums = {name: (sum(each), len(each)) for name, each in mine.items()}
        return _means(self.ranks.gather(sums))

    def speed(self, steps: int, windows: int) -> dict[str, float]:
        """How the last steps went; every process calls it, once they are computed.

        Args:
            steps: their number.
            windows: in all of them, over all processes.

        Returns:
            `samples_per_second`, `step_seconds`, `data_wait` (the largest share of the time that a
            process waited for data), `host_bytes` and, with CUDA, `device_bytes` (the most memory
            that a process has had so far).
        """
        took = max(time.perf_counter() - self._since, 1e-9)
        mine = {"data_wait": self._waited / took, **most_memory(self.device)}
        everyone = self.ranks.gather(mine)
        most = {name: round(max(each[name] for each in everyone), 4) for name in mine}
        return {
            "samples_per_second": round(windows / took, 3),
            "step_seconds": round(took / steps, 6),
            **most,
        }


def gradient_norms(operator: nn.Module) -> dict[str, float]:
    """The gradient's norm in each outermost module or parameter, by `grad_norm/NAME`.

    Every process calls it (gradients may be sharded).
    """
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in operator.named_parameters():
        if parameter.grad is not None:
            parts.setdefault(name.split(".")[0], []).append(parameter.grad)
    norms = [_whole(get_total_norm(gradients)) for gradients in parts.values()]
    values = torch.stack(norms).tolist() if norms else []
    return {f"grad_norm/{name}": value for name, value in zip(parts, values, strict=True)}


def _whole(norm: Tensor) -> Tensor:
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _means(sums: Iterable[Mapping[str, tuple[float, int]]]) -> dict[str, float]:
    totals: dict[str, tuple[float, int]] = {}
    for each in sums:
        for name, (value, count) in each.items():
            total, number = totals.get(name, (0.0, 0))
            totals[name] = (total + value, number + count)
    return {f"loss/{name}": total / count for name, (total, count) in sorted(totals.items())}


def most_memory(device: torch.device) -> dict[str, float]:
    """The most memory that this process has had: `host_bytes` and, with CUDA, `device_bytes`."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"host_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)}
    if device.type == "cuda":
        found["device_bytes"] = float(torch.cuda.max_memory_allocated(device))
    return found
