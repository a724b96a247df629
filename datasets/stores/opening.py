"""Open a dataset of any layout, found by content (see `layouts`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..base.progress import Bar
from ..fields.vocabulary import UNSPLIT
from ..files import guard, remote
from ..layouts import detect as layouts
from ..layouts.arrays import ArraySource, divide
from ..layouts.layout import Layout
from ..layouts.source import Source
from .failures import naming
from .index import SMALLEST, Index, stat
from .store import Store

MANY = 1000  # files, the first reading of which shows its progress


def open_store(
    path: str | Path,
    split: str | None = None,
    layout: str | None = None,
    splits: Mapping[str, int | float] | None = None,
) -> Store:
    """Open a dataset's root, its `data` folder, one split's folder, or a single file.

    Args:
        path: what to open; every file in it must have the same layout, fields and grid. A URL that
            fsspec knows is staged locally first (see `remote`).
        split: "train", "valid" or "test"; None for all, in this order.
        layout: the layout, where its detection by content should not decide: one of `LAYOUTS`, with
            a variant as in "Poseidon:CE-KH", or the path of a description (see `described`).
        splits: other splits than those of the layout or the folders: name -> fraction or number of
            each file's trajectories, in the order of the file.

    Raises:
        ValueError: nothing is there, a file is truncated or has no known layout, the dataset is
            incomplete, files disagree, or there is no such split.
    """
    if remote.is_remote(path):
        path = remote.stage(str(path), None if splits else split)
    path = Path(path).absolute()
    try:
        return _open(path, split, layout, splits)
    except ValueError as error:  # names from a file may hold anything
        raise ValueError(guard.one_line(str(error))) from None


def _open(
    path: Path, split: str | None, layout: str | None, splits: Mapping[str, int | float] | None
) -> Store:
    given, variant = layouts.choose(layout) if layout else (None, "")
    files = layouts.find_files(path)
    wanted = {name for name, _ in files} if split is None or splits else {split, UNSPLIT}
    available = dict.fromkeys(name for name, _ in files if name not in wanted)
    chosen = [(name, file) for name, file in files if name in wanted]
    sources: list[tuple[str, Source]] = []
    for found in _sources_of(path, chosen, given, variant, splits):
        available.update(dict.fromkeys(found))
        sources += [item for item in found.items() if split in (None, item[0])]
    if not sources:
        raise ValueError(f"{path} has no split {split!r}; it has: {', '.join(available)}")
    return Store(sources)


def _sources_of(
    path: Path,
    files: Sequence[tuple[str, Path]],
    given: Layout | None,
    variant: str,
    splits: Mapping[str, int | float] | None,
) -> Iterator[Mapping[str, Source]]:
    """The sources of every file by split; those of many files come from an index of `path`.

    Raises:
        ValueError: a file cannot be read, or has another layout than the first.
    """
    detected = given is None and not splits
    detected &= not (files and layouts.named("described").matches(files[0][1]))
    index = Index(path) if detected and len(files) >= SMALLEST else None
    expected = given
    new = sum(index is None or file not in index for _, file in files)
    with Bar(f"opening {path.name}", new, unit="files", active=new >= MANY) as bar:
        for name, file in files:
            known = index and index.get(file, partial(_open_source, path, file, name))
            if known and (expected is None or known[0] == expected.name):
                expected = expected or layouts.named(known[0])
                yield known[1]
                continue
            before = stat(file)
            expected = expected or layouts.detect(file)
            if expected is None:
                raise ValueError(layouts.explain(file, ""))
            found = _open_file(path, file, name, expected, variant, splits, given is not None)
            if index:
                index.add(file, before, expected.name, found)
            yield found
            bar.advance(1.0)
    if index:
        index.save()


def _open_file(
    path: Path,
    file: Path,
    name: str,
    layout: Layout,
    variant: str = "",
    splits: Mapping[str, int | float] | None = None,
    surely: bool = True,
) -> Mapping[str, Source]:
    """The sources of one file; those that do not say their dataset's name get that of `path`.

    Unless the file has the layout `surely`, an error says whether it has it at all.
    """
    try:
        with naming(file):
            found = layout.open(file, "train" if splits else name, variant)
    except ValueError:
        if not surely and not layout.matches(file):
            raise ValueError(layouts.explain(file, layout.name)) from None
        raise
    if splits:  # a file in a folder `train` is whole
        whole = [*found.values()]
        if len(whole) != 1 or not isinstance(whole[0], ArraySource):
            raise ValueError(f"{file} is in {layout.name}'s layout, which says its splits itself")
        found = divide(whole[0], splits, file)
    for source in found.values():
        if not source.header.name:
            source.header = replace(source.header, name=layouts.dataset_name(path))
    return found


def _open_source(path: Path, file: Path, name: str, layout: str, split: str) -> Source:
    return _open_file(path, file, name, layouts.named(layout))[split]
