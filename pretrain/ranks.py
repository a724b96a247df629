"""The processes of a run among themselves: what they agree on beside the training itself.

They talk over gloo on the host, also where gradients go over NCCL: nothing here waits for a device,
and reading a large dataset runs into no time limit of a collective.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator

from ..datasets.base.processes import Item, Processes, Result

# Seconds that one may work while the others wait; a process that fails ends all at once.
PATIENCE = 24 * 3600.0


class Ranks(Processes):
    """All processes of a run; every one of them makes this, and calls the same methods.

    Args:
        accelerator: the only distribution layer.
        timeout: seconds that they wait for each other; None: `PATIENCE`.
        sketch: whether a rough result will do, from little reading.

    Attributes:
        count: how many there are.
        rank: the number of this one.
        group: of PyTorch's, with gloo on the host; None for a single one.
    """

    def __init__(
        self, accelerator: Accelerator, timeout: float | None = None, sketch: bool = False
    ) -> None:
        super().__init__(sketch)
        self.count, self.rank = accelerator.num_processes, accelerator.process_index
        self.group: Any = None
        if self.count > 1:
            patience = timedelta(seconds=timeout or PATIENCE)
            self.group = dist.new_group(backend="gloo", timeout=patience)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set on any process."""
        if self.count == 1:
            return flag
        told = torch.tensor([int(flag)])
        dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self.group)
        return bool(told)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`function` of every item, in their order; each is computed by one of the processes."""
        if self.count == 1:
            return super().map(function, items)
        mine = super().map(function, items[self.rank :: self.count])
        shares: list[Any] = [None] * self.count
        dist.all_gather_object(shares, mine, group=self.group)
        return [shares[i % self.count][i // self.count] for i in range(len(items))]

    def gather(self, value: Result) -> list[Result]:
        """What each process gives, in the order of their numbers."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.group)
        return values

    def once(self, function: Callable[[], Result]) -> Result:
        """What `function` gives on the main process, which alone calls it."""
        result: list[Any] = [function() if self.rank == 0 else None]
        if self.count > 1:
            dist.broadcast_object_list(result, src=0, group=self.group)
        return result[0]
