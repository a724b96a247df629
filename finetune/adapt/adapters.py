"""What a run learned as an adapter of its own, and an adapter as a plain checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from ...datasets.base.config import read
from ...operators.core import adapter, checkpoint
from ...operators.core.operator import Operator
from ...operators.core.updates import updated
from ...pretrain.run.best import FOLDER as BEST
from ...pretrain.run.state import AVERAGE, latest
from .recipe import FinetuneRecipe


def export_adapter(run: Path, out: Path, *, overwrite: bool = False) -> Path:
    """Write what a finished run learned beside its base; see `operators.core.adapter`.

    Args:
        run: of `pelagos finetune`, with a method whose updates are added to weights (lora, bands).
        out: the folder to write.
        overwrite: replace an adapter that is there.

    Raises:
        ValueError: the run is not finished, trained weights themselves, or has no training state
            any more; or the folder is taken.
    """
    _require_free(out, overwrite)
    if not (run / "recipe.yaml").is_file():
        raise ValueError(f"{run} is no run directory: it has no recipe.yaml")
    published = checkpoint.locate(run)
    recipe = read(FinetuneRecipe, run / "recipe.yaml")
    config, weights = checkpoint.read_config(published), checkpoint.read_state(published)
    for state in _states(run):
        operator, kept = _trained(recipe, config, state, run)
        if _merges_into(weights, recipe, config, state, run):
            base = _base(config)
            return adapter.write_adapter(out, operator, config, base, kept, overwrite=overwrite)
    raise ValueError(
        f"{run} has no training state of its checkpoint any more; train again, or use the "
        f"checkpoint itself: {published}"
    )


def merge_adapter(
    source: Path, out: Path, *, base: str | None = None, overwrite: bool = False
) -> Operator:
    """Write the plain checkpoint that an adapter makes of its base.

    Raises:
        ValueError: it is no adapter, or of another base; or the folder is taken.
    """
    checkpoint.require_free(out, overwrite)
    if not adapter.is_adapter(checkpoint.directory_of(source)):
        raise ValueError(f"{source} is no adapter: it has no {adapter.ADAPTER}")
    operator = checkpoint.from_pretrained(source, base=base)
    operator.save_pretrained(out, overwrite=overwrite)
    return operator


def _require_free(out: Path, overwrite: bool) -> None:
    if out.exists() and not (overwrite and adapter.is_adapter(out)):
        what = "exists already" if adapter.is_adapter(out) else "is there and is no adapter"
        raise ValueError(f"{out} {what}; choose another path")


def _base(config: dict[str, Any]) -> adapter.Base:
    found = config.get("provenance", {}).get("base")
    if not isinstance(found, dict):
        raise ValueError(
            "the run does not say which weights it started from: it was made by an earlier "
            "version. Fine-tune again"
        )
    return adapter.Base(str(found.get("source")), str(found.get("sha256")))


def _states(run: Path) -> Iterator[dict[str, Tensor]]:
    """The trained tensors that the checkpoint may have been published from."""
    state = latest(run)
    if state is not None:
        last = checkpoint.read_state(state / "operator")
        yield last
        if (state / AVERAGE).is_file():
            yield {**last, **checkpoint.read_tensors(state / AVERAGE)}
    for best in sorted((run / BEST).glob("step-*"), reverse=True):
        yield checkpoint.read_state(best)


def _trained(
    recipe: FinetuneRecipe, config: dict[str, Any], state: dict[str, Tensor], run: Path
) -> tuple[Operator, tuple[str, ...]]:
    """The operator as it was trained, and the names of what it kept of its base."""
    operator = checkpoint.build(config)
    kept = recipe.adaptation.prepare(operator, recipe.seed)
    if not updated(operator):
        raise ValueError(
            f"{run} was trained by method {recipe.adaptation.config.name!r}, which changes the "
            "weights themselves; its checkpoint is all there is (method.name lora or bands make "
            "adapters)"
        )
    checkpoint.load_state(operator, state, str(run))
    return operator, kept


def _merges_into(
    weights: dict[str, Tensor],
    recipe: FinetuneRecipe,
    config: dict[str, Any],
    state: dict[str, Tensor],
    run: Path,
) -> bool:
    """Whether merging a state gives these weights, to the bit."""
    operator, _ = _trained(recipe, config, state, run)
    recipe.adaptation.finish(operator)
    found = operator.state_dict()
    return all(found[name].equal(value) for name, value in weights.items())
