"""From files to sources: which layout they have, and what each holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..base.progress import Bar
from ..fields.vocabulary import UNSPLIT
from ..files.folders import dataset_name
from . import detect
from .arrangement import Arrangement
from .failures import naming
from .index import SMALLEST, Index, stat
from .layout import Layout
from .source import Source

MANY = 1000  # files, the first reading of which shows its progress


@dataclass(frozen=True)
class Found:
    """What files hold.

    Attributes:
        sources: split and source of every file that is opened, of some files several.
        arrangement: how the trajectories of all files belong together.
    """

    sources: list[tuple[str, Source]]
    arrangement: Arrangement


def sources_of(
    path: Path,
    files: Sequence[tuple[str, Path]],
    split: str | None = None,
    layout: str | None = None,
    whole: bool = False,
) -> Found:
    """Open the files of a dataset.

    Args:
        path: the dataset's.
        files: split and path of each, from `folders.find_files`.
        split: that whose files are opened, beside those that belong to none; None for all.
        layout: what decides in place of the contents, if anything.
        whole: whether a file must have no splits of its own.

    Raises:
        ValueError: a file cannot be read, or has another layout than the first.
    """
    given, variant = detect.choose(layout) if layout else (None, "")
    asked = _Asked(path, given, variant, whole)
    arrangement = _arrangement(asked, files)
    chosen = [item for item in files if split is None or item[0] in (split, UNSPLIT)]
    return Found([*_opened(asked, chosen)], arrangement)


@dataclass(frozen=True)
class _Asked:
    """How the files of `path` are to be read; see `sources_of`."""

    path: Path
    layout: Layout | None
    variant: str = ""
    whole: bool = False


def _arrangement(asked: _Asked, files: Sequence[tuple[str, Path]]) -> Arrangement:
    """What the first file's layout says about the trajectories of all."""
    _, first = files[0]
    described = detect.named("described")
    layout = asked.layout or (described if described.matches(first) else None)
    if layout is None or layout.arrangement is None:
        return Arrangement(first)
    return layout.arrangement(first, asked.variant)


def _opened(asked: _Asked, files: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, Source]]:
    """Split and source of every file; those of many files come from an index of their path.

    Raises:
        ValueError: a file cannot be read, or has another layout than the first.
    """
    path, expected = asked.path, asked.layout
    detected = expected is None and not asked.whole
    detected &= not (files and detect.named("described").matches(files[0][1]))
    index = Index(path) if detected and len(files) >= SMALLEST else None
    new = sum(index is None or file not in index for _, file in files)
    with Bar(f"opening {path.name}", new, unit="files", active=new >= MANY) as bar:
        for name, file in files:
            known = index and index.get(file, partial(_open_source, path, file, name))
            if known and (expected is None or known[0] == expected.name):
                expected = expected or detect.named(known[0])
                yield from known[1].items()
                continue
            before = stat(file)
            if asked.layout is None and expected is not None:
                _check_doubts(file, expected)
            expected = expected or detect.detect(file)
            if expected is None:
                raise ValueError(detect.explain(file, ""))
            found = _open_file(asked, file, name, expected)
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


def _open_file(asked: _Asked, file: Path, name: str, layout: Layout) -> dict[str, list[Source]]:
    """The sources of one file; those that do not say their dataset's name get that of the path.

    Where the layout was not asked for, an error says whether the file has it at all.
    """
    try:
        with naming(file):
            # A file in a folder `train` is whole.
            opened = layout.open(file, "train" if asked.whole else name, asked.variant)
    except ValueError:
        if asked.layout is None and not layout.matches(file):
            raise ValueError(detect.explain(file, layout.name)) from None
        raise
    ours = name in (UNSPLIT, asked.path.name)  # of one split's folder, that is what is divided
    if asked.whole and (len(opened) != 1 or (layout.folders and not ours)):
        raise ValueError(f"{file} is in {layout.name}'s layout, which says its splits itself")
    found = {
        split: [sources] if isinstance(sources, Source) else [*sources]
        for split, sources in opened.items()
    }
    for source in itertools.chain(*found.values()):
        if not source.header.name:
            source.header = replace(source.header, name=dataset_name(asked.path))
    return found


def _open_source(path: Path, file: Path, name: str, layout: str, split: str) -> Source:
    known = detect.named(layout)
    return _open_file(_Asked(path, known), file, name, known)[split][0]
