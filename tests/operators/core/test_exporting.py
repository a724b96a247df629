"""A program that `torch.export` opens gives the operator's own forecast."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Standard, Statistics, WindowScaling
from pelagos.datasets.fields.prescribed import Prescribed
from pelagos.datasets.fields.window import Context
from pelagos.operators import Description, create
from pelagos.operators.core.exporting import export_step
from pelagos.operators.core.trained import Ranges

SMALL = {
    "dymixop": {"ndim": 1, "history": 2, "hidden": 8, "layers": 2, "modes": 6},
    "multiscale": {
        "ndim": 2, "width": 8, "depths": (1, 2), "heads": (2, 2), "skips": (1, 0), "patch": 2,
        "window": 4,
    },
    "observer": {"ndim": 1},
}  # fmt: skip


SMALLER = {"mean": (-1.0, 1.0), "deviation": (-2.0, -1.0)}


def described(name: str) -> Description:
    points = (32,) if SMALL[name]["ndim"] == 1 else (16, 16)
    statistics = Statistics({"d": {"u": 1.0}}, {"d": {"u": 2.0}})
    about = Description(
        ("u",),
        normalizer=WindowScaling(growth=1.5) if name == "dymixop" else statistics,
        time_steps=(0.25,),
        grid=Grid(points, (2.0,) * len(points), ("periodic",) * len(points)),
    )
    if name == "observer":  # and its predictions are held within a bound that is felt
        return replace(about, trained={"d": Ranges({"u": SMALLER})}, bounded=1.0)
    return replace(about, parameters=("nu",), condition_scales={"nu": Standard(1.0, 2.0)})


@pytest.mark.parametrize(
    "name",
    ["observer", *(pytest.param(n, marks=pytest.mark.slow) for n in ("dymixop", "multiscale"))],
)
def test_a_loop_over_the_program_is_the_rollout(name, tmp_path):
    operator = create(name, description=described(name), **SMALL[name]).eval()
    says = export_step(operator, tmp_path / "step.pt2", batch=3)
    about, grid = operator.description, operator.description.grid
    generator = torch.Generator().manual_seed(5)
    history = torch.randn(3, operator.history, 1, *grid.shape, generator=generator)
    parameters = torch.tensor([[0.5], [1.0], [1.5]])
    conditions = (parameters,) if about.parameters else ()
    context = Context(("u",), grid, dataset="d", parameters=parameters, parameter_names=("nu",))
    expected = [*operator.rollout(history, context, dt=0.25, steps=4)]

    # What a user without Pelagos writes.
    extra = {"pelagos.json": ""}
    step = torch.export.load(tmp_path / "step.pt2", extra_files=extra).module()
    first = history.clone()
    for frame in expected:
        with torch.no_grad():
            fields = step(history, first, torch.tensor(0.25), *conditions)
        history = torch.cat((history[:, 1:], fields[:, None]), 1)
        torch.testing.assert_close(fields, frame, rtol=1e-4, atol=1e-5)
    assert json.loads(extra["pelagos.json"])["fields"] == ["u"]
    assert says["shapes"][0] == (3, operator.history, 1, *grid.shape)


@pytest.mark.parametrize(
    "name",
    ["dymixop", *(pytest.param(n, marks=pytest.mark.slow) for n in ("multiscale", "observer"))],
)
def test_what_is_prescribed_is_given_at_both_ends_of_every_step(name, tmp_path):
    about = described(name)
    scales = {**about.condition_scales, "heat": Standard(300.0, 20.0)}
    about = replace(about, prescribed=("heat", "wind"), condition_scales=scales)
    operator = create(name, description=about, **SMALL[name]).eval()
    says = export_step(operator, tmp_path / "step.pt2", batch=2)
    grid, conditions = about.grid, (torch.ones(2, 1),) if about.parameters else ()
    generator = torch.Generator().manual_seed(7)
    history = torch.randn(2, operator.history, 1, *grid.shape, generator=generator)
    driving = torch.randn(2, 4, 2, *grid.shape, generator=generator)
    driving[:, :, 0] = 300.0 + 20.0 * driving[:, :, 0]
    given = Prescribed(("heat", "wind"), 0.25 * torch.arange(4.0).expand(2, -1), driving)
    ones = torch.ones(2, len(about.parameters))
    context = Context(("u",), grid, dataset="d", parameters=ones,
                      parameter_names=about.parameters, prescribed=given)  # fmt: skip
    expected = operator.rollout(history, context, dt=0.25, steps=3)

    extra = {"pelagos.json": ""}
    step = torch.export.load(tmp_path / "step.pt2", extra_files=extra).module()
    first = history.clone()
    for k, frame in enumerate(expected):
        with torch.no_grad():
            fields = step(history, first, torch.tensor(0.25), *conditions, driving[:, k : k + 2])
        history = torch.cat((history[:, 1:], fields[:, None]), 1)
        torch.testing.assert_close(fields, frame, rtol=1e-4, atol=1e-5)
    told = json.loads(extra["pelagos.json"])
    assert told["prescribed"] == ["heat", "wind"]
    assert told["names"][-1] == "prescribed"
    assert says["shapes"][-1] == (2, 2, 2, *grid.shape)
    with torch.no_grad():  # both ends count
        usual, dt = driving[:, 1:3], torch.tensor(0.25)
        for end in (0, 1):
            ends = usual.clone()
            ends[:, end, 1] += 1.0
            one, other = (step(history, first, dt, *conditions, each) for each in (usual, ends))
            assert not torch.equal(one, other)


def test_what_cannot_be_a_program(tmp_path):
    about = described("dymixop")
    several = replace(about, grid=None)
    with pytest.raises(ValueError, match="trained on several grids: a program has one"):
        export_step(create("dymixop", description=several, **SMALL["dymixop"]), tmp_path / "a.pt2")
    two = Statistics({"a": {"u": 0.0}, "b": {"u": 1.0}}, {"a": {"u": 1.0}, "b": {"u": 1.0}})
    operator = create("dymixop", description=replace(about, normalizer=two), **SMALL["dymixop"])
    with pytest.raises(ValueError, match="choose one of a, b, or '\\*' for all"):
        export_step(operator, tmp_path / "a.pt2")
    assert not [*tmp_path.iterdir()]
