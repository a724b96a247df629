"""Which parameters of an operator do what, by name: what fine-tuning freezes, adapts and speeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

HEAD = ("embedding", "recovery", "norms")  # what meets new fields and new times
BACKBONE = "blocks"


@dataclass(frozen=True)
class Parts:
    """Names of modules and parameters by what they do; each parameter belongs to one part.

    Attributes:
        embedding: what takes fields in.
        blocks: the backbone, in the order in which data pass it; a block may have several modules.
        recovery: what gives fields back, and in observers the gain.
        norms: gains and shifts between blocks, which see the time where the network does.
    """

    embedding: tuple[str, ...] = ()
    blocks: tuple[tuple[str, ...], ...] = ()
    recovery: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()

    @property
    def head(self) -> tuple[str, ...]:
        """All but the backbone."""
        return (*self.embedding, *self.recovery, *self.norms)

    def named(self) -> dict[str, tuple[str, ...]]:
        """Modules and parameters by the name of their part."""
        blocks = tuple(name for block in self.blocks for name in block)
        parts = {"embedding": self.embedding, "blocks": blocks}
        return parts | {"recovery": self.recovery, "norms": self.norms}

    def within(self, prefix: str) -> Parts:
        """The same parts of an operator that stands inside another one, as its `prefix`."""

        def below(names: Iterable[str]) -> tuple[str, ...]:
            return tuple(f"{prefix}.{name}" for name in names)

        blocks = tuple(below(block) for block in self.blocks)
        return Parts(below(self.embedding), blocks, below(self.recovery), below(self.norms))


def members(names: Iterable[str], parts: Iterable[str]) -> Iterator[str]:
    """The names that are one of the parts, or lie in one."""
    prefixes = tuple(f"{part}." for part in parts)
    return (name for name in names if f"{name}.".startswith(prefixes))
