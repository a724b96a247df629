"""Long rollouts: of the truth itself, of what fades, and what data cannot give."""

import json
import math

import pytest
import torch

from pelagos.datasets import open_store, simulate
from pelagos.finetune.forecast.baselines import baselines
from pelagos.finetune.forecast.evaluate import evaluate
from pelagos.operators import create
from pelagos.operators.core.description import Description


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    simulate(
        "advection_1d", folder, resolution=40, frames=25, dt=0.05, seed=1,
        parameters={"speed": 1.0}, trajectories={"train": 1, "valid": 1, "test": 6},
    )  # fmt: skip
    return open_store(folder / "advection_1d", "test")


class Shift(type(create("dymixop", fields=("u",), ndim=1, hidden=2))):
    """u(x, t + dt) = factor · u(x − speed dt, t), exactly."""

    factor, speed, length = 1.0, 1.0, 1.0

    def step(self, state, dt, observation=None):
        u = state.history[:, -1]
        n = u.shape[-1]
        k = 2 * math.pi * torch.fft.rfftfreq(n, self.length / n, device=u.device)
        turn = torch.exp(-1j * k * self.speed * dt[0])
        fields = self.factor * torch.fft.irfft(turn * torch.fft.rfft(u), n=n)
        return state.advance(fields, dt), fields


def shifting(store, **attributes):
    about = Description(fields=store.fields, grid=store.grid)
    made = create("dymixop", description=about, ndim=1, hidden=2)
    operator = Shift(made.config, about)
    operator.length = store.grid.lengths[0]
    for name, value in attributes.items():
        setattr(operator, name, value)
    return operator


def test_the_truth_is_on_its_own_attractor(store):
    found = evaluate(shifting(store), store, long=True)
    long = found["long"]
    json.dumps(found, allow_nan=False)
    assert max(long["smape"]["u"]) < 0.5
    assert max(long["spectral_error"]["low"]["u"]) < 1e-2
    assert max(long["drift"]["mean"]["prediction"]["u"]) < 1e-3
    assert long["attractor"]["prediction"]["occupation"] < 0.05
    assert long["attractor"]["prediction"]["spectrum"] < 1e-2
    # A shift lets no difference grow.
    assert long["lyapunov"]["operator"] == pytest.approx(0, abs=1e-3)
    assert long["lyapunov"]["solver"] == pytest.approx(0, abs=1e-2)
    assert not long["lyapunov"]["missing"]
    # A wave of k periods turns by 2π k · dt per step: frequency k, growth 0.
    true = long["eigenvalues"]["truth"]
    sure = [f for f, r in zip(true["frequency"], true["residuals"], strict=True) if r < 0.03]
    assert {1, 2} <= {round(abs(f)) for f in sure}
    assert all(abs(abs(f) - round(abs(f))) < 0.02 for f in sure)
    assert found["verdict"]["status"] != "outside"


def test_what_is_wrong_shows_where_it_should(store):
    fading = evaluate(shifting(store, factor=0.9), store, long=True)["long"]
    steps = len(fading["smape"]["u"])
    # Energy falls by 0.81 a step, in every band.
    expected = [-2 * (k + 1) * math.log10(0.9) for k in range(steps)]
    assert fading["spectral_error"]["low"]["u"] == pytest.approx(expected, rel=1e-2, abs=1e-3)
    assert fading["drift"]["size"]["prediction"]["u"] == pytest.approx(expected, rel=1e-2)
    assert fading["lyapunov"]["operator"] == pytest.approx(math.log(0.9) / 0.05, rel=1e-3)
    growth = fading["eigenvalues"]["prediction"]["growth"]
    waves = [abs(g - math.log(0.9) / 0.05) < 0.05 for g in growth]
    assert sum(waves) >= 2
    lost = evaluate(shifting(store, factor=1e30), store, long=True)["long"]
    assert lost["attractor"]["prediction"] is None
    assert lost["smape"]["u"][-1] is None
    assert lost["eigenvalues"]["prediction"] is None


def test_baselines_of_a_known_process():
    """u_k = m + a ρᵏ: damped persistence knows ρ from the others, and is exact."""
    generator = torch.Generator().manual_seed(0)
    anomaly = torch.randn(200, 1, 1, 16, dtype=torch.float64, generator=generator)
    steps = torch.arange(1, 6, dtype=torch.float64).reshape(1, -1, 1, 1)
    found = baselines(anomaly, anomaly * 0.8**steps)
    assert found["damped persistence"].max() < 0.15
    assert found["climatology"].min() > 0.9
    assert "dmd" not in found
    waves = torch.stack([torch.roll(anomaly[:3, 0], k, -1) for k in range(40)], 1)
    found = baselines(waves[:, :20], waves[:, 20:])
    assert found["dmd"].max() < 1e-3  # sixteen points turn in a circle
    assert "climatology" not in baselines(waves[:1, :20], waves[:1, 20:])


@pytest.mark.parametrize(
    ("wishes", "message"), [({"steps": 5}, "judged from 10 steps on; got 5. Take data with longer")]
)
def test_what_cannot_be_judged_is_named(store, wishes, message):
    with pytest.raises(ValueError, match=message):
        evaluate(shifting(store), store, long=True, **wishes)


def test_another_grid_is_outside_of_what_was_trained(store, tmp_path):
    simulate(
        "advection_1d", tmp_path, resolution=64, frames=3, dt=0.05,
        trajectories={"train": 1, "valid": 1, "test": 1},
    )  # fmt: skip
    fine = open_store(tmp_path / "advection_1d", "test")
    found = evaluate(shifting(store), fine)
    assert found["verdict"]["status"] == "outside"
    assert found["verdict"]["outside"]["grid"].startswith("64 points")
    assert "in training 40 points" in found["verdict"]["outside"]["grid"]
