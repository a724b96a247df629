"""What is said of a checkpoint or dataset before anything is asked of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...datasets.base.plain import plain
from ...operators.core import checkpoint
from ...operators.core.operator import Operator
from ...operators.core.shipped import CARD, summary
from .shelf import Shelf

MOST_TEXT = 100_000  # characters of a model card


def checkpoints(shelf: Shelf) -> dict[str, Any]:
    """Every checkpoint that is served: what it maps, or why it cannot be opened."""
    found = []
    for name, place in shelf.served.checkpoints.items():
        try:
            folder = checkpoint.directory_of(checkpoint.locate(place))
            entry = {**_card(shelf.operator(name)), "summary": summary(folder)}
        except ValueError as error:
            entry = {"error": shelf.without_places(str(error))}
        found.append({"name": name, **entry})
    return {"checkpoints": found}


def card(shelf: Shelf, name: str) -> dict[str, Any]:
    """All that is known of a checkpoint.

    Raises:
        ValueError: there is none of this name, or it cannot be opened.
    """
    operator = shelf.operator(name)
    about, folder = operator.description, shelf.served.checkpoints[name]
    path = checkpoint.directory_of(checkpoint.locate(folder)) / CARD
    text = path.read_text("utf-8", "replace")[:MOST_TEXT] if path.is_file() else ""
    return {
        "name": name,
        **_card(operator),
        "trained": plain(about.trained),
        "calibration": plain(about.calibration),
        "provenance": plain(about.provenance),
        "text": text,
    }


def _card(operator: Operator) -> dict[str, Any]:
    about = operator.description
    return {
        "operator": operator.name,
        "weights": sum(p.numel() for p in operator.parameters()),
        "fields": list(about.fields),
        "inputs": list(about.inputs),
        "constant_fields": list(about.constant_fields),
        "parameters": list(operator.parameter_names),
        "prescribed": [name for name in about.prescribed if name not in about.fill],
        "filled": [name for name in about.inputs or about.fields if name in about.fill],
        "units": about.units,
        "axes": list(about.axes or "xyz"[: operator.ndim]),
        "grid": plain(about.grid),
        "history": operator.history,
        "time_steps": list(about.time_steps),
        "continuous": operator.continuous,
        "direct": operator.direct,
        "assimilates": operator.assimilates,
        "datasets": list(map(str, about.provenance.get("datasets", ()))),
        "license": about.license,
    }


def datasets(shelf: Shelf) -> dict[str, Any]:
    """Every dataset that is served, or why it cannot be opened."""
    found = []
    for name in shelf.served.datasets:
        try:
            store = shelf.store(name)
            frames = [store.n_frames(i) for i in range(len(store))]
            entry = {
                "steady": store.steady,
                "fields": list(store.fields),
                "constant_fields": list(store.constant_fields),
                "parameters": list(store.parameter_names),
                "prescribed": list(store.prescribed.fields if store.prescribed else ()),
                "units": dict(store.units),
                "axes": list(store.axes),
                "grid": plain(store.grid),
                "trajectories": len(store),
                "frames": int(np.max(frames)),
                "split": ", ".join(store.splits),
            }
        except ValueError as error:
            entry = {"error": shelf.without_places(str(error))}
        found.append({"name": name, **entry})
    return {"datasets": found}
