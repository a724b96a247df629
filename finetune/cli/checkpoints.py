"""`pelagos checkpoints`, `pelagos publish` and `pelagos adapter …`: checkpoints by name, shared."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ...datasets.base.options import File


def checkpoints() -> None:
    """Name the checkpoints that ship, and those in the folders of $PELAGOS_CHECKPOINTS.

    Examples:
        pelagos checkpoints
    """
    from ...operators.core.shipped import NAMED, shipped, summary

    found = shipped()
    if not found:
        print("no checkpoints; PELAGOS_CHECKPOINTS names folders of your own (pelagos publish)")
    for name, folder in found.items():
        print(f"{NAMED}{name}\n  {summary(folder) or folder}")


def publish(
    run: File,
    /,
    *,
    to: File,
    name: str = "",
    half: bool = False,
    license: str = "",
    note: str = "",
    overwrite: bool = False,
) -> None:
    """Write the checkpoint of a finished run into a folder of checkpoints, with a model card.

    Where PELAGOS_CHECKPOINTS names that folder, every command takes it as pelagos:NAME. The card
    has data, budget, scores on the run's validation data, units and limits.

    Args:
        run: a finished run.
        to: a folder of checkpoints.
        name: of the checkpoint (default: the run's).
        half: store large tensors in half precision; refused where predictions would change by more
            than 1e-3 of themselves.
        license: of the weights (default: as the checkpoint says).
        note: a sentence for the card.
        overwrite: replace an existing checkpoint of that name.

    Examples:
        pelagos publish runs/pretrain --to checkpoints --half
        pelagos publish runs/mine --to checkpoints --name mine-2d --license CC-BY-4.0
    """
    from ..report.release import Release, release

    asked = Release(name, half, license, note)
    path = release(run, to, asked, overwrite=overwrite)
    size = sum(file.stat().st_size for file in path.iterdir())
    print(f"checkpoint: {path} ({size / 1e6:.2f} MB; its card is {path / 'README.md'})")


def adapter_export(run: File, out: File, /, *, overwrite: bool = False) -> None:
    """Write what a fine-tuned run learned beside its base: a small adapter.

    Every command takes the adapter for a checkpoint, as long as its base is where it was. It is
    refused on another base, by the SHA-256 of the weights.

    Args:
        run: a finished run of method lora or bands.
        out: the folder to write.
        overwrite: replace an existing adapter.

    Examples:
        pelagos adapter export runs/mine adapters/mine
    """
    from ..adapt.adapters import export_adapter

    path = export_adapter(run, out, overwrite=overwrite)
    size = sum(file.stat().st_size for file in path.iterdir())
    print(f"adapter: {path} ({size / 1e6:.2f} MB)")


def adapter_merge(
    adapter: File,
    out: File,
    /,
    *,
    base: Annotated[str | None, Parameter(name="--base")] = None,
    overwrite: bool = False,
) -> None:
    """Write the plain checkpoint that an adapter makes of its base.

    Args:
        adapter: an adapter.
        out: the checkpoint directory to write.
        base: the checkpoint that it adds to, where it is no longer where it was: a directory,
            pelagos:NAME or hf:owner/model.
        overwrite: replace an existing checkpoint.

    Examples:
        pelagos adapter merge adapters/mine runs/merged
        pelagos adapter merge adapters/mine runs/merged --base downloads/base
    """
    from ..adapt.adapters import merge_adapter

    operator = merge_adapter(adapter, out, base=base, overwrite=overwrite)
    print(f"{operator.name}: the checkpoint is {out}")
