"""The solver in the loop: targets follow from the operator's own states."""

from dataclasses import replace

import pytest
import torch
from linear_model import Linear

from pelagos.datasets import open_store
from pelagos.datasets.fields.normalization import Identity
from pelagos.datasets.fields.window import collate
from pelagos.datasets.simulation.simulate import simulate
from pelagos.operators import create
from pelagos.pretrain.objectives import objective_of
from pelagos.pretrain.objectives.diverted import DivertedConfig
from pelagos.pretrain.objectives.reference import reference_of
from pelagos.pretrain.recipe import DataConfig

OPERATOR = create("dymixop", fields=("u",), ndim=1, hidden=2)


def made(equation, folder, **settings):
    settings = {"resolution": 64, "frames": 4, "dt": 0.05, **settings}
    simulate(equation, folder, trajectories={"train": 3, "valid": 1}, **settings)
    return open_store(folder / equation, "train")


def objective_for(store, **config):
    objective = objective_of(DivertedConfig(**config))
    windows = objective.windows(store, DataConfig(path="x"), OPERATOR)
    return objective, windows


def test_targets_follow_the_operators_own_states(tmp_path):
    """The solution of u_t + c u_x = 0 is a shift, with the speed of each trajectory."""
    store = made("advection_1d", tmp_path, parameters={"speed": (0.5, 2.0)})
    objective, windows = objective_for(store, horizon=3)
    window = collate([windows[i] for i in (0, 3, 7)])
    window = replace(window, history=window.history.double(), target=window.target.double())
    assert window.target.shape[1] == 1  # no more data are needed
    objective.begin(0, 0)
    model = Linear(0.8)
    prediction, truth = objective.unroll(model, window)
    speeds = window.parameters[:, window.context.parameter_names.index("speed")].double()
    assert len(set(speeds.tolist())) > 1
    k = torch.fft.rfftfreq(64, store.grid.lengths[0] / 64, dtype=torch.float64) * 2 * torch.pi
    turn = torch.exp(-1j * k * speeds[:, None] * 0.05)[:, None]
    u = window.history[:, 0]
    for step in range(3):
        torch.testing.assert_close(prediction[:, step], 0.8 * u)
        expected = torch.fft.irfft(turn * torch.fft.rfft(u), n=64)
        torch.testing.assert_close(truth.target[:, step], expected, rtol=1e-4, atol=1e-5)
        u = 0.8 * u
    torch.testing.assert_close(
        truth.lead_times[0], torch.tensor([0.05, 0.1, 0.15]), rtol=1e-6, atol=0, check_dtype=False
    )
    assert not truth.target.requires_grad
    # Every step has a gradient of its own: through the state, the second would have more.
    (gradient,) = torch.autograd.grad(prediction[:, 1].sum(), model.factor)
    assert gradient.item() == pytest.approx((0.8 * window.history[:, 0]).sum().item(), rel=1e-6)


@pytest.mark.parametrize(
    ("equation", "settings"),
    [
        ("burgers_1d", {"parameters": {"viscosity": (0.01, 0.05)}}),
        ("kuramoto_sivashinsky_1d", {"dt": 0.5, "warm_up": 20.0}),
        ("burgers_3d", {"resolution": 12, "dt": 0.04}),
    ],
)
def test_the_solver_leads_from_frame_to_frame(equation, settings, tmp_path):
    store = made(equation, tmp_path, **settings)
    operator = create("dymixop", fields=store.fields, ndim=store.grid.ndim, hidden=2, modes=2)
    objective = objective_of(DivertedConfig())
    windows = objective.windows(store, DataConfig(path="x"), operator)
    for i in (0, 4, 8):
        objective.try_out(operator, collate([windows[i]]), Identity())
    batch = collate([windows[i] for i in (0, 4, 8)])
    dt = batch.lead_times[0, 0].item()
    found, good = reference_of(store).after(batch.history[:, -1], batch.context, dt)
    assert good.all()
    assert (found - batch.target[:, 0]).norm() < 1e-4 * batch.target.norm()


def test_states_that_cannot_go_on_are_held_against_the_last_target(tmp_path):
    store = made("burgers_1d", tmp_path)
    objective, windows = objective_for(store, horizon=3)
    window = collate([windows[0], windows[4]])
    history = window.history.clone()
    history[1] = float("inf")
    reference = reference_of(store)
    found, good = reference.after(history[:, -1], window.context, 0.05)
    assert good.tolist() == [True, False]
    assert (found[1] == 0).all()
    alone, _ = reference.after(history[:1, -1], collate([windows[0]]).context, 0.05)
    torch.testing.assert_close(found[:1], alone)
    objective.begin(0, 0)
    wild = Linear(1e30)  # its own states are beyond all measure after two steps
    prediction, truth = objective.unroll(wild, window)
    assert not reference.after(prediction[:, 0].detach(), window.context, 0.05)[1].any()
    for step in (1, 2):
        assert torch.equal(truth.target[:, step], window.target[:, 0])


def test_data_of_another_origin_are_refused(tmp_path):
    store = made("burgers_1d", tmp_path)
    store.provenance = {}
    with pytest.raises(ValueError, match="does not say which equation made it"):
        objective_for(store)


def test_other_fields_are_refused(tmp_path):
    store = made("burgers_1d", tmp_path)
    operator = create("dymixop", fields=("u", "v"), ndim=1, hidden=2)
    with pytest.raises(ValueError, match="goes on from u; the operator predicts u, v"):
        objective_of(DivertedConfig()).windows(store, DataConfig(path="x"), operator)


def test_data_that_the_solver_does_not_reproduce_are_refused(tmp_path):
    store = made("burgers_1d", tmp_path)
    objective, windows = objective_for(store)
    window = collate([windows[0]])
    other = replace(window, target=window.history + 2 * (window.target - window.history))
    with pytest.raises(ValueError, match="does not lead from the first frame of dataset"):
        objective.try_out(OPERATOR, other, Identity())


class Driven(Linear):
    """Goes on by what is prescribed at both ends of its step."""

    def forward(self, window):
        given = window.context.prescribed
        begin, end = given.ends(torch.zeros(len(window.history)), window.lead_times[:, 0])
        return super().forward(window) + (begin + end).unsqueeze(1)


def test_operator_and_solver_are_driven_alike(tmp_path):
    """u_t = q where nothing diffuses: the integral of a source that is linear between frames."""
    store = made("heat_driven_1d", tmp_path, parameters={"diffusivity": 0.0}, dt=0.01)
    objective, windows = objective_for(store, horizon=3)
    assert len(windows) == 3  # a history and three frames of four: they say what drives them
    objective.try_out(OPERATOR, collate([windows[0]]), Identity())
    window = collate([windows[i] for i in range(3)])
    q = torch.stack([store.prescribed.trajectory(i) for i in range(3)]).double()
    objective.begin(0, 0)
    prediction, truth = objective.unroll(Driven(0.8), window)
    assert truth.target.shape[1] == 3
    torch.testing.assert_close(truth.target[:, 0], window.target[:, 0])  # stored
    u = window.history[:, 0]
    for step in range(3):
        both = (q[:, step] + q[:, step + 1]).float()
        torch.testing.assert_close(prediction[:, step], 0.8 * u + both)
        if step:
            torch.testing.assert_close(truth.target[:, step], u + 0.005 * both)
        u = 0.8 * u + both


def test_what_the_solver_does_not_know_of_is_refused(tmp_path):
    store = made("burgers_1d", tmp_path)
    store.prescribed = store
    with pytest.raises(ValueError, match=r"driven by u, of which burgers_1d knows nothing.*push"):
        objective_for(store)
