"""The process that opens checkpoints and files, and computes; the server itself does neither.

It answers one task after the other over a pipe, as JSON and bytes. What damages it, or takes too
long, ends this process alone.
"""

from __future__ import annotations

import json
import math
import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from ...datasets.base.texts import MOST_JSON
from ...datasets.files.guard import one_line
from .answers import JSON, Answer
from .assimilating import assimilate
from .cards import card, checkpoints, datasets
from .predicting import predict, predict_file
from .refusals import Refused
from .served import Served
from .shelf import Shelf

LONGEST = 600  # characters of an error


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Attributes:
        name: of it, a key of `TASKS`.
        query: what is asked beside the body.
        body: the file with the request's body, alone in its folder; "" where it has none.
    """

    name: str
    query: dict[str, Any]
    body: str = ""


TASKS: Mapping[str, Callable[[Shelf, dict[str, Any], Path], Answer]] = {
    "checkpoints": lambda shelf, query, body: Answer(checkpoints(shelf)),
    "checkpoint": lambda shelf, query, body: Answer(card(shelf, query["name"])),
    "datasets": lambda shelf, query, body: Answer(datasets(shelf)),
    "predict": lambda shelf, query, body: predict(shelf, body),
    "predict file": lambda shelf, query, body: predict_file(shelf, query, body),
    "assimilate": lambda shelf, query, body: assimilate(shelf, body),
}


def work(pipe: Connection, served: Served) -> None:
    """Answer tasks until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this one
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // served.limits.workers))
    shelf = Shelf(served)
    pipe.send_bytes(b"ready")  # what was imported until now counts for no request
    while True:
        try:
            told = json.loads(pipe.recv_bytes(MOST_JSON))
        except (EOFError, OSError):
            return
        head, content = done(shelf, Task(**told))
        pipe.send_bytes(json.dumps(head).encode())
        pipe.send_bytes(content)


def done(shelf: Shelf, task: Task) -> tuple[dict[str, Any], bytes]:
    """The head of the answer to a task (status, type, name) and its bytes; a refusal is one."""
    try:
        answer = TASKS[task.name](shelf, task.query, Path(task.body))
        head = {"status": 200, "type": answer.type, "name": answer.name}
        if answer.type != JSON:
            return head, answer.content
        return head, _json(answer.content)
    except (ValueError, MemoryError, OverflowError, UnicodeError, RecursionError) as error:
        return refusal(error, shelf, task.body)
    except Exception as error:
        traceback.print_exc()
        text = f"this cannot be answered ({type(error).__name__}); the server's log says more"
        return refusal(Refused(text), shelf, task.body, 500)


def _json(content: Any) -> bytes:
    try:
        return json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:  # a few numbers beside the arrays are not finite
        return json.dumps(_finite(content), allow_nan=False, ensure_ascii=False).encode()


def _finite(content: Any) -> Any:
    """Plain data with null for what JSON cannot hold, as the distance of what is infinite."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return content


def refusal(
    error: BaseException, shelf: Shelf, body: str, status: int = 0
) -> tuple[dict[str, Any], bytes]:
    """An error in one line, without paths of this machine."""
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
        text = str(error)
    else:
        text = f"the request is too much or damaged ({type(error).__name__})"
    if body:
        text = text.replace(f"{Path(body).parent}/", "").replace(Path(body).name, "the upload")
    text = shelf.without_places(text).replace(tempfile.gettempdir(), "")
    status = status or (error.status if isinstance(error, Refused) else 400)
    said = {"error": one_line(text)[:LONGEST]}
    return {"status": status, "type": JSON, "name": ""}, json.dumps(said).encode()
