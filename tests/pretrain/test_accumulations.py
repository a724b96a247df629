"""A step's micro-batches on more or fewer processes: the same step, up to the order of sums."""

from __future__ import annotations

import json
from pathlib import Path

import accumulations
import pytest
from processes import run

from pelagos.datasets.simulation.simulate import simulate


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accumulations")
    sizes = {"trajectories": {"train": 4, "valid": 1}, "resolution": 48, "frames": 5}
    data = simulate("advection_1d", folder, **sizes)
    run(Path(accumulations.__file__), data, folder)
    return folder


def weights(run: Path) -> bytes:
    return (run / "checkpoint" / "model.safetensors").read_bytes()


def numbers(run: Path) -> list[float]:
    """Loss and gradient norm of every step, and the score in the end."""
    records = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [r[k] for r in records for k in ("loss", "grad_norm", "vrmse") if k in r]


@pytest.mark.parametrize("name", accumulations.OPERATORS)
def test_sums_of_two_terms_are_the_same_to_the_bit(runs, name):
    assert weights(runs / f"{name}-2-1") == weights(runs / f"{name}-2-2")


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("name", accumulations.OPERATORS)
def test_sums_of_four_terms_differ_by_rounding(runs, name, processes):
    alone, shared = (numbers(runs / f"{name}-4-{count}") for count in (1, processes))
    assert shared == pytest.approx(alone, rel=1e-6)
    assert len(alone) == 2 * 4 + 2  # validated before the first step, and after the last
    assert alone[1] != alone[3]
