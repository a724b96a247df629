"""Open a dataset of any layout, found by content (see `layouts`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from ..base.progress import Bar
from ..fields.vocabulary import UNSPLIT
from ..files import guard, remote
from ..layouts import detect as layouts
from ..layouts.arrangement import Arrangement, splits_of
from ..layouts.layout import Layout
from ..layouts.source import Source
from .converting import converted
from .dividing import divide
from .failures import naming
from .index import SMALLEST, Index, stat
from .joining import join
from .store import Store

Given: TypeAlias = Mapping[str, int | float | str]
MANY = 1000  # files, the first reading of which shows its progress


def open_store(
    path: str | Path,
    split: str | None = None,
    layout: str | None = None,
    splits: Given | None = None,
    units: Mapping[str, str] | None = None,
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

    Raises:
        ValueError: nothing is there, a file is truncated or has no known layout, the dataset is
            incomplete, files disagree, or there is no such split.
    """
    if remote.is_remote(path):
        path = remote.stage(str(path), None if splits else split)
    path = Path(path).absolute()
    try:
        return _open(path, split, layout, splits, units or {})
    except ValueError as error:  # names from a file may hold anything
        raise ValueError(guard.one_line(str(error))) from None


def _open(
    path: Path,
    split: str | None,
    layout: str | None,
    splits: Given | None,
    units: Mapping[str, str],
) -> Store:
    given, variant = layouts.choose(layout) if layout else (None, "")
    files = layouts.find_files(path)
    arrangement = _arrangement(given, variant, files)
    if splits:
        asked = splits_of(splits, Path("splits"))
        arrangement = replace(arrangement, where=path, splits=asked)
    wanted = {name for name, _ in files} if split is None or splits else {split, UNSPLIT}
    available = dict.fromkeys(name for name, _ in files if name not in wanted)
    chosen = [(name, file) for name, file in files if name in wanted]
    read = _sources_of(path, chosen, given, variant, bool(splits))
    found = [(name, converted(source, units)) for name, source in read]
    sources = arrange(found, arrangement, over=bool(splits))
    available.update(dict.fromkeys(name for name, _ in sources))
    sources = [item for item in sources if split in (None, item[0])]
    if not sources:
        raise ValueError(f"{path} has no split {split!r}; it has: {', '.join(available)}")
    return Store(sources)


def _arrangement(
    given: Layout | None, variant: str, files: Sequence[tuple[str, Path]]
) -> Arrangement:
    """What the first file's layout says about the trajectories of all."""
    _, first = files[0]
    described = layouts.named("described")
    layout = given or (described if described.matches(first) else None)
    if layout is None or layout.arrangement is None:
        return Arrangement(first)
    return layout.arrangement(first, variant)


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


def _sources_of(
    path: Path,
    files: Sequence[tuple[str, Path]],
    given: Layout | None,
    variant: str,
    whole: bool,
) -> Iterator[tuple[str, Source]]:
    """Split and source of every file; those of many files come from an index of `path`.

    Where they are to be `whole`, a file has no splits of its own.

    Raises:
        ValueError: a file cannot be read, or has another layout than the first.
    """
    detected = given is None and not whole
    detected &= not (files and layouts.named("described").matches(files[0][1]))
    index = Index(path) if detected and len(files) >= SMALLEST else None
    expected = given
    new = sum(index is None or file not in index for _, file in files)
    with Bar(f"opening {path.name}", new, unit="files", active=new >= MANY) as bar:
        for name, file in files:
            known = index and index.get(file, partial(_open_source, path, file, name))
            if known and (expected is None or known[0] == expected.name):
                expected = expected or layouts.named(known[0])
                yield from known[1].items()
                continue
            before = stat(file)
            if given is None and expected is not None:
                _check_doubts(file, expected)
            expected = expected or layouts.detect(file)
            if expected is None:
                raise ValueError(layouts.explain(file, ""))
            found = _open_file(path, file, name, expected, variant, whole, given is not None)
            single = {name: sources[0] for name, sources in found.items() if len(sources) == 1}
            if index and len(single) == len(found):
                index.add(file, before, expected.name, single)
            yield from ((name, source) for name, sources in found.items() for source in sources)
            bar.advance(1.0)
    if index:
        index.save()


def _check_doubts(file: Path, expected: Layout) -> None:
    """Refuse a file that something speaks against having the layout of those before it."""
    against = expected.matches(file) and expected.doubts(file)
    if against:
        raise ValueError(
            f"{file} is beside files of {expected.name}'s layout, but {against}; move it away, or, "
            f"if it is theirs, say so: --layout {expected.name!r} (layout: {expected.name} in a "
            f"recipe)"
        )


def _open_file(
    path: Path,
    file: Path,
    name: str,
    layout: Layout,
    variant: str = "",
    whole: bool = False,
    surely: bool = True,
) -> dict[str, list[Source]]:
    """The sources of one file; those that do not say their dataset's name get that of `path`.

    Unless the file has the layout `surely`, an error says whether it has it at all.
    """
    try:
        with naming(file):
            # A file in a folder `train` is whole.
            opened = layout.open(file, "train" if whole else name, variant)
    except ValueError:
        if not surely and not layout.matches(file):
            raise ValueError(layouts.explain(file, layout.name)) from None
        raise
    if whole and (len(opened) != 1 or (layout.folders and name != UNSPLIT)):
        raise ValueError(f"{file} is in {layout.name}'s layout, which says its splits itself")
    found = {
        split: [sources] if isinstance(sources, Source) else [*sources]
        for split, sources in opened.items()
    }
    for source in itertools.chain(*found.values()):
        if not source.header.name:
            source.header = replace(source.header, name=layouts.dataset_name(path))
    return found


def _open_source(path: Path, file: Path, name: str, layout: str, split: str) -> Source:
    return _open_file(path, file, name, layouts.named(layout))[split][0]
