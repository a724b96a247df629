"""Open a dataset of any layout, found by content (see `layouts`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from ..fields.vocabulary import UNSPLIT
from ..files import guard, remote
from ..files.folders import find_files
from ..layouts.arrangement import Arrangement, splits_of
from ..layouts.source import Source
from ..layouts.sources import sources_of
from .converting import converted
from .dividing import divide
from .joining import join
from .prescribing import marked
from .store import Store

Given: TypeAlias = Mapping[str, int | float | str]


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        layout, units, prescribed: as `open_store` takes them.
    """

    layout: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    prescribed: tuple[str, ...] = ()


AS_IT_IS = Reading()


def open_store(
    path: str | Path,
    split: str | None = None,
    layout: str | None = None,
    splits: Given | None = None,
    units: Mapping[str, str] | None = None,
    prescribed: Sequence[str] = (),
) -> Store:
    """Open a dataset's root, its `data` folder, one split's folder, or a single file.

    Args:
        path: what to open; every file in it must have the same layout, fields and grid. A URL that
            fsspec knows is staged locally first (see `remote`).
        split: "train", "valid" or "test"; None for all, in this order.
        layout: the layout, where its detection by content should not decide: one of `LAYOUTS`, with
            a variant as in "Poseidon:CE-KH", or the path of a description (see `described`).
        splits: other splits than those of the layout or the folders: name -> fraction or number of
            each file's trajectories in its order, or of the files where each holds one; further
            `by` (file, trajectory or time), `order` (file or random), `seed` and `gap`; see
            `layouts.arrangement.Splits`.
        units: name of a field, parameter, "time" or "length" -> the unit that it is converted to
            (see `converting.Converted`), in every file.
        prescribed: names of fields, and of scalars that vary in time, which are known at all times
            and not predicted, beside those that the files say.

    Raises:
        ValueError: nothing is there, a file is truncated or has no known layout, the dataset is
            incomplete, files disagree, or there is no such split.
    """
    if remote.is_remote(path):
        path = remote.stage(str(path), None if splits else split)
    path = Path(path).absolute()
    names = (prescribed,) if isinstance(prescribed, str) else prescribed
    try:
        return _open(path, split, layout, splits, units or {}, names)
    except ValueError as error:  # names from a file may hold anything
        raise ValueError(guard.one_line(str(error))) from None


def _open(
    path: Path,
    split: str | None,
    layout: str | None,
    splits: Given | None,
    units: Mapping[str, str],
    prescribed: Sequence[str],
) -> Store:
    asked = splits_of(splits, Path("splits")) if splits else None
    files = find_files(path)
    found = sources_of(path, files, None if splits else split, layout, whole=bool(splits))
    arrangement = found.arrangement
    if asked is not None:
        arrangement = replace(arrangement, where=path, splits=asked)
    converting = [(name, converted(source, units)) for name, source in found.sources]
    sources = arrange(converting, arrangement, over=bool(splits))
    wanted = [item for item in sources if split in (None, item[0])]
    if not wanted:
        unopened = [name for name, _ in files if not splits and name != UNSPLIT]
        available = dict.fromkeys([*unopened, *(name for name, _ in sources)])
        raise ValueError(f"{path} has no split {split!r}; it has: {', '.join(available)}")
    return Store([(name, marked(source, prescribed)) for name, source in wanted])


def arrange(
    found: Sequence[tuple[str, Source]], arrangement: Arrangement, over: bool
) -> list[tuple[str, Source]]:
    """What was found, joined and divided as it should be.

    Args:
        found: split and source of every file.
        arrangement: what is joined, and how it is divided.
        over: whether files in folders of splits are divided, too.

    Raises:
        ValueError: the files do not go together, or there are too few of them.
    """
    folders = dict.fromkeys(name for name, _ in found)
    if arrangement.join:
        found = [
            (name, source)
            for name in folders
            for source in join([s for n, s in found if n == name], arrangement.join)
        ]
    if arrangement.splits is None or not (over or UNSPLIT in folders):
        return [*found]
    kept = [] if over else [item for item in found if item[0] != UNSPLIT]
    rest = [source for name, source in found if over or name == UNSPLIT]
    return kept + divide(rest, arrangement.splits, arrangement.where)
