"""Prescribed fields, from their file to a window: known at all times, never predicted."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml

from pelagos.datasets import Store, WellData, collate, open_store, write_file
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.prescribed import Prescribed
from pelagos.datasets.layouts.memory import MemorySource
from pelagos.datasets.sampling.augmentation import Augmentation
from pelagos.datasets.sampling.pairs import Pairs
from pelagos.datasets.stores.cached import keep_in_memory
from pelagos.datasets.stores.fingerprint import fingerprint
from pelagos.datasets.stores.renaming import renamed
from pelagos.datasets.stores.statistics import split_statistics
from pelagos.datasets.stores.whole import whole
from pelagos.datasets.tools.check import check
from pelagos.datasets.tools.convert import convert
from pelagos.datasets.tools.plot import plot
from pelagos.datasets.tools.rechunk import rechunk
from pelagos.datasets.tools.summary import summary
from pelagos.finetune.cli.console import main

N, FRAMES, SHAPE, DT = 3, 6, (4, 6), 0.5


def values(seed: int = 0, **changes: Any) -> WellData:
    rng = np.random.default_rng(seed)

    def random(*lead: int) -> Any:
        return rng.standard_normal((N, FRAMES, *lead)).astype("f4")

    known: dict[str, Any] = {
        "dataset": "basin",
        "grid": Grid.unit(SHAPE),
        "times": DT * np.arange(FRAMES),
        "fields": {name: random(*SHAPE) for name in ("wind_x", "height", "wind_y")},
        "series": {"inflow": random(), "tide": random()},
        "prescribed": ("wind_x", "wind_y", "inflow"),
        "units": {"wind_x": "N/m2", "wind_y": "N/m2", "height": "m", "inflow": "m3/s"},
    }
    return WellData(**{**known, **changes})


@pytest.fixture
def basin(tmp_path: Path) -> tuple[Path, WellData]:
    data = values()
    write_file(tmp_path / "basin.hdf5", data)
    return tmp_path / "basin.hdf5", data


def test_prescribed_fields_are_not_among_the_fields(basin: tuple[Path, WellData]) -> None:
    path, data = basin
    store = open_store(path)
    assert store.fields == ("height",)
    assert store.prescribed is not None
    assert store.prescribed.fields == ("wind_x", "wind_y", "inflow")
    torch.testing.assert_close(store.trajectory(1)[:, 0], torch.tensor(data.fields["height"][1]))
    given = store.prescribed.trajectory(2)
    np.testing.assert_array_equal(given[:, 0], data.fields["wind_x"][2])
    np.testing.assert_array_equal(given[:, 1], data.fields["wind_y"][2])
    spread = np.broadcast_to(data.series["inflow"][2][:, None, None], (FRAMES, *SHAPE))
    np.testing.assert_array_equal(given[:, 2], spread)
    assert whole(store).fields == ("height", "wind_x", "wind_y")


def test_a_window_has_them_at_all_of_its_times(basin: tuple[Path, WellData]) -> None:
    path, data = basin
    window = open_store(path).window(1, start=1, history=2, horizon=2)
    given = window.context.prescribed
    assert given is not None
    assert window.history.shape == (2, 1, *SHAPE)
    assert given.times.tolist() == [-0.5, 0.0, 0.5, 1.0]
    np.testing.assert_array_equal(given.values[:, 0], data.fields["wind_x"][1, 1:5])
    strided = open_store(path).window(0, history=1, horizon=2, stride=2).context.prescribed
    assert strided is not None
    assert strided.times.tolist() == [0.0, 1.0, 2.0]
    np.testing.assert_array_equal(strided.values[:, 1], data.fields["wind_y"][0, 0:5:2])


def test_values_between_given_times_are_linear_and_none_are_beyond() -> None:
    times = torch.tensor([[0.0, 1.0, 3.0], [0.0, 1.0, 2.0]])
    numbers = torch.tensor([[0.0, 10.0, 20.0], [1.0, 2.0, 4.0]])[..., None, None]
    given = Prescribed(("q",), times, numbers)
    found = given.at(torch.tensor([2.0, 0.25]))
    assert found.flatten().tolist() == [15.0, 1.25]
    assert given.at(torch.tensor([1.00001, 1.0])).flatten().tolist() == [10.0, 2.0]
    later = given.later(torch.tensor([1.0, 1.0])).at(torch.tensor([0.0, 1.0]))
    assert later.flatten().tolist() == [10.0, 4.0]
    with pytest.raises(ValueError, match=r"prescribed q must be given .* time 2.5 .* 0 to 2"):
        given.at(torch.tensor([2.5, 2.5]))


def test_batches_and_pairs_keep_them_with_their_frames(basin: tuple[Path, WellData]) -> None:
    path, data = basin
    store = open_store(path)
    batch = collate([store.window(0, 0, 1, 2), store.window(2, 3, 1, 2)])
    assert batch.context.prescribed is not None
    found = batch.context.prescribed.at(batch.lead_times[:, 1])
    np.testing.assert_array_equal(found[1, 0], data.fields["wind_x"][2, 5])
    pairs = Pairs(store, 2)
    both = collate([pairs[i] for i in range(6)])
    assert both.context.prescribed is not None
    ends = both.context.prescribed.at(both.lead_times[:, 0])
    for row, (_, j) in enumerate(pairs.pairs):
        np.testing.assert_array_equal(ends[row, 0], data.fields["wind_x"][0, j])
    other = renamed(store, {"wind_x": "stress"})
    with pytest.raises(ValueError, match="share prescribed fields"):
        collate([store.window(0), other.window(0)])


def test_they_are_moved_by_symmetries_as_the_fields_are(basin: tuple[Path, WellData]) -> None:
    store = open_store(basin[0])
    moved = Augmentation(["flip", "roll"], store, store.fields, {"inflow": "even"})
    window = store.window(0, 0, 1, 1)
    before = window.context.prescribed
    assert before is not None
    signs = set()
    for seed in range(12):
        after = moved(window, np.random.default_rng(seed))
        given = after.context.prescribed
        assert given is not None
        assert torch.equal(given.times, before.times)
        assert torch.equal(given.values[:, 2], before.values[:, 2])  # the same at all points
        place = torch.argwhere(after.history[0, 0] == window.history[0, 0, 0, 0])[0].tolist()
        ratios = given.values[1, :2, *place] / before.values[1, :2, 0, 0]
        assert ratios.abs().tolist() == [1.0, 1.0]  # the forcing is where the state went
        signs.add(tuple(ratios.tolist()))
    assert signs == {(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)}
    with pytest.raises(ValueError, match="inflow change under a reflection"):
        Augmentation(["flip"], store, store.fields)


def test_names_are_told_by_a_file_a_call_or_a_description(tmp_path: Path) -> None:
    data = values(prescribed=())
    write_file(tmp_path / "plain.hdf5", data)
    store = open_store(tmp_path / "plain.hdf5", prescribed=["wind_x", "tide"])
    assert store.fields == ("height", "wind_y")
    assert store.prescribed is not None
    assert store.prescribed.fields == ("wind_x", "tide")
    with pytest.raises(ValueError, match=r"nothing named 'winds' .* did you mean 'wind_"):
        open_store(tmp_path / "plain.hdf5", prescribed=["winds"])
    with pytest.raises(ValueError, match="nothing would be predicted"):
        open_store(tmp_path / "plain.hdf5", prescribed=["wind_x", "wind_y", "height"])
    with pytest.raises(ValueError, match="'flux'"):
        write_file(tmp_path / "wrong.hdf5", values(prescribed=("flux",)))
    assert Store([("train", MemorySource(values()))]).fields == ("height",)


@pytest.mark.parametrize("flux_axes", ["n t x", "n t", "t"])
def test_a_description_names_them_with_or_without_space(tmp_path: Path, flux_axes: str) -> None:
    rng = np.random.default_rng(1)
    sizes = {"n": 3, "t": 5, "x": 7}
    u = rng.standard_normal((3, 5, 7))
    flux = rng.standard_normal([sizes[axis] for axis in flux_axes.split()])
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["state"], file["q"] = u, flux
    described = {
        "axes": ["trajectory", "time", "x"],
        "fields": {"temperature": "state"},
        "prescribed": {"flux": "q"},
        "time": {"step": 0.1},
        "units": {"flux": "W/m2"},
    }
    (tmp_path / "description.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    store = open_store(tmp_path / "run.h5")
    assert (store.fields, store.units["flux"]) == (("temperature",), "W/m2")
    assert store.prescribed is not None
    whole = flux.reshape(*flux.shape, *(1,) * ("x" not in flux_axes))
    expected = np.broadcast_to(whole, u.shape)[1].astype("f4")
    np.testing.assert_array_equal(store.prescribed.trajectory(1)[:, 0], expected)
    described["fields"] = {"temperature": "state", "flux": "q"}
    described["prescribed"] = ["flux"]
    (tmp_path / "description.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    assert open_store(tmp_path / "run.h5").fields == ("temperature",)
    described["prescribed"] = ["fluxx"]
    (tmp_path / "description.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    with pytest.raises(ValueError, match="did you mean 'flux'"):
        open_store(tmp_path / "run.h5")


def test_conversion_and_rechunking_keep_them(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_file(tmp_path / "in" / "a.hdf5", values())
    before = open_store(tmp_path / "in")
    convert(tmp_path / "in", tmp_path / "out", name="kept")
    rechunk(tmp_path / "in", tmp_path / "fast", compression="gzip")
    for after in (open_store(tmp_path / "out"), open_store(tmp_path / "fast")):
        assert after.prescribed is not None
        assert before.prescribed is not None
        assert after.prescribed.fields == before.prescribed.fields
        assert after.units["wind_x"] == "N/m2"
        for i in range(N):
            assert torch.equal(after.prescribed.trajectory(i), before.prescribed.trajectory(i))
            assert torch.equal(after.trajectory(i), before.trajectory(i))
    statistics = yaml.safe_load((tmp_path / "out" / "stats.yaml").read_text(encoding="utf-8"))
    expected = values().fields
    both = [expected[name].astype("f8").mean() for name in ("wind_x", "wind_y")]
    np.testing.assert_allclose(statistics["mean"]["wind"], both, rtol=1e-6)
    kept = keep_in_memory([before])[0]
    assert kept.prescribed is not None
    assert torch.equal(kept.prescribed.trajectory(1), before.prescribed.trajectory(1))


def test_tools_show_and_check_them(
    basin: tuple[Path, WellData], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = basin
    store = open_store(path)
    assert "prescribed      wind_x [N/m2], wind_y [N/m2], inflow [m3/s]" in summary(store)
    assert "in time         tide" in summary(store)
    assert {"wind_x", "height"} <= {*split_statistics(store)["all"]}
    assert check(store).as_dict()["prescribed"] == ["wind_x", "wind_y", "inflow"]
    assert [p.name for p in plot(store, tmp_path / "plots", fields=("wind_x",))]
    with h5py.File(path, "r+") as file:
        file["t1_fields/wind"][1, 2, 0, 0, 0] = np.nan
        file["scalars/inflow"][0, 0] = np.nan
    broken = open_store(path)
    found = [f.text for f in check(broken).findings if f.kind == "not_finite"]
    assert len(found) == 2
    assert any("'wind_x'" in text for text in found)
    assert any("'inflow'" in text for text in found)
    with pytest.raises(ValueError, match="'wind_x' at frame 2"):
        broken.window(1, 1, 1, 1)
    with pytest.raises(SystemExit):
        main(["data", "check", str(path), "--prescribed", "tide"])
    assert "tide" in capsys.readouterr().out


def test_a_fingerprint_sees_them(tmp_path: Path) -> None:
    data, found = values(), []
    for k, wind in enumerate((data.fields["wind_x"], 2 * data.fields["wind_x"])):
        folder = tmp_path / str(k)
        folder.mkdir()
        write_file(folder / "a.hdf5", values(fields={**data.fields, "wind_x": wind}))
        found.append(fingerprint(open_store(folder / "a.hdf5")))
    assert found[0]["values"] != found[1]["values"]
    assert "wind_x" in found[0]["fields"]


def test_labelled_data_say_which_are_prescribed(basin: tuple[Path, WellData]) -> None:
    path, data = basin
    found = open_store(path).to_xarray()
    assert list(found.attrs["prescribed"]) == ["wind_x", "wind_y", "inflow"]
    assert found["wind_y"].dims == ("trajectory", "time", "x", "y")
    assert found["inflow"].dims == ("trajectory", "time")
    np.testing.assert_array_equal(found["wind_y"].values, data.fields["wind_y"])


def test_a_single_name_is_one_and_a_strangers_attribute_is_none(tmp_path):
    path = tmp_path / "a" / "data" / "train" / "a.hdf5"
    fields, series = {"u": np.zeros((2, 5, 8))}, {"inflow": np.ones((2, 5))}
    times = 0.1 * np.arange(5)
    write_file(path, WellData("a", Grid.unit((8,)), times, fields, series=series))
    assert open_store(tmp_path / "a", "train", prescribed="inflow").prescribed.fields == ("inflow",)
    for words in (True, "by hand"):
        with h5py.File(path, "r+") as file:
            file.attrs["prescribed"] = words
        assert open_store(tmp_path / "a", "train").prescribed is None
    with h5py.File(path, "r+") as file:
        file.attrs["prescribed"] = ["inflow", "inflw"]
    with pytest.raises(ValueError, match="nothing named 'inflw'"):
        open_store(tmp_path / "a", "train")
    one = WellData("b", Grid.unit((8,)), times, fields, series=series, prescribed="inflow")
    assert one.prescribed == ("inflow",)
