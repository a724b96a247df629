"""Damaged and hostile files, some of every kind; `fuzz_layouts.py` runs any number of them."""

from __future__ import annotations

import fuzz_layouts


def test_damaged_files_are_read_or_refused_in_one_line() -> None:
    found = [case for batch in fuzz_layouts.fuzz(first=0, cases=120) for case in batch]
    assert not [case for case in found if not fuzz_layouts.good(case)]
    assert len(found) == 120
    assert sum(line["outcome"] == "refused" for line in found) > 40
