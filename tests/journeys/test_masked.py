"""An island, and a field that is zero everywhere, from a file to scores beside persistence."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from pelagos.finetune import write_report
from pelagos.finetune.cli.console import main

STEPS = 3
X, Y = np.meshgrid(2.0 * np.arange(16), 2.0 * np.arange(12), indexing="ij")
LAND = (X - 14) ** 2 + (Y - 12) ** 2 < 30
RECIPE = """
data: [{{path: "{path}"}}]
operator: {{name: dymixop, history: 2, hidden: 8, layers: 1, modes: 4}}
normalizer: {{name: statistics}}
objective: {{horizon: 2}}
steps: 4
batch: 4
micro_batch: 4
validation: {{every: 2, horizon: {steps}}}
save_every: 4
log_every: 1
"""


@pytest.fixture
def sea(tmp_path: Path) -> Path:
    folder = tmp_path / "sea"
    folder.mkdir()
    phases = np.random.default_rng(0).uniform(0, 6, 10)
    u = [[20 + np.sin(X / 5 - 0.3 * t + p) * np.cos(Y / 4 + p) for t in range(8)] for p in phases]
    sst = np.array(u, "f4")
    sst[..., LAND] = np.nan
    with h5py.File(folder / "sea.h5", "w") as file:
        file["sst"], file["w"], file["lon"], file["lat"] = sst, 0 * sst, X[:, 0], Y[0]
        file["w"][()] = 0
    (folder / "description.yaml").write_text(
        "axes: [trajectory, time, x, y]\nfields: {temperature: sst, w: w}\ntime: {step: 0.5}\n"
        "grid: {x: lon, y: lat}\nunits: {temperature: degC, length: km, time: h}\nname: sea\n"
        "fill: {temperature: 20}\nsplits: {train: 0.6, valid: 0.2, test: 0.2}\n"
    )
    return folder


def test_an_island_is_neither_learned_nor_scored(
    sea: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):  # of the warning about w
        main(["data", "check", str(sea)])
    said = capsys.readouterr().out
    assert f"temperature at {LAND.mean():.1%} of the points" in said
    assert "'w' is 0 everywhere" in said
    assert "NaN" not in said
    main(["data", "plot", str(sea), "--out", str(tmp_path / "pictures")])

    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(RECIPE.format(path=sea, steps=STEPS))
    main(["pretrain", str(recipe), str(run)])
    assert "w of sea never varies in training data" in capsys.readouterr().out
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses
    assert np.isfinite(losses).all()

    main(["predict", str(run), str(sea), "--steps", str(STEPS)])
    assert "not finite" not in capsys.readouterr().err
    with xarray.open_dataset(run / "prediction.nc") as found:
        for name in ("temperature", "temperature_truth"):
            assert (np.isnan(found[name].to_numpy()) == LAND).all()
        assert (found["w"] == 0).all()
        predicted = found["temperature"].to_numpy()[..., ~LAND].astype(float)
        truth = found["temperature_truth"].to_numpy()[..., ~LAND].astype(float)

    main(["evaluate", str(run), str(sea), "--steps", str(STEPS)])
    result = json.loads((run / "evaluation.json").read_text())
    rmse = np.sqrt(np.square(predicted - truth).mean(-1))
    scores, summary = result["scores"], result["summary"]
    assert scores["rmse"]["temperature"]["mean"] == pytest.approx(rmse.mean(0).tolist(), rel=1e-5)
    assert scores["vrmse"]["temperature"]["mean"] == pytest.approx(
        (rmse / truth.std(-1)).mean(0).tolist(), rel=1e-3
    )
    # w carries nothing: it stays in its own scores, out of the summary and the valid time.
    assert result["store"]["constant_fields"] == ["w"]
    assert summary["vrmse"] == pytest.approx(np.mean(scores["vrmse"]["temperature"]["mean"]))
    assert result["valid_time"]["w"]["mean"] == pytest.approx(0.5 * STEPS)
    write_report([run], tmp_path / "report.html")
