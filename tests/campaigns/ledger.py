"""What the cases of a campaign came to: a line of JSON for each, and a table of all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """What a case came to.

    Attributes:
        section, number: which it was.
        kind: of what.
        outcome: in a word or two.
        wrong: what must not be, in a line; empty: nothing.
        seconds: that it took, of a processor where it is bounded by them.
        grown: bytes that the process grew by, where they are counted.
    """

    section: str
    number: int
    kind: str
    outcome: str
    wrong: str = ""
    seconds: float = 0.0
    grown: int = 0


class Ledger:
    """The cases so far; a campaign that was stopped goes on behind them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self.cases = [Case(**found) for line in lines if (found := _parsed(line))]
        path.write_text("".join(json.dumps(asdict(case)) + "\n" for case in self.cases))

    def missing(self, section: str, count: int) -> list[int]:
        """Numbers of a section's cases that are not here."""
        known = {case.number for case in self.cases if case.section == section}
        return [number for number in range(count) if number not in known]

    def add(self, case: Case) -> None:
        """Add a case, on disk too."""
        self.cases.append(case)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(case)) + "\n")

    @property
    def wrong(self) -> list[Case]:
        """Cases that did not end as they should."""
        return [case for case in self.cases if case.wrong]

    def table(self, sections: Sequence[str]) -> str:
        """A row for each section, in Markdown."""
        lines = ["| what | cases | kinds | outcomes | most | wrong |", "|---|---|---|---|---|---|"]
        for section in sections:
            cases = [case for case in self.cases if case.section == section]
            if cases:
                lines.append(_row(section, cases))
        return "\n".join(lines)


def _row(section: str, cases: Sequence[Case]) -> str:
    kinds = Counter(case.kind for case in cases)
    outcomes = Counter(case.outcome for case in cases)
    most = f"{max(case.seconds for case in cases):.1f} s"
    grown = max(case.grown for case in cases)
    if grown:
        most += f", {grown / 2**20:.0f} MiB"
    wrong = sum(bool(case.wrong) for case in cases)
    parts = [section, f"{len(cases):,}", _counts(kinds), _counts(outcomes), most, str(wrong)]
    return f"| {' | '.join(parts)} |"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counter.items()))


def _parsed(line: str) -> dict[str, object] | None:
    """A line; None if a kill cut it short."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
