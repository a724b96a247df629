"""A dataset read once from end to end, and what is wrong with it before training does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..stores.store import Store
from ..stores.survey import Survey, survey
from ..stores.whole import whole
from .access import Access, StoredArray, data_paths, measure, stored_arrays, stored_bytes
from .findings import (
    Finding,
    series_findings,
    split_findings,
    time_findings,
    value_findings,
)
from .grid_findings import grid_findings
from .leakage import duplicate_findings, near_findings
from .precision import rounding_findings
from .summary import MEBI, summary
from .unwritten import mark_findings, unwritten_findings
from .verify import checksum_findings

RANKS = ("error", "warning", "note")
COSTLY = 4.0  # bytes read over bytes used that are worth another layout
SLOW = 4.0  # time of a random window over that of the same frames read in a row,
LONG = 2e-3  # if it takes more than so many seconds


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
        store: what was read.
        survey: the pass over its values.
        access: the cost of random windows.
        arrays: how the large arrays of the first file are stored.
        findings: errors first, then warnings, then notes.
    """

    store: Store
    survey: Survey
    access: Access
    arrays: list[StoredArray]
    findings: list[Finding]

    @property
    def fine(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return all(finding.rank == "note" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Everything that JSON can hold."""
        store = self.store
        return {
            "dataset": store.name,
            "fine": self.fine,
            "trajectories": len(store),
            "splits": {name: len(part) for name, part in store.splits.items()},
            "frames": sorted({source.header.n_frames for source in store.sources}),
            "fields": list(store.fields),
            "prescribed": list(store.prescribed.fields) if store.prescribed else [],
            "constant_fields": list(store.constant_fields),
            "parameters": list(store.parameter_names),
            "axes": list(store.axes),
            "grid": asdict(store.grid),
            "dt": store.dt,
            "files": len(data_paths(store)),
            "bytes": sum(map(stored_bytes, data_paths(store))),
            "steady": store.steady,
            "arrays": [asdict(item) for item in self.arrays],
            "access": asdict(self.access),
            "findings": [asdict(finding) for finding in self.findings],
        }


def check(
    store: Store,
    history: int = 1,
    horizon: int = 1,
    *,
    verify: bool = False,
    progress: bool = False,
) -> Report:
    """Read every value of a store once, and a few windows.

    Args:
        store: what to check.
        history, horizon: frames of the windows whose cost is measured.
        verify: also compare every byte with the dataset's checksums.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: a file is damaged.
    """
    given, store = store, whole(store)
    found = survey(store, progress)
    access = measure(store, history, horizon)
    arrays = stored_arrays(store.sources[0].path)
    rounded = rounding_findings(store)
    findings = [
        *(checksum_findings(store, progress) if verify else ()),
        *value_findings(store, found, rounded),
        *series_findings(given),
        *rounded.values(),
        *mark_findings(store, found),
        *unwritten_findings(store, found),
        *grid_findings(store),
        *time_findings(store),
        # Where rounding has taken the differences, states are equal that the file tells apart.
        *(duplicate_findings(store, found) if rounded.keys() < {*store.fields} else ()),
        *(near_findings(store, found) if rounded.keys() < {*store.fields} else ()),
        *split_findings(store, found),
        *_access_findings(access, arrays),
    ]
    findings.sort(key=lambda finding: RANKS.index(finding.rank))
    return Report(given, found, access, arrays, findings)


def _access_findings(access: Access, arrays: list[StoredArray]) -> list[Finding]:
    chunked = [item for item in arrays if item.chunks is not None]
    ratio = access.amplification
    costly = ratio is not None and ratio > COSTLY and bool(chunked)
    slow = access.seconds > max(LONG, SLOW * access.sequential)
    if not costly and not (chunked and slow):
        return []
    read = "" if ratio is None else f" reads {ratio:.3g} times the bytes it uses and"
    return [
        Finding(
            "warning",
            "access",
            f"a random window of {access.frames} frames{read} takes "
            f"{access.seconds / max(access.sequential, 1e-9):.3g} times as long as the same frames "
            f"read in a row ({1e3 * access.seconds:.3g} ms): {chunked[0].name} has chunks "
            f"{chunked[0].chunks} {chunked[0].filters}",
            "rewrite it for training: pelagos data rechunk",
        )
    ]


def describe(report: Report) -> str:
    """The report as text: the summary, the cost of windows, then every finding and its remedy."""
    lines = [summary(report.store), _access_row(report.access), ""]
    for finding in report.findings:
        lines += [f"{finding.rank}: {finding.text}", f"    {finding.remedy}"]
    counts = [sum(finding.rank == rank for finding in report.findings) for rank in RANKS]
    parts = [f"{n} {rank}{'s' * (n != 1)}" for n, rank in zip(counts, RANKS, strict=True) if n]
    return "\n".join([*lines, ", ".join(parts) if parts else "nothing to complain about"])


def _access_row(access: Access) -> str:
    read = f", reads {access.amplification:.3g} × its bytes" if access.amplification else ""
    frames = f"{access.frames} frame{'s' * (access.frames != 1)}"
    cost = (
        f"{frames}, {access.window_bytes / MEBI:.3g} MiB in {1e3 * access.seconds:.3g} ms{read}; "
    )
    cost += f"in a row {1e3 * access.sequential:.3g} ms"
    return f"{'random window':<16}{cost}"
