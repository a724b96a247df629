"""How the trajectories of many files belong together: what is joined, and what is split off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..base.config import nearest
from ..fields.vocabulary import SPLITS, UNSPLIT

By = Literal["file", "trajectory", "time"]
Order = Literal["file", "random"]
Join = Literal["fields", "time"]
_FURTHER = ("by", "order", "seed", "gap")


@dataclass(frozen=True)
class Splits:
    """How trajectories, files or frames are divided between splits.

    Attributes:
        shares: split -> fraction (in sum at most 1) or number, in the order in which they are
            dealt out.
        by: what is dealt out: whole files, the trajectories of each file, or the frames of each
            trajectory; None: files where each holds one trajectory, else trajectories.
        order: that of the files, or one drawn with `seed` over the whole dataset.
        gap: by time, the frames that are left out between two splits; None: a tenth of the
            shortest split, at least one.
    """

    shares: Mapping[str, float]
    by: By | None = None
    order: Order = "file"
    seed: int = 0
    gap: int | None = None


@dataclass(frozen=True)
class Arrangement:
    """What is done with the trajectories of all files once they are found.

    Attributes:
        where: the file that says so, for messages.
        splits: how they are divided; None: as the files say.
        join: what is joined: files that hold one field each, files that continue each other.
    """

    where: Path
    splits: Splits | None = None
    join: tuple[Join, ...] = ()


def splits_of(given: Mapping[str, Any], where: Path) -> Splits | None:
    """The splits that a description or recipe asks for; None for no entry.

    Raises:
        ValueError: a name or value is unknown, or two of them do not go together.
    """
    if not given:
        return None
    shares = {name: share for name, share in given.items() if name not in _FURTHER}
    numbers = (int, float)
    if not set(shares) <= {*SPLITS, UNSPLIT} or not all(
        isinstance(share, numbers) and not isinstance(share, bool) and share > 0
        for share in shares.values()
    ):
        raise ValueError(
            f"{where}: splits are train, valid, test or all, as fractions that sum to at most 1 or "
            f"as whole numbers, beside by, order, seed and gap; got {dict(given)}"
        )
    if not shares:
        raise ValueError(f"{where}: splits: say how much goes to train and valid; got {given}")
    for key, known in (("by", get_args(By)), ("order", get_args(Order))):
        value = given.get(key, known[0])
        if value not in known:
            raise ValueError(
                f"{where}: splits.{key} is {', '.join(known)}; got {value!r}"
                f"{nearest(str(value), known)}"
            )
    for key in ("seed", "gap"):
        value = given.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, numbers) or value < 0 or value % 1:
            raise ValueError(f"{where}: splits.{key} is a whole number, 0 or more; got {value!r}")
    shares = {name: float(share) for name, share in shares.items()}
    by, order, gap = given.get("by"), given.get("order", "file"), given.get("gap")
    if by == "time" and order == "random":
        raise ValueError(f"{where}: splits by time have no random order: neighbours would leak")
    if gap is not None and by != "time":
        raise ValueError(f"{where}: splits.gap is of splits by time; write by: time, or no gap")
    return Splits(shares, by, order, int(given.get("seed", 0)), None if gap is None else int(gap))


def join_of(given: str | Sequence[str], where: Path) -> tuple[Join, ...]:
    """What a description asks to join, fields first.

    Raises:
        ValueError: that is neither "fields" nor "time".
    """
    asked = [given] if isinstance(given, str) else [*given]
    known: tuple[Join, ...] = get_args(Join)
    unknown = next((name for name in asked if name and name not in known), None)
    if unknown is not None:
        raise ValueError(
            f"{where}: join is fields, time or [fields, time]; got {unknown!r}"
            f"{nearest(unknown, known)}"
        )
    return tuple(name for name in known if name in asked)
