"""Work that several processes share, without knowing what starts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_FEW = 4  # of the items that are looked at, where nothing hangs on the result


class Processes:
    """The processes of a job; this one is alone and does everything itself.

    Every process of a job calls the same methods in the same order.

    Args:
        sketch: whether a rough result will do, from little reading.
    """

    def __init__(self, sketch: bool = False) -> None:
        self.sketch = sketch

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`function` of every item, in their order; each is computed by one of the processes."""
        return [function(item) for item in items]

    def once(self, function: Callable[[], Result]) -> Result:
        """What `function` gives on the main process, which alone calls it."""
        return function()

    def chosen(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items that are to be read: all, or for a sketch a few, evenly spread."""
        return items[:: -(-len(items) // _FEW)] if self.sketch and items else items


ALONE = Processes()
