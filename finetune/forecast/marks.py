"""How far the writing of a prediction has come, so that the same command goes on after a stop."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...datasets.base.appearing import appearing_file
from ...datasets.base.config import plain
from ...datasets.base.texts import parse_json
from ...datasets.layouts.index import state_of
from ...datasets.stores.store import Store
from ...operators.core.description import description_to_dict
from ...operators.core.operator import Operator
from .plan import Plan
from .request import Request


@dataclass
class Marks:
    """What of a prediction is written.

    Attributes:
        identity: of operator, data and request; another's marks are worth nothing.
        member, row, steps: as in `frames.Done`.
        dataset: as which the data are scaled.
        broken: row -> the first step at which it was not finite.
        verdict: on the batches so far, as JSON; "" for none.
        started: whether the verdict has the start of the batch that is not finished.
    """

    identity: str
    member: int = 0
    row: int = 0
    steps: int = 0
    dataset: str = ""
    broken: dict[str, int] = field(default_factory=dict)
    verdict: str = ""
    started: bool = False

    def write(self, path: Path) -> None:
        """Under its name when complete."""
        with appearing_file(path, overwrite=True) as draft:
            draft.write_text(json.dumps(asdict(self)))


def places(path: Path) -> tuple[Path, Path]:
    """The draft of a prediction, and the marks, beside `path`."""
    draft = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    return draft, path.with_name(f".{path.stem}.marks{path.suffix}.json")


def read_marks(path: Path, identity: str) -> Marks | None:
    """The marks of an earlier attempt at the same prediction; None where there are none."""
    try:
        values: Any = parse_json(path.read_text())
        found = Marks(**values)
    except (OSError, ValueError, TypeError):
        return None
    return found if found.identity == identity else None


def discard(path: Path) -> None:
    """Remove the draft and the marks of a prediction."""
    for found in places(path):
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink(missing_ok=True)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same prediction.

    Raises:
        ValueError: one does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another process is writing {path}; wait for it, or choose another path"
            ) from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _told(request: Request) -> dict[str, Any]:
    """The request as plain data, and the state of the file that it names, if any."""
    told = plain(request)
    given = told.pop("prescribed")
    if given is None:
        return told
    path = Path(given)
    return told | {"prescribed": [given, state_of([path] if path.exists() else [])]}


def identity_of(operators: Sequence[Operator], store: Store, request: Request, plan: Plan) -> str:
    """A hash of all that a prediction depends on."""
    told: list[Any] = [_told(request), plain(plan), store.name]
    for operator in operators:
        about = description_to_dict(operator.description)
        told += [operator.name, plain(operator.config), about]
    told += [str(store.origin(i)) for i in (plan.trajectories[0], plan.trajectories[-1])]
    found = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    tensors = [item for operator in operators for item in operator.state_dict().items()]
    for name, value in tensors:
        found.update(name.encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        found.update(flat.view(torch.uint8).numpy().data)
    first = store.window(plan.trajectories[0], plan.start, plan.history, 0, plan.stride).history
    found.update(first.contiguous().numpy().tobytes())
    return found.hexdigest()
