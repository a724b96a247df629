"""`pelagos data check`: every defect is found, named and ranked; sound data pass."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from layout_files import poseidon_incompressible

from pelagos.datasets import open_store, simulate
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.stores.survey import survey
from pelagos.datasets.tools.check import Report, check, describe
from pelagos.finetune.cli.console import main

SHAPE, FRAMES = (12, 8), 9


def trajectories(n: int, seed: int) -> WellData:
    """Smooth random fields that decay, with a constant field and a parameter."""
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * rng.random((n, 2, 1, 1, 1))
    x, y = np.meshgrid(*(np.arange(s) / s for s in SHAPE), indexing="ij")
    t = 0.5 * np.arange(FRAMES)
    decay = np.exp(-0.1 * t)[:, None, None]
    u = decay * np.sin(2 * np.pi * x + phase[:, 0]) * np.cos(2 * np.pi * y + phase[:, 1])
    noise = rng.normal(size=(n, FRAMES, *SHAPE))
    return WellData(
        dataset="made",
        grid=Grid(SHAPE, (1.0, 1.0), ("periodic", "periodic")),
        times=t,
        fields={"u": (u + 0.1 * noise).astype("f4"), "p": noise.astype("f4")},
        constant_fields={"depth": (1 + rng.random((n, *SHAPE))).astype("f4")},
        parameters={"nu": np.linspace(0.1, 0.2, n)},
    )


Change = Callable[[str, WellData], WellData]


@pytest.fixture
def checked(tmp_path: Path) -> Callable[..., Report]:
    """Write three splits, each changed by a function, and check them."""

    def make(change: Change = lambda split, data: data, count: int = 8) -> Report:
        for seed, split in enumerate(("train", "valid", "test")):
            data = change(split, trajectories(count, seed))
            write_file(tmp_path / "data" / split / "made.hdf5", data)
        return check(open_store(tmp_path))

    return make


def kinds(report: Report) -> list[tuple[str, str]]:
    return [(finding.rank, finding.kind) for finding in report.findings]


def poke(path: Path, name: str, index: Any, value: float) -> None:
    with h5py.File(path, "r+") as file:
        file[name][index] = value


def test_sound_data_pass(checked: Callable[..., Report]) -> None:
    report = checked()
    assert report.findings == []
    assert report.fine
    assert describe(report).endswith("nothing to complain about")


def test_values_that_are_not_finite_are_counted_and_located(
    tmp_path: Path, checked: Callable[..., Report]
) -> None:
    checked()
    path = tmp_path / "data/valid/made.hdf5"
    poke(path, "t0_fields/u", (3, 4, 2, 2), np.nan)
    poke(path, "t0_fields/u", (3, 6, 0, 0), np.inf)
    poke(path, "t0_fields/u", (5, 1, 0, 0), -np.inf)
    poke(path, "t0_fields/depth", (7, 0, 0), np.nan)
    report = check(open_store(tmp_path))
    assert kinds(report)[:2] == [("error", "not_finite")] * 2
    field, constant = (finding.text for finding in report.findings[:2])
    assert "'u'" in field
    assert "3 frames of 2 trajectories" in field
    assert f"frame 4 (time 2) of trajectory 3 of {path}" in field
    assert "'depth'" in constant
    assert f"trajectory 7 of {path}" in constant
    assert not report.fine
    # The frames that hold them count in nothing else.
    assert np.isfinite(report.survey.fields.high).all()
    assert len(report.findings) == 2


def test_fields_that_never_vary(checked: Callable[..., Report]) -> None:
    def change(split: str, data: WellData) -> WellData:
        still = np.repeat(data.fields["p"][:, :1], FRAMES, axis=1)
        same = np.full_like(still, 2.5)
        return replace(data, fields={**data.fields, "p": still, "flag": same})

    report = checked(change)
    assert kinds(report) == [("warning", "constant"), ("warning", "frozen")]
    assert "'flag' is 2.5 everywhere" in report.findings[0].text
    assert "'p' does not change in time" in report.findings[1].text


def test_fields_that_the_layout_fills_are_notes(tmp_path: Path) -> None:
    found = check(open_store(poseidon_incompressible(tmp_path).path)).findings
    constant = [(f.rank, f.text) for f in found if f.kind == "constant"]
    assert constant == [
        ("note", "'density' is 1 everywhere, as its layout fills it"),
        ("note", "'pressure' is 0 everywhere, as its layout fills it"),
    ]


@pytest.mark.parametrize(("points", "rank"), [(0, "note"), (1, "warning")])
def test_fields_that_are_not_predicted_may_stand_still(
    checked: Callable[..., Report], points: int, rank: str
) -> None:
    """`points` of one trajectory of the test split are predicted after all."""

    def change(split: str, data: WellData) -> WellData:
        still = np.repeat(data.fields["p"][:, :1], FRAMES, axis=1)
        mask = np.ones((8, 3, *SHAPE), dtype=bool)
        mask[:, 1:] = False
        mask[5, 1:, 0, :points] = split == "test"
        flag = np.full_like(still, 2.5)
        return replace(data, fields={**data.fields, "p": still, "flag": flag}, mask=mask)

    report = checked(change)
    assert kinds(report) == [(rank, "constant"), (rank, "frozen")]
    assert report.fine == (rank == "note")
    assert all(f.text.endswith(", and is not predicted") == report.fine for f in report.findings)


def test_repeated_frames(checked: Callable[..., Report]) -> None:
    def change(split: str, data: WellData) -> WellData:
        if split == "test":
            for values in data.fields.values():
                values[2, 5:7] = values[2, 4]
        return data

    report = checked(change)
    assert kinds(report) == [("warning", "repeated_frames")]
    assert "trajectory 2" in report.findings[0].text
    assert report.findings[0].text.endswith("frames 5, 6")


def test_trajectories_that_blew_up(checked: Callable[..., Report]) -> None:
    def change(split: str, data: WellData) -> WellData:
        if split == "train":
            data.fields["u"][6, 5:] *= 1e6
        return data

    report = checked(change)
    assert ("warning", "outlier") in kinds(report)
    text = next(finding.text for finding in report.findings if finding.kind == "outlier")
    assert "'u'" in text
    assert "trajectory 6" in text


def test_irregular_and_unequal_times(checked: Callable[..., Report]) -> None:
    irregular = checked(lambda split, data: replace(data, times=data.times**2))
    assert kinds(irregular) == [("warning", "irregular_times")]
    assert "from 0.25 to 3.75" in irregular.findings[0].text


def test_steps_that_differ_between_files(checked: Callable[..., Report]) -> None:
    report = checked(
        lambda split, data: replace(data, times=data.times * (2 if split == "test" else 1))
    )
    assert kinds(report) == [("warning", "unequal_steps")]


def test_times_that_do_not_increase(tmp_path: Path, checked: Callable[..., Report]) -> None:
    checked()
    poke(tmp_path / "data/train/made.hdf5", "dimensions/time", 4, 0.5)
    report = check(open_store(tmp_path))
    assert kinds(report) == [("error", "times_not_increasing")]


def test_leakage_and_duplicates(checked: Callable[..., Report]) -> None:
    known = trajectories(8, 0)

    def copy(source: WellData, i: int, data: WellData, j: int) -> None:
        for group in ("fields", "constant_fields"):
            for name, values in getattr(data, group).items():
                values[j] = getattr(source, group)[name][i]

    def change(split: str, data: WellData) -> WellData:
        if split == "test":
            copy(known, 3, data, 1)
        if split == "valid":
            copy(data, 0, data, 7)
        return data

    report = checked(change)
    assert kinds(report) == [("error", "leakage"), ("warning", "duplicate")]
    leak = report.findings[0].text
    assert leak.startswith("1 trajectories of test are in train too")
    assert "trajectory 1 of" in leak
    assert "is trajectory 3 of" in leak
    assert "trajectory 7 of" in report.findings[1].text


@pytest.mark.parametrize(
    ("same_parameter", "expected"),
    [(True, ("warning", "near_leakage")), (False, ("note", "shared_states"))],
)
def test_initial_states_that_are_nearly_the_same(
    checked: Callable[..., Report], same_parameter: bool, expected: tuple[str, str]
) -> None:
    known = trajectories(8, 0)

    def change(split: str, data: WellData) -> WellData:
        if split == "test":
            for name, values in data.fields.items():
                values[4, 0] = known.fields[name][2, 0] * (1 + 1e-5)
            if same_parameter:
                data.parameters["nu"][4] = data.parameters["nu"][2]
        return data

    report = checked(change)
    assert kinds(report) == [expected]
    assert report.fine == (expected[0] == "note")


def test_states_that_only_resemble_each_other_are_different(
    checked: Callable[..., Report],
) -> None:
    known = trajectories(8, 0)

    def change(split: str, data: WellData) -> WellData:
        if split == "test":
            for name, values in data.fields.items():
                values[4, 0] = known.fields[name][4, 0] + 0.01 * values[4, 1]
        return data

    assert checked(change).findings == []


def test_drift_between_splits(checked: Callable[..., Report]) -> None:
    def change(split: str, data: WellData) -> WellData:
        if split == "test":
            data.fields["p"][:] = 2 * data.fields["p"] + 1
            data.parameters["nu"][:3] = 0.5
        return data

    report = checked(change)
    assert kinds(report) == [("warning", "drift"), ("note", "parameter_range")]
    text = report.findings[0].text
    assert "mean is +1 standard deviations off" in text
    assert "spread within a trajectory is 2 times as large" in text
    assert "3 trajectories of test have nu beyond" in report.findings[1].text


def test_missing_splits_are_noted(tmp_path: Path) -> None:
    write_file(tmp_path / "data/train/made.hdf5", trajectories(3, 0))
    report = check(open_store(tmp_path))
    assert kinds(report) == [("note", "missing_split")]
    assert report.fine


def test_the_cost_of_chunks_is_measured(tmp_path: Path, checked: Callable[..., Report]) -> None:
    checked()
    for path in tmp_path.glob("data/*/*.hdf5"):
        with h5py.File(path, "r+") as file:
            for name in ("u", "p"):
                values, flags = file["t0_fields"][name][()], dict(file["t0_fields"][name].attrs)
                # Noise of a larger grid would do too: the chunk must outweigh the file's header.
                del file["t0_fields"][name]
                item = file["t0_fields"].create_dataset(
                    name, data=values, chunks=values.shape, compression="lzf"
                )
                item.attrs.update(flags)
    report = check(open_store(tmp_path))
    assert report.access.window_bytes == 2 * 2 * 4 * 96
    assert {item.chunks for item in report.arrays if item.filters == "lzf"} == {(8, 9, 12, 8)}
    assert "chunks 8×9×12×8 lzf" in describe(report)


def test_moments_of_the_survey(checked: Callable[..., Report]) -> None:
    report = checked()
    store = report.store
    for split, part in store.splits.items():
        values = np.stack([store.trajectory(i).numpy() for i in part]).astype(np.float64)
        for kind, expected in (("values", values), ("changes", np.diff(values, axis=1))):
            for c, moments in enumerate(report.survey.fields.moments(part, kind)):
                assert moments is not None
                np.testing.assert_allclose(moments.mean[0], expected[:, :, c].mean(), atol=1e-12)
                np.testing.assert_allclose(moments.std[0], expected[:, :, c].std(), rtol=1e-12)
        low = report.survey.fields.low[np.asarray(part)].min(0)
        np.testing.assert_array_equal(low, values.min((0, 1, 3, 4)), err_msg=split)


def test_blocks_give_the_same_as_one_read(
    tmp_path: Path, checked: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = checked().survey
    monkeypatch.setattr("pelagos.datasets.stores.survey.BLOCK", 1)  # frame by frame
    parts = survey(open_store(tmp_path))
    assert parts.digests == whole.digests
    for name in ("low", "high", "largest"):
        np.testing.assert_array_equal(getattr(parts.fields, name), getattr(whole.fields, name))
    np.testing.assert_allclose(parts.fields.values, whole.fields.values, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(parts.fields.changes, whole.fields.changes, rtol=1e-10, atol=1e-12)


def test_the_command_reports_as_json_and_by_its_exit_code(
    tmp_path: Path, checked: Callable[..., Report], capsys: pytest.CaptureFixture[str]
) -> None:
    checked()
    main(["data", "check", str(tmp_path), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["fine"]
    assert report["splits"] == {"train": 8, "valid": 8, "test": 8}
    poke(tmp_path / "data/train/made.hdf5", "t0_fields/u", (0, 0, 0, 0), np.nan)
    with pytest.raises(SystemExit) as stopped:
        main(["data", "check", str(tmp_path), "--json"])
    assert stopped.value.code == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["kind"] == "not_finite"
    with pytest.raises(SystemExit) as stopped:
        main(["data", "check", str(tmp_path / "nothing")])
    assert stopped.value.code == 2


def test_the_shortest_trajectory_bounds_the_windows_that_are_measured(tmp_path: Path) -> None:
    for name, frames in (("a", 5), ("b", 2), ("c", 5)):
        values = np.random.default_rng(frames).normal(size=(1, frames, 8))
        data = WellData("mine", Grid.unit((8,)), np.arange(1.0 * frames), {"u": values})
        write_file(tmp_path / "data" / "train" / f"{name}.hdf5", data)
    assert check(open_store(tmp_path), 2, 2).access.frames == 2


def _lost(data: WellData, trajectory: Any, frame: Any, value: float = 0.0) -> WellData:
    fields = {name: values.copy() for name, values in data.fields.items()}
    for values in fields.values():
        values[trajectory, frame] = value
    return replace(data, fields=fields)


@pytest.mark.parametrize(
    ("trajectory", "frame", "kind", "where"),
    [
        (3, slice(None), "lost_trajectories", "in 1 of 24 trajectories"),
        (4, 6, "lost_frames", "frame 6 (time 3) of trajectory 4"),
        (5, 0, "lost_frames", "frame 0 (time 0) of trajectory 5"),
        (slice(None, None, 2), -1, "lost_frames", "in 4 of 24 trajectories"),
    ],
)
def test_what_was_never_written_is_found(
    checked: Callable[..., Report], trajectory: Any, frame: Any, kind: str, where: str
) -> None:
    report = checked(lambda s, d: _lost(d, trajectory, frame) if s == "train" else d)
    found = [f for f in report.findings if f.kind == kind]
    assert [f.text.split()[0] for f in found] == ["'u'", "'p'"]
    assert all(where in f.text for f in found)


def test_a_trajectory_that_stands_still_among_moving_ones(checked: Callable[..., Report]) -> None:
    def stop(split: str, data: WellData) -> WellData:
        fields = {name: values.copy() for name, values in data.fields.items()}
        for values in fields.values():
            values[2, 1:] = values[2, :1]
        return replace(data, fields=fields) if split == "valid" else data

    assert ("warning", "frozen_trajectories") in kinds(checked(stop))


def test_problems_that_begin_at_rest_or_decay_are_whole(checked: Callable[..., Report]) -> None:
    def rest(split: str, data: WellData) -> WellData:
        decay = np.exp(-3.0 * np.arange(FRAMES) ** 2)[:, None, None]  # to 0 in single precision
        fields = {name: (values * decay).astype("f4") for name, values in data.fields.items()}
        fields["p"][:, 0] = 0
        return replace(data, fields=fields)

    assert not [kind for _, kind in kinds(checked(rest)) if "lost" in kind]


@pytest.mark.parametrize("mark", [-9999.0, 9.96921e36, 1e20, -1e34, -32768.0])
def test_marks_of_missing_values_are_found(checked: Callable[..., Report], mark: float) -> None:
    def fill(split: str, data: WellData) -> WellData:
        fields = {name: values.copy() for name, values in data.fields.items()}
        fields["u"][:, :, 3:5, 2] = mark
        return replace(data, fields=fields)

    (found,) = [f for f in checked(fill).findings if f.kind == "fill_value"]
    assert found.rank == "error"
    assert f"'u' is exactly {np.float32(mark):.8g} in {24 * FRAMES} frames (2 points" in found.text


def test_values_that_only_look_like_marks_are_values(checked: Callable[..., Report]) -> None:
    def scale(split: str, data: WellData) -> WellData:
        fields = {name: np.clip(5000 * v, -9999, 9999) for name, v in data.fields.items()}
        return replace(data, fields=fields)

    assert not [kind for _, kind in kinds(checked(scale)) if kind == "fill_value"]


def test_a_periodic_axis_that_holds_both_ends(tmp_path: Path) -> None:
    x = np.linspace(0, 2 * np.pi, 33)
    phase = np.random.default_rng(0).uniform(0, 6, (10, 1, 1))
    u = np.sin(x - 0.2 * np.arange(12)[:, None] + phase)
    text = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: {step: 1}\nboundary: periodic\n"
    (tmp_path / "description.yaml").write_text(text + "grid: {x: x}\n")
    for last, expected in ((None, True), (-1, False)):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["x"], file["u"] = x[:last], u[..., :last]
        found = [f for f in check(open_store(tmp_path)).findings if f.kind == "both_ends"]
        assert bool(found) is expected
        assert all("its length is 6.28318 and not 6.47953" in f.text for f in found)


def test_variation_that_single_precision_loses(tmp_path: Path) -> None:
    x = 2 * np.pi * np.arange(24) / 24
    phase = np.random.default_rng(0).uniform(0, 6, (10, 1, 1))
    p = 101325 + 1e-3 * np.sin(x - 0.2 * np.arange(12)[:, None] + phase)
    text = "axes: [trajectory, time, x]\nfields: {p: p}\ntime: {step: 1}\n"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p"] = p
    (tmp_path / "description.yaml").write_text(text)
    found = [f for f in check(open_store(tmp_path)).findings if f.rank != "note"]
    assert [f.kind for f in found] == ["precision"]
    assert "subtract: {p: mean}" in found[0].remedy
    (tmp_path / "description.yaml").write_text(text + "subtract: {p: mean}\n")
    store = open_store(tmp_path)
    offset = store.provenance["subtracted"]["p"]
    expected = (p - offset).astype("f4")
    assert all((store.trajectory(i)[:, 0].numpy() == expected[i]).all() for i in range(10))
    assert not [f for f in check(store).findings if f.rank != "note"]
    (tmp_path / "description.yaml").write_text(text + "subtract: {p: 101325}\n")
    assert open_store(tmp_path).trajectory(3)[:, 0].numpy() == pytest.approx(p[3] - 101325)


@pytest.mark.parametrize(
    "how", ["splits: {train: 6, valid: 4}", "join: time", "join: fields\nfields: {p: p, q: q}"]
)
def test_variation_is_lost_in_files_that_are_divided_or_joined(tmp_path: Path, how: str) -> None:
    """What is looked at are the files' own numbers, however they are put together."""
    x = 2 * np.pi * np.arange(24) / 24
    phase = np.random.default_rng(0).uniform(0, 6, (10, 1, 1))
    p = 101325 + 1e-3 * np.sin(x - 0.2 * np.arange(12)[:, None] + phase)
    parts: list[tuple[str, slice]] = [("p", slice(None))]
    if "time" in how:
        parts = [("p", slice(0, 6)), ("p", slice(6, 12))]
    if "fields" in how:
        parts = [("p", slice(None)), ("q", slice(None))]
    for k, (name, part) in enumerate(parts):
        with h5py.File(tmp_path / f"{k}.h5", "w") as file:
            file[name], file["t"] = p[:, part], 0.5 * np.arange(12)[part]
    text = f"axes: [trajectory, time, x]\ntime: t\n{how}\n"
    text += "" if "fields" in how else "fields: {p: p}\n"
    (tmp_path / "description.yaml").write_text(text)
    found = [f.kind for f in check(open_store(tmp_path)).findings if f.rank != "note"]
    assert "precision" in found


def test_every_byte_is_verified_when_asked(tmp_path: Path) -> None:
    root = simulate("advection_1d", tmp_path, trajectories={"train": 2}, frames=3)

    def found() -> list[tuple[str, str]]:
        report = check(open_store(root), verify=True)
        return [(f.rank, f.text) for f in report.findings if f.kind.startswith(("check", "no c"))]

    assert not found()
    data = next(root.rglob("*.hdf5"))
    whole = data.read_bytes()
    for place in (len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        data.write_bytes(changed)
        assert [rank for rank, text in found() if str(data) in text] == ["error"]
    data.write_bytes(whole)
    (root / "notes.txt").write_text("mine")
    assert [rank for rank, _ in found()] == ["note"]
    (root / "stats.yaml").write_text((root / "stats.yaml").read_text() + " ")
    assert [rank for rank, _ in found()] == ["error", "note"]
    (root / "SHA256SUMS").write_text("nothing\n")
    with pytest.raises(ValueError, match="is damaged"):
        found()
    (root / "SHA256SUMS").unlink()
    assert [text for _, text in found()] == [
        f"there is no SHA256SUMS to verify the files of {root.name!r} against"
    ]


def test_sha256sum_reads_the_checksums(tmp_path: Path) -> None:
    root = simulate("advection_1d", tmp_path, trajectories={"train": 1}, frames=2)
    told = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=root, capture_output=True)
    assert told.returncode == 0
    assert told.stdout.count(b": OK") == len([p for p in root.rglob("*") if p.is_file()]) - 1


def test_checksums_that_others_wrote_are_read(tmp_path: Path) -> None:
    root = simulate("advection_1d", tmp_path, trajectories={"train": 1}, frames=2)
    listed = root / "SHA256SUMS"
    listed.write_text("")
    script = "find . -type f -exec sha256sum --binary {} + > SHA256SUMS"  # it lists itself
    subprocess.run(["bash", "-c", script], cwd=root, check=True)
    assert " *./data/train/" in listed.read_text()
    kinds = {f.kind for f in check(open_store(root), verify=True).findings}
    assert not kinds & {"checksum", "no checksums"}
    (root / "more").mkdir()
    (root / "more" / "SHA256SUMS").write_text("0" * 64 + "  gone.txt\n")
    subprocess.run(["bash", "-c", script], cwd=root, check=True)
    told = [f.text for f in check(open_store(root), verify=True).findings if f.kind == "checksum"]
    assert told == [f"{root / 'more' / 'gone.txt'} is missing, says SHA256SUMS"]
