"""Splits of a dataset: by whole files, by the trajectories of each, or by time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..layouts.arrangement import Splits
from ..layouts.source import Source
from .views import View

Place = tuple[int, int]  # a source, and a trajectory in it
GAP = 10  # the part of the shortest split that is left out between two, by time


def divide(sources: Sequence[Source], splits: Splits, where: Path) -> list[tuple[str, Source]]:
    """Split and source of the parts of a dataset, split by split.

    Args:
        sources: of all files, in their order.
        splits: what each split gets.
        where: what says so, for messages.

    Raises:
        ValueError: more is asked for than there is, or a split would be empty for want of files,
            trajectories or frames.
    """
    if splits.by == "time":
        return [*_by_time(sources, splits, where)]
    files = _files(sources)
    by_file = splits.by == "file" or (
        splits.by is None and len(files) > 1 and all(len(places) == 1 for places in files)
    )
    if sum(map(len, files)) == 1 and len(splits.shares) > 1:
        path = sources[0].path
        raise ValueError(
            f"{where}: {path.name} holds one trajectory, which cannot be divided between "
            f"{' and '.join(splits.shares)}; divide its frames: splits: {{by: time, train: 0.8, "
            f"valid: 0.1, test: 0.1}}"
        )
    if by_file:
        return _dealt(sources, [files], splits, where, "files")
    units = [[[place] for place in places] for places in files]
    if splits.order == "random":
        units = [[*itertools.chain(*units)]]
    return _dealt(sources, units, splits, where, "trajectories")


def _files(sources: Sequence[Source]) -> list[list[Place]]:
    """The trajectories of each file."""
    found: dict[Path, list[Place]] = {}
    for k, source in enumerate(sources):
        found.setdefault(source.path, []).extend((k, i) for i in range(len(source)))
    return [*found.values()]


def _dealt(
    sources: Sequence[Source],
    decks: Sequence[Sequence[Sequence[Place]]],
    splits: Splits,
    where: Path,
    what: str,
) -> list[tuple[str, Source]]:
    """Each deck is dealt out to the splits by itself: files, or the trajectories of one file."""
    dealt: dict[str, list[Place]] = {name: [] for name in splits.shares}
    whole = len(decks) == 1 and (what == "files" or splits.order == "random")
    for deck in decks:
        order = range(len(deck))
        if splits.order == "random":
            order = np.random.default_rng(splits.seed).permutation(len(deck)).tolist()
        for name, part in _ranges(len(deck), splits.shares, where, what).items():
            if whole and not part:
                raise ValueError(
                    f"{where}: {len(deck)} {what} are too few for {dict(splits.shares)}: "
                    f"{name!r} would be empty; give numbers of {what}, or divide frames (by: time)"
                )
            dealt[name] += [place for k in part for place in deck[order[k]]]
    return [
        (name, _part(sources[k], [i for _, i in group]))
        for name, places in dealt.items()
        for k, group in itertools.groupby(sorted(places), key=lambda place: place[0])
    ]


def _part(source: Source, trajectories: Sequence[int]) -> Source:
    return source if len(trajectories) == len(source) else View(source, trajectories)


def _by_time(
    sources: Sequence[Source], splits: Splits, where: Path
) -> Iterator[tuple[str, Source]]:
    """The frames of every trajectory, with a gap before every split but the first."""
    parts = [_spans(source, splits, where) for source in sources]
    for name in splits.shares:
        for source, spans in zip(sources, parts, strict=True):
            yield name, View(source, range(len(source)), spans[name])


def _spans(source: Source, splits: Splits, where: Path) -> dict[str, range]:
    """The frames of each split in the trajectories of a source."""
    spans = _ranges(source.header.n_frames, splits.shares, where, "frames")
    gap = splits.gap
    if gap is None:
        gap = max(1, min(map(len, spans.values())) // GAP)
    first = next(iter(spans))
    cut = {
        name: span if name == first else range(span.start + gap, span.stop)
        for name, span in spans.items()
    }
    empty = next((name for name, span in cut.items() if not span), None)
    if empty is not None:
        raise ValueError(
            f"{where}: the {source.header.n_frames} frames of {source.path.name} are too few for "
            f"{dict(splits.shares)} with a gap of {gap}: {empty!r} would be empty; make its share "
            f"larger or splits.gap smaller"
        )
    return cut


def _ranges(n: int, shares: Mapping[str, float], where: Path, what: str) -> dict[str, range]:
    """Consecutive ranges of n things, by fraction (in sum at most 1) or number."""
    counted = sum(shares.values()) > 1 + 1e-6  # numbers, not fractions
    scale = 1 if counted else n
    ends = np.cumsum([0.0, *(share * scale for share in shares.values())])
    whole = all(float(share).is_integer() for share in shares.values())
    if ends[-1] > n + 1e-6 or (counted and not whole):
        raise ValueError(
            f"{where}: splits are train, valid, test or all, as fractions that sum to at most 1 or "
            f"as numbers of at most {n} {what}; got {dict(shares)}"
        )
    pairs = itertools.pairwise(map(round, ends.tolist()))
    return {name: range(*pair) for name, pair in zip(shares, pairs, strict=True)}
