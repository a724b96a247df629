"""`pelagos assimilate`, its files of observations, and the live estimate."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics
from pelagos.datasets.fields.window import Context
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.assimilate.assimilate import assimilate as run_assimilation
from pelagos.finetune.assimilate.assimilator import Assimilator
from pelagos.finetune.assimilate.observations import Dates, Domain, ObservationFile
from pelagos.finetune.assimilate.settings import Outputs, Settings
from pelagos.finetune.assimilate.start import start_from
from pelagos.finetune.cli.console import main
from pelagos.operators import Description, EnsembleGain, Observation, Sensors, assimilate, create
from pelagos.operators.assimilation.exponential import Derivative
from pelagos.operators.core.showing import verdict_of

SPEED, DT = 0.3, 0.02
HEADER = ["time", "x", "field", "value", "std"]


@pytest.fixture(scope="module")
def wave(tmp_path_factory):
    """Advection at a fixed speed: the observer with the known linear part predicts it exactly."""
    return simulate(
        "advection_1d",
        tmp_path_factory.mktemp("data"),
        trajectories={"train": 1, "test": 2},
        resolution=128,
        frames=31,
        dt=DT,
        parameters={"speed": SPEED},
    )


def exact_observer(**config):
    normalizer = Statistics({"*": {"u": 0.5}}, {"*": {"u": 0.7}})
    operator = create(
        "observer",
        description=Description(
            ("u",), normalizer=normalizer, time_steps=(DT,), time_scale=DT, units={"u": "K"}
        ),
        ndim=1,
        linear=(Derivative(-SPEED, (1,)),),
        hidden=2,
        layers=1,
        modes=2,
        correction={"modes": 14, "hidden": 2},
        **config,
    )
    with torch.no_grad():
        for parameter in operator.tendency.project.parameters():
            parameter.zero_()
    return operator


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return exact_observer().save_pretrained(tmp_path_factory.mktemp("run") / "checkpoint")


def rows_of(store, count=10, sensors=24, seed=0, std=0.02):
    """Sensors between the grid points, at irregular times: read off the exact solution."""
    rng = np.random.default_rng(seed)
    first = store.trajectory(0)[0, 0].double()
    spectrum = torch.fft.rfft(first)
    k = 2 * np.pi * torch.arange(65, dtype=torch.float64)
    rows, time = [], float(store.times[0])
    for _ in range(count):
        time += float(rng.uniform(0.3, 1.0)) * DT
        for x in rng.uniform(0, 1, sensors):
            phase = torch.exp(1j * k * (x - SPEED * (time - float(store.times[0]))))
            weight = torch.full((65,), 2.0).double()
            weight[[0, -1]] = 1
            value = (weight * spectrum * phase).real.sum().item() / 128
            value += float(rng.normal(0, std))
            rows.append([time, x, "u", value, std])
    return rows


def write(path, rows, header=HEADER):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("members", [1, 3])
def test_on_land_there_is_no_estimate(members: int, tmp_path) -> None:
    """Neither a value nor a spread; what is not land has both."""
    land = np.arange(128) < 40
    data = WellData(
        dataset="sea",
        grid=Grid.unit((128,)),
        times=DT * np.arange(3),
        fields={"u": np.where(land, 0.0, np.sin(2 * np.pi * np.arange(128) / 128))[None, None]
                .repeat(3, 1)},
        mask=~land[None, None],
    )  # fmt: skip
    write_file(tmp_path / "sea.hdf5", data)
    rows = [[DT, 0.5 + 0.1 * k, "u", 0.2, 0.1] for k in range(4)]
    sensors = write(tmp_path / "sensors.csv", rows)
    operator, out = exact_observer(), tmp_path / "analysis.nc"
    start = start_from(operator, open_store(tmp_path / "sea.hdf5"), 0, 0)
    settings = Settings(members=members, variance=1.0, forecast=2)
    run_assimilation(operator, start, sensors, Outputs(out), settings)
    with xarray.open_dataset(out) as found:
        assert found.sizes["time"] == 3
        for name in ("u", "u_spread"):
            assert (np.isnan(found[name].to_numpy()) == land).all()


def test_sparse_noisy_irregular_sensors_find_the_wave(wave, checkpoint, tmp_path, capsys):
    store = open_store(wave, "test")
    path = write(tmp_path / "sensors.csv", rows_of(store))
    out, figure = tmp_path / "analysis.nc", tmp_path / "analysis.svg"
    main(
        f"assimilate {checkpoint} {path} --history {wave} --cold --out {out} --figure {figure} "
        f"--forecast 5 --every {2 * DT}".split()
    )
    assert "10 analyses of 240 readings, 5 forecast frames" in capsys.readouterr().out
    data = xarray.open_dataset(out)
    assert dict(data.sizes) == {"time": 15, "x": 128}
    assert data["measured"].values.tolist() == [24] * 10 + [0] * 5
    assert data["u"].attrs["long_name"] == "estimate of u"
    exact = Assimilator(
        exact_observer(),
        store.window(0, 0, 1, 0).context,
        time=float(store.times[0]),
        history=store.window(0, 0, 1, 0).history[None],
    )
    truth = np.stack([exact.step(float(t)).mean[0].numpy() for t in data["time"].values])
    errors = np.sqrt(((data["u"].values - truth) ** 2).mean(1))
    assert errors[-1] < 0.06  # the forecast of what ten times 24 sensors of 0.02 have seen
    assert figure.read_text().startswith("<?xml")


def test_an_ensemble_scores_itself(wave, checkpoint, tmp_path, capsys):
    store = open_store(wave, "test")
    rows = [
        [t, x, "u", store.trajectory(0)[k, 0, int(128 * x)].item(), ""]
        for k, t in enumerate(store.times.tolist())
        if 0 < k < 12
        for x in (0.0, 0.125, 0.25, 0.5, 0.625, 0.75, 0.875)
    ]
    path = write(tmp_path / "sensors.csv", rows)
    arguments = f"assimilate {checkpoint} {path} --history {wave} --cold --truth --members 8"
    tuned = "--radius 0.3 --relaxation 0.1 --model-error 0.01"
    for name in ("a.nc", "b.nc"):
        main([*arguments.split(), "--out", str(tmp_path / name)])
    assert "; not known whether inside of what was trained" in capsys.readouterr().out
    arguments = [*arguments.split(), *tuned.split(), "--out", str(tmp_path / "c.nc")]
    with pytest.raises(SystemExit):  # so little error of the model, and the ensemble is too sure
        main([*arguments, "--strict"])
    refused = capsys.readouterr().err.strip().splitlines()[-1]
    assert "innovations of u: their mean square is" in refused
    assert "correct the readings" in refused
    assert not (tmp_path / "c.nc").exists()
    with pytest.warns(UserWarning, match="spread of analyses of u"):
        main(arguments)
    printed = capsys.readouterr().out
    with xarray.open_dataset(tmp_path / "c.nc") as data:
        assert verdict_of(data).status == "outside"
    assert "u: rmse " in printed
    assert "crps " in printed
    a, b, c = (xarray.open_dataset(tmp_path / name) for name in ("a.nc", "b.nc", "c.nc"))
    assert a.equals(b)  # the seed says it all
    assert not a.equals(c)
    assert (a["u_spread"][0] > a["u_spread"][10].mean()).any()


SEA = Domain(
    ("temperature",),
    Grid((4, 8), (4.0, 8.0), ("open", "periodic")),
    0.0,
    axes=("lat", "lon"),
    units={"temperature": "K"},
    dates=Dates("hours since 2000-01-01", "360_day", 24.0, 3600.0),
    mask=(torch.arange(32).reshape(1, 4, 8) % 8 < 6),
)


def readings(tmp_path, row):
    path = tmp_path / "sensors.csv"
    columns = ["time", "lat", "lon", "field", "value", "std", "unit"]
    path.write_text("\n".join([",".join(columns), row]) + "\n")
    return path


def test_sensors_as_people_have_them(tmp_path):
    """Coordinates by their names, dates of the dataset's calendar, units, at the start time too."""
    row = "2000-02-30 06:00,1.5,2.0,temperature,20.0,0.5,degC"
    ((time, sensors),) = ObservationFile(readings(tmp_path, row), SEA)
    assert time == (59 * 24 + 6 - 24) * 3600.0
    assert sensors.positions.tolist() == [[1.5, 2.0]]
    assert sensors.values.item() == pytest.approx(293.15)
    assert sensors.noise.item() == pytest.approx(0.5)
    row = "2000-01-02,1.5,2.0,temperature,280,,"
    ((time, sensors),) = ObservationFile(readings(tmp_path, row), SEA)
    assert (time, sensors.values.item()) == (0.0, 280.0)


def test_what_is_no_measurement_is_said_before_it_is_used():
    with pytest.raises(ValueError, match=r"mask must be bool; got torch\.float32"):
        Observation(torch.zeros(1, 1, 8), torch.ones(1, 1, 8), ("u",))
    predictor = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=1, modes=3)
    with pytest.raises(ValueError, match="this dymixop predicts but cannot assimilate; wrap it"):
        Assimilator(predictor, Context(("u",), Grid.unit((8,))))


def test_units_of_fields_that_have_none_are_not_compared(tmp_path):
    """ "1" is what simulated data say: it is no unit, and fits all."""
    row = "2000-01-02,1.5,2.0,temperature,280,,m/s"
    bare = replace(SEA, units={"temperature": "1"})
    ((_, sensors),) = ObservationFile(readings(tmp_path, row), bare)
    assert sensors.values.item() == 280.0
    shares = "2000-01-02,1.5,2.0,temperature,55,2,%"
    ((_, sensors),) = ObservationFile(readings(tmp_path, shares), bare)
    assert sensors.values.item() == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("2000-01-03,1.5,5.5,temperature,280,,", r"masked at \(1.5, 5.5\) or beside it"),
        ("2000-01-03,1.5,2.0,temperature,280,,m", "'m' cannot be converted into it"),
        ("2000-01-01,1.5,2.0,temperature,280,,", "is before that of the state"),
        ("2000-13-01,1.5,2.0,temperature,280,,", "a number or a date such as 2020-01-31T06:00"),
    ],
)
def test_what_such_sensors_cannot_be_is_said(row, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        ObservationFile(readings(tmp_path, row), SEA)


def test_a_netcdf_file_is_read_as_the_csv(wave, checkpoint, tmp_path):
    rows = rows_of(open_store(wave, "test"), count=3)
    path = write(tmp_path / "sensors.csv", rows)
    columns = dict(zip(HEADER, zip(*rows, strict=True), strict=True))
    dataset = xarray.Dataset({k: ("reading", np.array(v)) for k, v in columns.items()})
    dataset.to_netcdf(tmp_path / "sensors.nc", engine="h5netcdf")
    found = []
    for file in (path, tmp_path / "sensors.nc"):
        out = tmp_path / f"{file.suffix[1:]}.nc"
        main(f"assimilate {checkpoint} {file} --history {wave} --out {out}".split())
        found.append(xarray.open_dataset(out))
    xarray.testing.assert_allclose(*found)


BAD = [
    ([0.01, 1.5, "u", 1.0, 0.1], r"x = 1.5 lies outside the domain \[0, 1\]"),
    ([0.01, 0.5, "w", 1.0, 0.1], "unknown field 'w'"),
    ([0.01, 0.5, "u", "nan", 0.1], "value must be finite; got nan"),
    ([0.01, 0.5, "u", "", 0.1], "value must be a number; got ''"),
    ([0.01, 0.5, "u", 1.0, 0.0], "std must be positive .* got 0"),
    ([0.01, 0.5, "u", 1.0, -2.0], "std must be positive .* got -2"),
    ([-1.0, 0.5, "u", 1.0, 0.1], "time -1 is before that of the state, 0"),
    (["soon", 0.5, "u", 1.0, 0.1], "time must be a number; got 'soon'"),
]


@pytest.mark.parametrize(("row", "match"), BAD)
def test_a_wrong_row_is_named_and_the_rest_is_not_lost(row, match, wave, tmp_path):
    grid = open_store(wave, "test").grid
    good = [[0.02, 0.1, "u", 0.5, 0.1], [0.02, 0.2, "u", 0.5, ""], [0.04, 0.1, "u", 0.5, 0.1]]
    path = write(tmp_path / "sensors.csv", [row, *good])
    domain = Domain(("u",), grid, 0.0)
    with pytest.raises(ValueError, match=rf"line 2: {match}.*the other 3 are usable"):
        ObservationFile(path, domain)
    file = ObservationFile(path, domain, skip_invalid=True)
    assert (file.count, len(file.problems)) == (3, 1)
    measured = list(file)
    assert [time for time, _ in measured] == [0.02, 0.04]
    noise = measured[0][1].noise
    assert noise[0, 0] == 0.1
    assert noise[0, 1].isnan()  # one of the two is unknown


def test_rows_out_of_order_are_named(wave, tmp_path):
    rows = [[t, 0.5, "u", 1.0, 0.1] for t in (0.01, 0.03, 0.02, 0.05)]
    path = write(tmp_path / "sensors.csv", rows)
    domain = Domain(("u",), open_store(wave, "test").grid, 0.0)
    with pytest.raises(ValueError, match=r"time 0\.03 is out of order: sort the rows"):
        ObservationFile(path, domain)


@pytest.mark.parametrize("wrong", [99.0, 0.005])
def test_one_wrong_time_costs_its_own_row(wrong, wave, tmp_path):
    times = [0.01, 0.02, wrong, 0.02, 0.03, 0.04]
    path = write(tmp_path / "sensors.csv", [[t, 0.5, "u", 1.0, 0.1] for t in times])
    domain = Domain(("u",), open_store(wave, "test").grid, 0.0)
    with pytest.raises(ValueError, match=rf"line 4: time {wrong:g} is out of order"):
        ObservationFile(path, domain)
    file = ObservationFile(path, domain, skip_invalid=True)
    assert [time for time, _ in file] == [0.01, 0.02, 0.03, 0.04]
    assert (file.count, file.end, len(file.problems)) == (5, 0.04, 1)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (["time", "field", "value"], r"lacks the column\(s\) x; it has time, field, value"),
        (["time", "x", "field", "value"], "holds no usable observation"),
    ],
)
def test_a_file_without_observations(header, match, wave, tmp_path):
    path = write(tmp_path / "sensors.csv", [], header)
    with pytest.raises(ValueError, match=match):
        ObservationFile(path, Domain(("u",), open_store(wave, "test").grid, 0.0))


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ("--truth", "--truth and --cold need a dataset"),
        ("--parameter speed=1:2", "--parameter speed needs one value here"),
        ("", "trained on several grids; say which with --history"),
        ("--history {wave} --trajectory 9", "has 2 trajectories; got 9"),
        ("--history {wave} --frame 99", "does not fit trajectory 0"),
        ("--history {wave} --figure a.pdf", "a figure is an .svg or a .png file"),
        ("--radius 2", "--radius is a setting of an ensemble; ask for one: --members 20"),
        ("--members 4 --relaxation 2", r"relaxation must lie in \[0, 1\]; got 2"),
        ("--members 4 --model-error -1", "model_error must not be negative"),
        ("--membrs 3", "unknown option --membrs; did you mean '--members'"),
    ],
)
def test_wrong_arguments_write_nothing(more, match, wave, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "sensors.csv", rows_of(open_store(wave, "test"), count=1))
    monkeypatch.setenv("PELAGOS_TRACEBACK", "1")
    with pytest.raises(ValueError, match=match):
        main(f"assimilate {checkpoint} {path} {more.format(wave=wave)}".split())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sensors.csv"]


class TestAssimilator:
    def test_a_gain_of_one_member_is_refused(self, wave):
        with pytest.raises(ValueError, match="are those of an ensemble"):
            Assimilator(exact_observer(), self.context(wave), gain=EnsembleGain())

    def context(self, wave):
        return open_store(wave, "test").window(0, 0, 1, 0).context

    def test_a_live_feed_in_constant_memory(self, wave):
        store = open_store(wave, "test")
        live = Assimilator(exact_observer(), self.context(wave))
        size = live.state.history.numel()
        for k in range(1, 20):
            truth = store.trajectory(0)[k][None]
            mask = torch.zeros_like(truth, dtype=torch.bool)
            mask[..., ::4] = True
            noise = torch.full((1, 1, 1), 0.01)
            estimate = live.step(k * DT, Observation(truth, mask, ("u",), noise))
        assert live.state.history.numel() == size
        print((estimate.mean - truth[0]).square().mean().sqrt(), estimate.spread.mean())
        assert (estimate.mean - truth[0]).square().mean().sqrt() < 0.05
        assert 0 < estimate.spread.mean() < 0.1

    def test_any_gap_is_a_number_of_trained_steps(self, wave):
        one = Assimilator(exact_observer(), self.context(wave))
        many = Assimilator(exact_observer(), self.context(wave))
        one.step(7.3 * DT)
        for k in range(1, 74):
            last = many.step(0.1 * k * DT)
        torch.testing.assert_close(one.step(8 * DT).mean, many.step(8 * DT).mean)
        assert last.time == pytest.approx(7.3 * DT)

    def test_an_operator_with_one_time_step_wants_its_multiples(self, wave):
        description = Description(("u",), time_steps=(DT,))
        inner = create(
            "dymixop", description=description, ndim=1, hidden=4, layers=1, modes=3, history=2
        )
        live = Assimilator(
            assimilate(inner, None), self.context(wave), history=torch.randn(1, 2, 1, 128)
        )
        assert live.step(3 * DT).time == 3 * DT
        with pytest.raises(ValueError, match=r"no multiple of the time step\(s\) 0\.02"):
            live.step(3.5 * DT)

    @pytest.mark.parametrize(
        ("time", "value", "match"),
        [
            (-1.0, 0.0, "time -1 is not after that of the estimate, 0"),
            (DT, float("nan"), "measured values must be finite"),
        ],
    )
    def test_what_cannot_be_is_refused_and_the_estimate_stays(self, time, value, match, wave):
        live = Assimilator(exact_observer(), self.context(wave))
        before = live.state.history.clone()
        measured = Sensors(torch.tensor([[value]]), torch.tensor([[0.5]]), ("u",))
        with pytest.raises(ValueError, match=match):
            live.step(time, measured)
        assert torch.equal(live.state.history, before)

    def test_a_measurement_of_the_start_corrects_it(self, wave):
        live = Assimilator(exact_observer(), self.context(wave))
        measured = Sensors(torch.tensor([[3.0]]), torch.tensor([[0.5]]), ("u",),
                           torch.tensor([[0.01]]))  # fmt: skip
        found = live.step(0.0, measured)
        assert found.time == live.time == 0.0
        assert found.mean[0, 64].item() == pytest.approx(3.0, abs=0.05)
        assert found.innovations.gap.item() == pytest.approx(2.5)  # the mean of the data is 0.5
        with pytest.raises(ValueError, match="time 0 is not after"):
            live.step(0.0)

    def test_an_operator_without_a_mean_needs_a_history(self, wave):
        inner = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=1, modes=3, history=2)
        from dataclasses import replace

        from pelagos.datasets.fields.normalization import WindowScaling

        description = replace(inner.description, normalizer=WindowScaling())
        twin = create("dymixop", description=description, **vars(inner.config))
        with pytest.raises(ValueError, match="a cold start needs the mean"):
            Assimilator(assimilate(twin, None), self.context(wave))
        assert isinstance(self.context(wave), Context)


def write_rows(path, rows, header=HEADER):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_files_that_say_two_things_are_refused(tmp_path):
    domain = Domain(("u",), exact_grid(), 0.0, reach=10.0)
    row = [0.1, 0.5, "u", 1.0, 0.1]
    for rows, header, words in (
        ([[*row, 2.0]], [*HEADER, "value"], r"has the column\(s\) value twice"),
        ([[*row, 2.0]], HEADER, "line 2: it has more cells than the header has columns"),
        ([[0.1, 0.5, "u", "1_0", 0.1]], HEADER, "value must be a number; got '1_0'"),
        ([row, [1e9, *row[1:]]], HEADER, "line 3: time 1e[+]09 is more than 10 after the one be"),
    ):
        with pytest.raises(ValueError, match=words):
            ObservationFile(write_rows(tmp_path / "seen.csv", rows, header), domain)
    kept = ObservationFile(tmp_path / "seen.csv", domain, skip_invalid=True)
    assert kept.count == 1


def test_a_far_time_and_an_absurd_value_leave_the_estimate_as_it_was():
    assimilator = Assimilator(exact_observer(), Context(("u",), exact_grid()))
    with pytest.raises(ValueError, match=r"more than 10,000 steps of this observer \(of 0.02\)"):
        assimilator.step(1e9)
    value = torch.full((1, 1), 1e308, dtype=torch.float64)
    sensors = Sensors(value, torch.tensor([[0.5]], dtype=torch.float64), ("u",))
    with pytest.raises(ValueError, match=r"not finite; the largest measured value is 1e\+308"):
        assimilator.step(DT, sensors)
    assert assimilator.time == 0.0
    assert assimilator.step(DT).mean.isfinite().all()


def exact_grid():
    return Grid.unit((128,))
