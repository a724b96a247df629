"""What a checkpoint says of itself before its weights are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.base.paths import expanded
from ...datasets.stores.store import Store
from ...operators.core import adapter, checkpoint
from ...operators.core.description import Description
from ...operators.core.registry import get


@dataclass(frozen=True)
class Donor:
    """A checkpoint to start from.

    Attributes:
        source: where it is: its own directory, `pelagos:NAME` or `hf:owner/model`.
        operator: registry name of its operator.
        config: the operator's own config.
        about: fields, units, normaliser, time, provenance.
    """

    source: Path
    operator: str
    config: Mapping[str, Any]
    about: Description

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe that it was trained by; empty where it does not say."""
        found = self.about.provenance.get("recipe")
        return found if isinstance(found, Mapping) else {}

    @property
    def ndim(self) -> int | None:
        """Space axes, where the config says how many."""
        found = self.config.get("ndim")
        return found if isinstance(found, int) else None

    def changes_for(self, store: Store, given: Mapping[str, Any]) -> dict[str, Any]:
        """Config keys that differ where a steady problem follows one in time; weights stay.

        Args:
            store: the new data.
            given: config keys of a recipe; what it changes itself is left alone.
        """
        if not store.steady or self.about.inputs:
            return {}
        own = {key: given.get(key, value) for key, value in self.config.items()}
        wanted = get(self.operator).timeless.items()
        return {k: v for k, v in wanted if k in own and own[k] == self.config[k] != v}

    def require_dimension(self, stores: Sequence[Store]) -> None:
        """Refuse data of another number of axes.

        Raises:
            ValueError: they are.
        """
        first = stores[0]
        if self.ndim not in (None, first.grid.ndim):
            raise ValueError(
                f"{self.source} works in {self.ndim}D, and {first.name} is {first.grid.ndim}D; "
                f"start from a {first.grid.ndim}D checkpoint (pelagos checkpoints names those that "
                "ship), or from scratch (init_from: null, and an operator)"
            )


def donor_of(given: str) -> Donor:
    """The checkpoint that `init_from` names; an adapter is what it makes of its base.

    Raises:
        ValueError: there is none, or its description is damaged.
    """
    source = checkpoint.locate(expanded(given, "init_from"))
    directory = checkpoint.locate(checkpoint.directory_of(source))
    if adapter.is_adapter(directory):
        config = adapter.read_adapter(directory).operator
    else:
        config = checkpoint.read_config(directory)
    return Donor(source, config["operator"], config["config"], checkpoint.describe(config))
