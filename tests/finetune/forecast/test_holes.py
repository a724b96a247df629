"""Frames with holes: neither scored nor learned, and refused only where a forecast starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml

from pelagos.datasets import Store, open_store
from pelagos.datasets.fields.normalization import WindowScaling, normalizer_to_dict
from pelagos.datasets.sampling.structure_change import structure_change
from pelagos.datasets.sampling.unvarying import unvarying
from pelagos.finetune.cli.console import main
from pelagos.finetune.forecast.evaluate import evaluate
from pelagos.finetune.forecast.predict import predict
from pelagos.operators import from_pretrained
from pelagos.pretrain.start import fit_to_data

POINTS, SPEED, DT, T, N = 32, 0.5, 0.25, 8, 3
X = np.arange(POINTS) * 2 / POINTS
WAVE = np.stack([
    [np.sin(np.pi * m * (X - SPEED * DT * t)) for t in range(T)] for m in range(1, N + 1)
]).astype("f4")  # fmt: skip
HOLES = WAVE.copy()
HOLES[0, 3, :10] = np.nan
HOLES[1, 5] = np.nan
HOLES[2, 4, 7] = np.nan


def opened(folder: Path, more: str = "", **arrays: np.ndarray) -> Store:
    folder.mkdir(exist_ok=True)
    fields = ", ".join(f"{name}: {name}" for name in arrays)
    (folder / "description.yaml").write_text(
        f"axes: [trajectory, time, x]\nfields: {{{fields}}}\ntime: {{step: {DT}}}\n"
        "boundary: periodic\ngrid: {x: [0, 2]}\nname: wave\n" + more
    )
    with h5py.File(folder / "a.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return open_store(folder)


@pytest.mark.parametrize("more", ["", "holes: skip\n"])
def test_scores_leave_holes_out(tmp_path: Path, shift: Any, more: str) -> None:
    store = opened(tmp_path, more, u=HOLES)
    operator = shift(speed=0.4)  # wrong on purpose
    result, data = evaluate(operator, store), predict(operator, store)
    truth, found = data["u_truth"].to_numpy(), data["u"].to_numpy()
    np.testing.assert_array_equal(truth, HOLES[:, 1:])
    assert np.isfinite(found).all()
    error = found.astype(float) - truth
    rmse = np.sqrt(np.nanmean(error[[0, 2]] ** 2, -1)), np.sqrt(np.mean(error[1] ** 2, -1))
    each = np.stack([rmse[0][0], rmse[1], rmse[0][1]])
    expected = np.nanmean(each, 0)
    assert np.isnan(each[1, 4])  # frame 5 of trajectory 1 holds nothing: only two count
    np.testing.assert_allclose(result["scores"]["rmse"]["u"]["mean"], expected, rtol=1e-6)
    deviation = np.stack([[np.nanstd(f.astype(float)) for f in run] for run in HOLES[[0, 2], 1:]])
    vrmse = np.sqrt(each[[0, 2]] ** 2 / (deviation**2 + 1e-7))
    assert result["scores"]["vrmse"]["u"]["mean"][4] == pytest.approx(vrmse[:, 4].mean(), rel=1e-3)
    assert result["nonfinite_trajectories"] == 0
    last = HOLES[:, :1].astype(float) - truth
    persisted = np.sqrt(np.nanmean(last[:, 2] ** 2, -1)).mean()
    assert result["persistence"]["rmse"]["u"]["mean"][2] == pytest.approx(persisted, rel=1e-6)
    assert np.isfinite(result["spectra"]["fields"]["u"]["truth"][-1]).all()


def test_a_history_with_holes_is_refused(tmp_path: Path, shift: Any) -> None:
    store = opened(tmp_path, "holes: skip\n", u=HOLES)
    for start in (3, 5):
        with pytest.raises(ValueError, match=rf"'u' at frame {start}.*holds NaN"):
            predict(shift(), store, start=start, steps=1)
    with pytest.raises(ValueError, match="'u' at frame 5"):
        evaluate(shift(frames=2), store, start=4, trajectories=[1])


def test_what_is_taken_from_data_has_no_holes(tmp_path: Path, shift: Any) -> None:
    store = opened(tmp_path, "holes: skip\n", u=HOLES)
    whole = opened(tmp_path / "whole", u=WAVE)
    assert structure_change([store], ["u"], [1]) == pytest.approx(
        structure_change([whole], ["u"], [1]), abs=0.05
    )
    operator = shift()
    seen = []
    operator.fit_to = lambda frames, name, fresh: seen.append(frames())
    fit_to_data(operator, [store], fresh=True)
    assert len(seen[0]) == N * T - 3
    assert torch.isfinite(seen[0]).all()


def test_fields_that_never_vary_are_found(tmp_path: Path) -> None:
    late = np.zeros_like(WAVE)
    late[1, 4, 3] = 1  # the first and the last frames do not tell
    gone = np.full_like(WAVE, 7.0)
    gone[:, 2, 5] = np.nan
    store = opened(tmp_path, "holes: skip\n", u=WAVE, zero=0 * WAVE, late=late, seven=gone)
    assert unvarying([store]) == {"wave": ("zero", "seven")}
    assert "constant" not in normalizer_to_dict(WindowScaling())


def test_the_window_normaliser_leaves_constant_fields_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = "splits: {train: 2, valid: 1}\n"
    opened(tmp_path / "data", splits, u=WAVE, w=0 * WAVE)
    recipe = {
        "data": [{"path": str(tmp_path / "data")}],
        "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 1, "modes": 4},
        "normalizer": {"name": "window"},
        "steps": 2,
        "batch": 4,
        "micro_batch": 4,
        "validation": {"every": 2, "horizon": 2},
        "save_every": 2,
        "log_every": 1,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    main(["pretrain", str(path), str(tmp_path / "run")])
    assert "w of wave never varies in training data" in capsys.readouterr().out
    operator = from_pretrained(tmp_path / "run" / "checkpoint")
    assert operator.description.normalizer.constants("wave") == {"w"}
    found = predict(operator, open_store(tmp_path / "data", "valid"), steps=2)
    assert (found["w"] == 0).all()
