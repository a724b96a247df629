"""After how many solves an operator was cheaper than our solver at equal error."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from pelagos.datasets import equations, open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune import Request
from pelagos.finetune.cli.console import main
from pelagos.finetune.forecast.break_even import BreakEven, Spent, break_even, cheapest
from pelagos.finetune.forecast.plan import make_plan
from pelagos.finetune.forecast.solving import (
    Solved,
    _along,
    _coarser,
    _finer,
    mean_vrmse,
    simulation_of,
    solver_table,
)
from pelagos.operators import create, from_pretrained

EARLIER = Path(__file__).parents[2] / "earlier"
CHECKPOINT, DATA = EARLIER / "checkpoints" / "dymixop", EARLIER / "datasets" / "burgers_1d"


def setting(seconds: float, vrmse: float | None) -> Solved:
    return Solved((32,), 0.01, seconds, vrmse)


def test_the_cheapest_setting_is_no_less_exact():
    table = [setting(3.0, 0.001), setting(2.0, 0.09), setting(1.0, 0.2), setting(0.5, None)]
    assert cheapest(table, 0.1) == table[1]
    assert cheapest(table, 0.2) == table[2]
    with pytest.raises(ValueError, match=r"the least is 0\.001"):
        cheapest(table, 1e-4)


@pytest.mark.parametrize(
    ("solves", "text"), [(math.inf, "the solver wins"), (1234.4, "after 1,234 solves")]
)
def test_it_is_said_plainly(solves, text):
    row = setting(2.0, 0.09)
    found = BreakEven(solves, 1.0, 2.0, 0.1, row, 10.0, 20.0, 64, (row,))
    told = found.to_json()
    assert text in told["text"]
    assert told["solves"] == (None if math.isinf(solves) else solves)
    json.dumps(told, allow_nan=False)


def test_the_vrmse_is_that_of_its_definition():
    truth = torch.tensor([[[[0.0, 2.0, 0.0, 2.0]]]], dtype=torch.float64)  # deviation 1
    assert mean_vrmse(truth + 0.25, truth) == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["burgers_1d", "euler_1d", "diffusion_sorption_1d"])
def test_what_a_coarser_grid_holds_comes_back(name):
    """Waves on periodic points, constants and lines on cells."""
    equation = equations.get(name)
    x = torch.arange(32, dtype=torch.float64) / 32
    values = {
        "burgers_1d": torch.sin(2 * math.pi * x) + torch.cos(6 * math.pi * x),
        "euler_1d": torch.full((32,), 1.5, dtype=torch.float64),
        "diffusion_sorption_1d": torch.where(x > 0.9, 0.9 * torch.ones(32).double(), x),
    }[name].reshape(1, 1, 32)
    back = _finer(equation, _coarser(equation, values, 2), (32,))
    inner = slice(1, 27) if name == "diffusion_sorption_1d" else slice(None)
    torch.testing.assert_close(back[..., inner], values[..., inner], atol=1e-6, rtol=0)


def test_between_open_points_it_is_linear():
    x = torch.arange(32, dtype=torch.float64).reshape(1, 1, 32)
    back = _along(x[..., ::2], 2, 32)
    assert torch.equal(back[..., :31], x[..., :31])
    assert back[..., 31] == 30  # the last point counts beyond it


def test_the_data_s_own_setting_reproduces_them_and_coarser_ones_do_not():
    store, operator = open_store(DATA, "test"), from_pretrained(CHECKPOINT)
    plan = make_plan(operator, store, Request(steps=4))
    table = solver_table(simulation_of(store), store, plan)
    errors = {(one.resolution[0], one.solver_step): one.vrmse for one in table}
    assert set(errors) == {(n, h) for n in (32, 16, 8) for h in (0.002, 0.004, 0.008, 0.016)}
    assert errors[32, 0.002] < 1e-5
    assert errors[32, 0.016] < 1e-3
    assert errors[8, 0.002] > errors[16, 0.002] > 1e-3


@pytest.mark.parametrize("name", ["wave_layers_2d", "rotating_shallow_water_2d"])
def test_the_solver_starts_where_the_whole_state_is_known(name, tmp_path):
    """A wave's frame lacks u_t, which is zero at first; vorticity follows from the velocity."""
    path = simulate(name, tmp_path, trajectories={"train": 1, "test": 1}, resolution=32, frames=5)
    store = open_store(path, "test")
    operator = create("dymixop", fields=store.fields, ndim=2, history=2, hidden=4, layers=1,
                      modes=2)  # fmt: skip
    operator.description = replace(operator.description, time_steps=(store.dt,))
    plan = make_plan(operator, store, Request(steps=2, start=1))  # given are frames 1 and 2
    table = solver_table(simulation_of(store), store, plan)
    errors = {one.resolution[0]: one.vrmse for one in table}
    limit = 1e-3 if name == "wave_layers_2d" else 0.2  # solved on a grid twice as fine
    assert errors[32] < limit
    assert errors[8] > 3 * errors[32]


@pytest.mark.parametrize(
    ("fields", "match"),
    [(("u",), "lacks v of .*do not tell the solver where"), (("u", "v", "w"), "holds w, which")],
)
def test_what_the_solver_cannot_be_compared_on_is_said(fields, match, tmp_path):
    values = {name: np.zeros((1, 2, 16, 16), np.float32) for name in fields}
    made = {"equation": "brusselator_2d", "solver_step": 0.1}
    grid = Grid.unit((16, 16))
    data = WellData("mine", grid, times=np.arange(2.0), fields=values, provenance=made)
    write_file(tmp_path / "mine.hdf5", data)
    with pytest.raises(ValueError, match=match):
        simulation_of(open_store(tmp_path / "mine.hdf5"))


@pytest.fixture
def heated(tmp_path):
    return simulate("heat_driven_1d", tmp_path, trajectories={"train": 2, "test": 3},
                    resolution=32, frames=9, dt=0.02)  # fmt: skip


def driven_operator(store):
    about = {"prescribed": ("forcing",), "time_steps": (store.dt,)}
    operator = create("dymixop", fields=("u",), ndim=1, history=2, hidden=4, layers=1, modes=2)
    operator.description = replace(operator.description, **about)
    return create("dymixop", description=operator.description, ndim=1, history=2, hidden=4,
                  layers=1, modes=2)  # fmt: skip


def test_the_solver_is_driven_by_what_is_prescribed(heated, tmp_path):
    store = open_store(heated, "test")
    operator = driven_operator(store)
    plan = make_plan(operator, store, Request(start=2))
    table = solver_table(simulation_of(store), store, plan)
    errors = {one.resolution[0]: one.vrmse for one in table}
    assert errors[32] < 2e-3  # what is linear between its times is not quite the source
    found = break_even(operator, store, Request(start=2), Spent(30.0))
    assert found.setting.vrmse <= found.vrmse
    still = xarray.Dataset({"forcing": (("time",), np.zeros(9))}, {"time": store.times})
    still.to_netcdf(tmp_path / "still.nc", engine="h5netcdf")
    source = str(tmp_path / "still.nc")
    other = solver_table(simulation_of(store), store, plan, prescribed=source)
    assert {one.resolution[0]: one.vrmse for one in other}[32] > 10 * errors[32]


def test_what_the_solver_cannot_be_driven_by_is_said(heated, tmp_path):
    store = open_store(heated, "test")
    u, q = (np.stack([s.trajectory(i)[:, 0] for i in range(3)]) for s in (store, store.prescribed))
    made = {"provenance": dict(store.provenance), "times": store.times, "grid": store.grid}
    cases = {
        "wind": ({"u": u, "wind": q}, ("wind",), "driven by wind, of which heat_driven_1d knows"),
        "bare": ({"u": u}, (), "heat_driven_1d is driven by forcing, which 'bare' does not have"),
    }
    for name, (fields, prescribed, text) in cases.items():
        data = WellData(name, fields=fields, prescribed=prescribed, **made)
        write_file(tmp_path / f"{name}.hdf5", data)
        with pytest.raises(ValueError, match=f"{text}.*; leave --break-even out") as error:
            simulation_of(open_store(tmp_path / f"{name}.hdf5"))
        assert "\n" not in str(error.value)


def test_costs_add_up():
    store, operator = open_store(DATA, "test"), from_pretrained(CHECKPOINT)
    found = break_even(operator, store, Request(steps=3), Spent(30.0))
    assert found.trajectories == 4  # of its training data
    assert found.training == 30.0
    assert found.setting in found.table
    assert found.setting.vrmse <= found.vrmse
    gain = found.solver - found.operator
    expected = (found.data + 30.0) / gain if gain > 0 else math.inf
    assert found.solves == expected
    with pytest.raises(ValueError, match="--training-seconds"):
        break_even(operator, store, Request(steps=3), Spent())


def test_it_is_in_the_evaluation_and_what_it_says(tmp_path, capsys):
    out = tmp_path / "e.json"
    words = [str(CHECKPOINT), str(DATA), "--steps", "2", "--break-even", "--out", str(out)]
    main(["evaluate", *words, "--training-seconds", "12", "--training-trajectories", "8"])
    found = json.loads(out.read_text())["break_even"]
    assert (found["training"], found["trajectories"]) == (12.0, 8)
    assert f"break-even: {found['text']}"[:40] in capsys.readouterr().out


def test_data_of_no_equation_of_ours_are_refused(wave, tmp_path, capsys):
    words = [str(CHECKPOINT), str(wave), "--break-even", "--training-seconds", "1"]
    with pytest.raises(SystemExit):
        main(["evaluate", *words, "--out", str(tmp_path / "e.json")])
    assert "leave --break-even out" in capsys.readouterr().err
