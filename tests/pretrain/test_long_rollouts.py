"""Objectives for long rollouts, in closed form on a model that multiplies by a factor."""

import pytest
import torch
from linear_model import Linear, window_of

from pelagos.datasets.fields.normalization import Identity, Statistics, WindowScaling
from pelagos.pretrain.objectives import objective_of
from pelagos.pretrain.objectives.curriculum import CurriculumConfig
from pelagos.pretrain.objectives.leads import LeadsConfig
from pelagos.pretrain.objectives.noise import noisy
from pelagos.pretrain.objectives.pushforward import PushforwardConfig
from pelagos.pretrain.objectives.rollout import RolloutConfig

LOSS = "relative_mse"


def powers(factor, frames, points=4):
    """Frames factor^0, factor^1, … of ones."""
    values = factor ** torch.arange(frames, dtype=torch.float64)
    return values[None, :, None, None].expand(2, frames, 1, points).clone()


def relative_mse(pairs):
    return sum((a - b) ** 2 for a, b in pairs) / sum(b**2 for _, b in pairs)


def test_the_gradient_is_cut_where_it_should_be():
    window, a = window_of(powers(2.0, 5)), 1.5
    model = Linear(a)
    whole = objective_of(RolloutConfig(horizon=4, loss=LOSS))
    cut = objective_of(RolloutConfig(horizon=4, loss=LOSS, truncate=2))
    losses, gradients = [], []
    for objective in (whole, cut):
        objective.begin(0, 0)
        loss = objective.loss(model, window, Identity(), 0)
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, model.factor)[0].item())
    total = sum(4.0**k for k in range(1, 5))
    expected = relative_mse([(a**k, 2.0**k) for k in range(1, 5)])
    assert losses == pytest.approx([expected, expected])
    slopes = {1: 1, 2: 2 * a, 3: 3 * a**2, 4: 4 * a**3}
    assert gradients[0] == pytest.approx(
        sum(2 * (a**k - 2.0**k) * slopes[k] for k in slopes) / total
    )
    slopes |= {3: a**2, 4: a**2 * 2 * a}  # frames 3 and 4 start from a constant a²
    assert gradients[1] == pytest.approx(
        sum(2 * (a**k - 2.0**k) * slopes[k] for k in slopes) / total
    )


def test_pushforward_learns_from_the_states_it_leads_to():
    config = PushforwardConfig(horizon=2, calls=3, loss=LOSS)
    assert config.reach == 5
    objective, window, a, seen = objective_of(config), window_of(powers(2.0, 6)), 1.5, []
    for step in range(40):
        model = Linear(a)
        objective.begin(step, seed=7)
        loss = objective.loss(model, window, Identity(), 0)
        *before, last = model.calls
        assert before == [(1, False)] * len(before)
        assert last == (2, True)
        r = len(before)
        seen.append(r)
        pairs = [(a ** (r + k), 2.0 ** (r + k)) for k in (1, 2)]
        assert loss.item() == pytest.approx(relative_mse(pairs))
        (gradient,) = torch.autograd.grad(loss, model.factor)
        slopes = (a**r, a**r * 2 * a)  # the state after r calls is given
        total = sum(2.0 ** (2 * (r + k)) for k in (1, 2))
        expected = sum(2 * (p - q) * s for (p, q), s in zip(pairs, slopes, strict=True)) / total
        assert gradient.item() == pytest.approx(expected)
    assert set(seen) == {0, 1, 2, 3}
    again = objective_of(config)
    for step in reversed(range(40)):  # a pure function of seed and step
        again.begin(step, seed=7)
        assert again.calls == seen[step]


def test_the_most_calls_rise_by_one():
    objective = objective_of(PushforwardConfig(calls=2, rise=10))
    drawn = []
    for step in range(300):
        objective.begin(step, seed=1)
        drawn.append(objective.calls)
    assert set(drawn[:10]) == {0}
    assert set(drawn[10:20]) == {0, 1}
    assert set(drawn[20:]) == {0, 1, 2}


def test_the_horizon_grows():
    config = CurriculumConfig(every=10, start=2, growth=3)
    assert [config.horizon(step, 7) for step in (0, 9, 10, 19, 20, 1000)] == [2, 2, 5, 5, 7, 7]
    objective = objective_of(RolloutConfig(horizon=7, curriculum=config, loss=LOSS))
    window, model = window_of(powers(2.0, 8)), Linear(1.5)
    for step, frames in ((0, 2), (10, 5), (20, 7)):
        objective.begin(step, 0)
        loss = objective.loss(model, window, Identity(), 0).item()
        pairs = [(1.5**k, 2.0**k) for k in range(1, frames + 1)]
        assert loss == pytest.approx(relative_mse(pairs))
    with pytest.raises(ValueError, match=r"curriculum.start \(3\) must not exceed .*horizon \(2\)"):
        RolloutConfig(horizon=2, curriculum=CurriculumConfig(every=1, start=3))


def test_noise_is_relative_and_depends_on_the_micro_batch_alone():
    frames = torch.randn(4, 3, 2, 4000, generator=torch.Generator().manual_seed(0)).double()
    frames[:, :, 1] *= 1000
    window = window_of(frames, history=2, fields=("u", "v"))
    statistics = Statistics({"*": {"u": 0.0, "v": 0.0}}, {"*": {"u": 1.0, "v": 1000.0}})
    for normalizer in (statistics, WindowScaling()):
        error = noisy(window, 0.1, normalizer, seed=3) - window.history
        level = error.std((0, 1, 3))
        torch.testing.assert_close(level, torch.tensor([0.1, 100.0]).double(), rtol=0.02, atol=0)
    assert torch.equal(noisy(window, 0.1, statistics, 3), noisy(window, 0.1, statistics, 3))
    assert not torch.equal(noisy(window, 0.1, statistics, 3), noisy(window, 0.1, statistics, 4))
    assert noisy(window, 0.0, statistics, 3) is window.history


def test_lead_times_weighted_geometrically():
    a, window = 1.5, window_of(powers(2.0, 4))
    config = RolloutConfig(horizon=3, leads=LeadsConfig(decay=0.5), loss="relative_l1")
    loss = objective_of(config).loss(Linear(a), window, Identity(), 0).item()
    errors = [1 - (a / 2) ** k for k in (1, 2, 3)]
    weights = (1, 0.5, 0.25)
    expected = sum(w * e for w, e in zip(weights, errors, strict=True)) / sum(weights)
    assert loss == pytest.approx(expected)
    same = RolloutConfig(horizon=3, leads=LeadsConfig(), loss="relative_l1")
    assert objective_of(same).loss(Linear(a), window, Identity(), 0).item() == pytest.approx(
        sum(errors) / 3
    )


def test_lead_times_weighted_by_their_own_error():
    """The scale of each lead time's error is where its likelihood has its optimum."""
    a, window = 1.5, window_of(powers(2.0, 4))
    leads = LeadsConfig(learned=True, memory=0.5)
    objective = objective_of(RolloutConfig(horizon=3, leads=leads, loss="relative_l1"))
    errors = torch.tensor([1 - (a / 2) ** k for k in (1, 2, 3)]).double()
    for _ in range(3):
        loss = objective.loss(Linear(a), window, Identity(), 0)
        objective.learn(objective.notes())
    scales = objective.learners["leads"].mean(1.0, errors)
    torch.testing.assert_close(scales, errors)
    weights = 1 / errors
    assert loss.item() == pytest.approx((weights * errors).sum().item() / weights.sum().item())
    free = errors.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((errors / free + free.log()).sum(), free)
    assert gradient.abs().max() < 1e-12
    objective.loss(Linear(float("nan")), window, Identity(), 0)
    objective.learn(objective.notes())  # what is not finite teaches nothing
    torch.testing.assert_close(objective.learners["leads"].mean(1.0, errors), errors)


def test_what_was_learned_is_put_back():
    config = RolloutConfig(horizon=3, leads=LeadsConfig(learned=True))
    one, two = objective_of(config), objective_of(config)
    one.loss(Linear(1.3), window_of(powers(2.0, 4)), Identity(), 0)
    one.learn(one.notes())
    two.recall(one.memory())
    assert one.memory() == two.memory()
    assert any(one.memory()["leads"])
    with pytest.raises(ValueError, match=r"keeps nothing for the objective, which learns"):
        two.recall({})
