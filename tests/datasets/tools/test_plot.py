"""`pelagos data plot`: pictures of every kind of dataset, and none over another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_files import FILES
from PIL import Image

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.tools import plot as module
from pelagos.datasets.tools import plot_series
from pelagos.datasets.tools.plot import plot
from pelagos.finetune.cli.console import main


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    def make(
        shape: tuple[int, ...], frames: int, constants: int = 0, components: int = 2, **changes: Any
    ) -> Path:
        rng = np.random.default_rng(0)
        n, names = 3, ("density", "velocity_x", "velocity_y")[: 1 + components]
        values = {name: rng.standard_normal((n, frames, *shape)).astype("f4") for name in names}
        data = WellData(
            dataset="made",
            grid=Grid(shape, (1.0,) * len(shape), ("periodic",) * len(shape)),
            times=0.5 * np.arange(frames),
            fields=values,
            constant_fields={
                f"k{j}": rng.random((n, *shape)).astype("f4") for j in range(constants)
            },
            units={"density": "kg/m^3", "time": "s"},
            **changes,
        )
        write_file(tmp_path / "made.hdf5", data)
        return tmp_path / "made.hdf5"

    return make


def colors(path: Path) -> int:
    """How many different colours a picture has."""
    with Image.open(path) as image:
        return len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0))


@pytest.mark.parametrize(
    ("shape", "frames", "constants", "components", "names"),
    [
        ((32,), 4, 1, 0, ["made_fields.png", "made_series.png", "made.gif"]),
        ((12, 9), 3, 0, 2, ["made_fields.png", "made_series.png", "made.gif"]),
        ((6, 5, 4), 2, 1, 0, ["made_fields.png", "made_series.png", "made.gif"]),
        ((12, 9), 1, 2, 0, ["made_fields.png"]),  # steady
        ((32,), 1, 1, 0, ["made_fields.png"]),
    ],
)
def test_every_kind_of_data_has_pictures(
    made: Callable[..., Path],
    tmp_path: Path,
    shape: tuple[int, ...],
    frames: int,
    constants: int,
    components: int,
    names: list[str],
) -> None:
    store = open_store(made(shape, frames, constants, components))
    paths = plot(store, tmp_path / "out", trajectory=1, animate=True)
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    for path in paths:
        assert colors(path) > (20 if len(shape) == 1 else 60)
    if frames > 1:
        with Image.open(paths[-1]) as animation:
            assert animation.n_frames == frames


def test_long_trajectories_are_sampled(
    made: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRAMES", 4)
    store = open_store(made((8, 8), 30, components=0))
    picture = module._picture(store, 0, ("density",), 4)
    np.testing.assert_allclose(picture.times, [0.0, 5.0, 9.5, 14.5])
    np.testing.assert_allclose(picture.values[1, 0], store.trajectory(0)[10, 0], rtol=1e-7)
    with Image.open(plot(store, tmp_path / "out", animate=True)[-1]) as animation:
        assert animation.n_frames == 4


def test_series_are_means_where_fields_are_predicted(made: Callable[..., Path]) -> None:
    mask = np.zeros((3, 3, 8, 8), bool)
    mask[..., :4] = True
    store = open_store(made((8, 8), 6, mask=mask))
    mean, square = plot_series._averages(store, 2, ("velocity_x",))
    inside = store.trajectory(2)[:, 1, :, :4].double().numpy()
    np.testing.assert_allclose(mean[:, 0], inside.mean((1, 2)), rtol=1e-10)
    np.testing.assert_allclose(square[:, 0], (inside**2).mean((1, 2)), rtol=1e-10)
    assert np.isnan(module._picture(store, 2, ("density",), 2).values[:, :, :, 4:]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 3.0], (1.0, 3.0)),
        ([-1.0, 3.0], (-3.0, 3.0)),
        ([np.nan, -2.0, np.inf], (-2.0, -2.0)),
        ([np.nan], (0.0, 1.0)),
    ],
)
def test_colours_span_the_finite_values(values: list[float], expected: tuple) -> None:
    scale = module._Scale.of(np.array(values))
    assert (scale.low, scale.high) == expected


def test_what_is_refused(made: Callable[..., Path], tmp_path: Path) -> None:
    store = open_store(made((8,), 2))
    with pytest.raises(ValueError, match="no field 'u'; it has density"):
        plot(store, tmp_path / "out", fields=("u",))
    with pytest.raises(ValueError, match="trajectories 0 to 2; got 3"):
        plot(store, tmp_path / "out", trajectory=3)
    assert not (tmp_path / "out").exists()
    plot(store, tmp_path / "out", fields=("density",))
    with pytest.raises(ValueError, match="exists already"):
        plot(store, tmp_path / "out")
    plot(store, tmp_path / "out", overwrite=True)


def test_the_command(
    made: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = str(made((16,), 4)), tmp_path / "out"
    main(["data", "plot", path, "--out", str(out), "--field", "density"])
    printed = capsys.readouterr().out.split()
    assert printed == [str(out / f"made_{kind}.png") for kind in ("fields", "series")]


def test_fields_that_are_nowhere_predicted_are_drawn(tmp_path: Path) -> None:
    store = open_store(FILES["poseidon-incompressible"](tmp_path).path)
    mask = store.mask(0)
    assert mask is not None
    assert not mask.flatten(1).any(1).all()
    assert len(plot(store, tmp_path / "out")) == 2


def test_uneven_times_stand_where_they_are() -> None:
    frames, even = module._even(np.array([0.0, 1.0, 10.0]))
    assert (even[0], even[-1]) == (0.0, 10.0)
    assert np.mean(frames == 0) == pytest.approx(0.05, abs=0.01)  # up to 0.5
    assert np.mean(frames == 2) == pytest.approx(0.45, abs=0.01)  # from 5.5 on
    assert module._even(np.array([0.0, 1.0, 2.0]))[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("axes", "across"),
    [(("lat", "lon"), 1), (("COADSY", "COADSX"), 1), (("y", "x"), 1), (("x", "y"), 0)],
)
def test_maps_have_north_upwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: tuple[str, str], across: int
) -> None:
    values = np.random.default_rng(0).normal(size=(1, 2, 4, 8)).astype("f4")
    grid = Grid((4, 8), (4.0, 8.0), ("open", "periodic"))
    write_file(tmp_path / "a.hdf5", WellData("map", grid, np.arange(2.0), {"u": values}))
    store = open_store(tmp_path / "a.hdf5")
    monkeypatch.setattr(store, "axes", axes)
    extent = module._extent(store)
    assert extent[1] - extent[0] == (8.0 if across else 4.0)
    image = module._image(store, values[0, 0])
    np.testing.assert_array_equal(image, values[0, 0] if across else values[0, 0].T)
    assert module._axes_label(store).startswith(axes[across])
