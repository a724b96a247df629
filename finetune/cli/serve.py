"""`pelagos serve`: checkpoints and datasets to a page in the browser, and to programs over HTTP."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from ...datasets.base.options import Count, Device, Index, Positive, Source, named_device
from ..serve.served import Limits, Served, named


@Parameter(name="*")
@dataclass(frozen=True)
class Asked(Limits):
    """Limits as they are typed."""

    __doc__ = Limits.__doc__
    workers: Count = 1
    waiting: Index = 32
    seconds: Positive = 120.0
    megabytes: Positive = 64.0


def serve(
    checkpoints: Annotated[tuple[Source, ...], Parameter(name="CHECKPOINT")] = (),
    /,
    *,
    data: Annotated[tuple[Source, ...], Parameter(negative="")] = (),
    split: str = "test",
    host: str = "127.0.0.1",
    port: Index = 8765,
    limits: Asked = Asked(),
    device: Device = "auto",
) -> None:
    """Open a page on which checkpoints predict, and serve them to programs over HTTP.

    On the page one picks a checkpoint and a sample of a dataset, or drops a file, draws an initial
    state, or places sensors, and sees prediction, truth, error, spectrum and verdict. Programs send
    and get JSON, NetCDF or zipped Zarr: the page /docs says how.

    Args:
        checkpoints: runs, checkpoint directories or hf:owner/model, beside all that have a name
            (pelagos checkpoints).
        data: a dataset that samples are taken of; repeatable.
        split: split of the datasets: train, valid, test or all.
        host: address to listen at. Whoever reaches it may use the server: it asks for no password.
        port: 0: any that is free.
        device: where to compute: cpu, cuda, …; auto: a GPU if there is one.

    Examples:
        pelagos serve runs/mine --data data/burgers_1d
        pelagos serve runs/observer_ks runs/mine --data data/ks --data data/burgers_1d --port 0
    """
    from ...operators.core.checkpoint import directory_of, locate
    from ...operators.core.shipped import NAMED, shipped
    from ..serve.running import serve as run

    places = named(checkpoints) | {NAMED + name: NAMED + name for name in shipped()}
    if not places:
        raise ValueError("name a checkpoint to serve: pelagos serve runs/mine --data data/mine")
    for place in checkpoints:
        directory_of(locate(place))
    datasets = named(data)
    for place in datasets.values():
        _require_dataset(place, split)
    served = Served(
        places, datasets, None if split == "all" else split, named_device(device), limits
    )
    if host not in ("127.0.0.1", "localhost", "::1"):
        print(f"pelagos: warning: anyone who reaches {host} can use this server", file=sys.stderr)
    run(served, host, port, ready=_say)


def _require_dataset(place: str, split: str) -> None:
    """Say now what is wrong with a dataset."""
    from ...datasets.stores.opening import open_store

    open_store(place, None if split == "all" else split)


def _say(address: str) -> None:
    print(f"serving at {address} (open it in a browser; Ctrl-C ends)", flush=True)
