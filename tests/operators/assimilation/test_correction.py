"""The correction: the gain of optimal interpolation, exact zeros, sensors between grid points."""

import math
from dataclasses import replace

import pytest
import torch

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics
from pelagos.datasets.fields.window import Context
from pelagos.operators import Description, Observation, Sensors, assimilate, create
from pelagos.operators.assimilation.correction import Correction, CorrectionConfig
from pelagos.operators.assimilation.measurement import interpolation, sample
from pelagos.operators.assimilation.operator import Feed

GRIDS = {1: (12,), 2: (6, 7), 3: (5, 5, 6)}


def correction(ndim, fields=2, modes=2, seed=0, fields_of="coupled", **config):
    settings = CorrectionConfig(modes=modes, hidden=4, fields=fields_of, **config)
    built = Correction(ndim, fields, settings).double()
    generator = torch.Generator().manual_seed(seed)
    built.reset(generator)
    with torch.no_grad():  # any amplitudes and modulations, not only those it starts with
        for parameter in built.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.2 * noise)
    return built


def case(ndim, fields=2, batch=2, share=0.4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, fields, *GRIDS[ndim])
    forecast, values = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    mask = torch.rand(shape, generator=generator) < share
    noise = 0.1 + torch.rand(shape, generator=generator, dtype=torch.float64)
    variance = 0.2 + torch.rand(shape, generator=generator, dtype=torch.float64)
    names = ("u", "v")[:fields]
    return forecast, Observation(values, mask, names, noise), variance


def context_of(ndim, fields=("u", "v")):
    shape = GRIDS[ndim]
    lengths = tuple(float(i + 1) for i in range(ndim))
    return Context(fields, Grid(shape, lengths, ("periodic",) * ndim))


def run(gain, forecast, observation, variance, scale=None):
    fields, ndim = forecast.shape[1], forecast.ndim - 2
    ones = torch.ones(1, fields, *(1,) * ndim, dtype=torch.float64)
    context = context_of(ndim, ("u", "v")[:fields])
    scale = ones if scale is None else scale
    return gain(forecast, observation, context, 0 * ones, scale, variance)


def basis(ndim, modes):
    """(n, Q) cosines, then sines, written out."""
    mesh = torch.meshgrid(*(torch.arange(n).double() / n for n in GRIDS[ndim]), indexing="ij")
    places = torch.stack([m.flatten() for m in mesh], 1)
    angle = 2 * math.pi * places @ modes.double().T
    return torch.cat((angle.cos(), angle.sin()[:, 1:]), 1)


@pytest.mark.parametrize("ndim", GRIDS)
def test_the_gain_is_that_of_optimal_interpolation(ndim):
    """K = P Cᵀ (C P Cᵀ + R)⁻¹ and diag of (I − K C) P, with dense matrices, fields mixed."""
    gain = correction(ndim)
    with torch.no_grad():
        gain.fraction.fill_(-80.0)  # no uncorrelated part
    forecast, observation, variance = case(ndim)
    analysis, after = run(gain, forecast, observation, variance)
    phi, mixing = basis(ndim, gain.modes), gain._mixing(torch.float64)
    extra = gain.extra.exp()
    for b in range(len(forecast)):
        precision = torch.where(
            observation.mask, 1 / (observation.noise**2 + extra.reshape(-1, *(1,) * ndim)), 0
        )
        signal = variance * precision
        seen = torch.cat((forecast, signal / (1 + signal), variance.sqrt()), 1)
        mu = 2 * torch.tanh(gain.modulation(seen)[:, :2] / 2)
        deviation = (variance.sqrt() * mu.exp())[b].flatten(1)
        rows = [torch.einsum("x,xq,qp->xqp", deviation[c], phi, mixing[:, c]) for c in range(2)]
        factor = torch.cat([row.flatten(1) for row in rows])
        covariance = factor @ factor.T
        chosen = observation.mask[b].flatten()
        noise = (1 / precision[b].flatten())[chosen]
        inverse = torch.linalg.inv(covariance[chosen][:, chosen] + noise.diag())
        weights = covariance[:, chosen] @ inverse
        innovation = (observation.values - forecast)[b].flatten()[chosen]
        expected = forecast[b].flatten() + weights @ innovation
        torch.testing.assert_close(analysis[b].flatten(), expected)
        left = (covariance - weights @ covariance[chosen]).diag() / covariance.diag()
        left = (variance[b].flatten() * left).reshape(2, -1)
        kept = torch.sigmoid(gain.pattern)[:, None]
        mixed = kept * left + (1 - kept) * left.mean(1, keepdim=True)
        torch.testing.assert_close(after[b].flatten(1), mixed)


@pytest.mark.parametrize("ndim", GRIDS)
def test_zero_where_the_innovation_is_zero_or_nothing_is_measured(ndim):
    """To the bit, with weights drawn at random: a perfect estimate stays perfect."""
    gain = correction(ndim)
    forecast, observation, variance = case(ndim)
    scale = torch.rand(1, 2, *(1,) * ndim, dtype=torch.float64)
    perfect = Observation(forecast.clone(), observation.mask, ("u", "v"), observation.noise)
    assert torch.equal(run(gain, forecast, perfect, variance, scale)[0], forecast)
    nothing = Observation(
        torch.full_like(forecast, torch.nan), torch.zeros_like(observation.mask), ("u", "v")
    )
    analysis, after = run(gain, forecast, nothing, variance, scale)
    assert torch.equal(analysis, forecast)
    torch.testing.assert_close(after, variance)
    half = observation.mask.clone()
    half[0] = False  # one sample of the batch sees nothing, the other something
    analysis, _ = run(gain, forecast, Observation(observation.values, half, ("u", "v")), variance)
    assert torch.equal(analysis[0], forecast[0])
    assert not torch.equal(analysis[1], forecast[1])


def test_linear_in_the_innovation():
    gain = correction(1)
    forecast, observation, variance = case(1)

    def change(innovation):
        moved = Observation(forecast + innovation, observation.mask, ("u", "v"), observation.noise)
        return run(gain, forecast, moved, variance)[0] - forecast

    a, b = torch.randn(2, *forecast.shape, dtype=torch.float64)
    torch.testing.assert_close(change(2 * a - 3 * b), 2 * change(a) - 3 * change(b))


def test_the_noise_level_is_used():
    gain = correction(1, fields=1)
    gain.reset(torch.Generator())
    forecast, observation, variance = case(1, fields=1, share=2.0)
    distances = []
    for noise in (0.01, 0.1, 1.0, 10.0):
        level = torch.full((1, 1, 1), noise, dtype=torch.float64)
        seen = Observation(observation.values, observation.mask, ("u",), level)
        analysis, after = run(gain, forecast, seen, variance)
        distances.append(((observation.values - analysis).norm().item(), after.mean().item()))
    assert distances == sorted(distances)
    assert distances[-1][0] > 1.5 * distances[0][0]


def test_the_noise_may_be_known_for_some_readings_only():
    gain = correction(1, fields=1)
    forecast, observation, variance = case(1, fields=1, share=2.0)
    known = torch.full_like(observation.values, 0.1)
    known[..., ::2] = torch.nan
    told = known.where(~known.isnan(), gain.unknown.exp().sqrt().item())
    found, expected = (
        run(
            gain,
            forecast,
            Observation(observation.values, observation.mask, ("u",), noise),
            variance,
        )
        for noise in (known, told)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_an_unobserved_field_is_corrected_through_its_covariance():
    gain = correction(1)
    forecast, observation, variance = case(1)
    only = Observation(observation.values[:, 1:], observation.mask[:, 1:], ("v",))
    analysis, _ = run(gain, forecast, only, variance)
    assert (analysis[:, 0] - forecast[:, 0]).abs().max() > 1e-3
    gain.reset(torch.Generator())  # fields start unrelated
    analysis, _ = run(gain, forecast, only, variance)
    assert torch.equal(analysis[:, 0], forecast[:, 0])


def test_sensors_on_grid_points_are_the_mask():
    gain = correction(2)
    forecast, observation, variance = case(2)
    context = context_of(2)
    fields, rows, values = [], [], []
    for c, name in enumerate(("u", "v")):
        for i, j in observation.mask[0, c].nonzero().tolist():
            fields.append(name)
            rows.append([context.grid.coordinates()[0][i], context.grid.coordinates()[1][j]])
            values.append(observation.values[:, c, i, j])
    level = torch.tensor(0.3)
    scattered = Sensors(torch.stack(values, 1), torch.tensor(rows), tuple(fields), level)
    mask = observation.mask[:1].expand_as(observation.mask)
    level = torch.full((1, 1, 1, 1), 0.3, dtype=torch.float64)
    on_grid = Observation(observation.values, mask, ("u", "v"), level)
    for a, b in zip(
        run(gain, forecast, scattered, variance),
        run(gain, forecast, on_grid, variance),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_interpolation_is_exact_for_linear_fields_and_wraps():
    grid = Grid((8, 6), (4.0, 3.0), ("periodic", "wall"), (1.0, -1.0))
    positions = torch.tensor([[1.3, -0.9], [4.9, 0.6], [1.0, -1.0], [4.75, 1.9]])
    index, weights = interpolation(grid, positions)
    torch.testing.assert_close(weights.sum(1), torch.ones(4, dtype=torch.float64))
    y = grid.coordinates()[1].expand(8, 6).reshape(1, 1, 8, 6)
    four = Sensors(torch.zeros(1, 4), positions, ("u",) * 4)
    read = sample(y, four, Context(("u",), grid))[0]
    # Beyond the last point of an axis with walls, the last point counts.
    expected = positions[:, 1].double().clamp(max=1.5)
    torch.testing.assert_close(read, expected)
    x = torch.arange(8.0, dtype=torch.float64)
    wave = torch.minimum(x, 8 - x)[:, None].expand(8, 6).reshape(1, 1, 8, 6)
    read = sample(wave, four, Context(("u",), grid))[0]
    torch.testing.assert_close(read[3], torch.tensor(0.5, dtype=torch.float64))  # between 7 and 0
    assert index.max() < 48


def test_spreading_is_the_adjoint_of_sampling():
    """⟨C u, y⟩ = ⟨u, Cᵀ y⟩, read off the information of sensors of unit variance."""
    from pelagos.operators.assimilation.measurement import NoiseModel, information

    context = context_of(2)
    u = torch.randn(1, 2, *GRIDS[2], dtype=torch.float64)
    positions = torch.rand(9, 2, dtype=torch.float64)
    names = ("u", "v", "v") * 3
    y = torch.randn(1, 9, dtype=torch.float64)
    zero, one = torch.zeros(2).double(), torch.ones(1, 2, 1, 1).double()
    scattered = Sensors(y, positions, names, torch.ones(1))
    found = information(scattered, 0 * u, context, one, NoiseModel(zero, zero))
    left = (sample(u, scattered, context) * y).sum()
    torch.testing.assert_close((u * found.weighted).sum(), left)
    assert found.precision.sum().item() == pytest.approx(9)


def measured(fields, points=12, noise=None):
    values = torch.zeros(1, len(fields), points)
    return Observation(values, torch.ones_like(values, dtype=torch.bool), fields, noise)


def sensors(position, field="u", noise=None):
    return Sensors(torch.zeros(1, 1), torch.tensor([[position]]), (field,), noise)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: sensors(3.2), r"sensor 0 at \(3.2\) lies outside the domain \[0, 1\]"),
        (lambda: sensors(0.2, "w"), "unknown observed field 'w'"),
        (lambda: sensors(0.2, noise=torch.tensor(-1.0)), "must be positive"),
        (lambda: Sensors(torch.zeros(1, 2), torch.ones(1, 1), ("u",)), "sensors need values"),
        (lambda: measured(("w",)), "unknown observed field 'w'"),
        (lambda: measured(("u", "v"), 9), "needs the shape"),
        (lambda: measured(("u",), noise=torch.zeros(1)), "must be positive"),
    ],
)
def test_what_cannot_be_a_measurement_is_named(make, match):
    forecast = torch.zeros(1, 2, 12, dtype=torch.float64)
    with pytest.raises(ValueError, match=match):
        run(correction(1), forecast, make(), forecast + 1)


def test_fitted_errors_have_the_spectrum_of_the_fields():
    gain = correction(1, modes=4)
    x = torch.arange(12, dtype=torch.float64) / 12
    phase = 2 * math.pi * torch.rand(500, 2, 1, dtype=torch.float64)
    size = torch.tensor([1.0, 3.0], dtype=torch.float64)[:, None]
    gain.fit(size * torch.cos(2 * math.pi * 2 * x + phase))
    drawn = gain.draw((2000, 2, 12), torch.Generator().manual_seed(0))
    power = torch.fft.rfft(drawn).abs().square().mean(0) / 144
    torch.testing.assert_close(drawn.var((0, 2)), size[:, 0] ** 2 / 2, rtol=0.1, atol=0)
    assert (power[:, 2] / power.sum(1)).min() > 0.99


def test_a_grid_too_coarse_for_the_modes_is_refused():
    gain = correction(1, modes=7)
    forecast, observation, variance = case(1)
    with pytest.raises(ValueError, match=r"modes = 7 needs a grid of at least 13 points"):
        run(gain, forecast, observation, variance)


def small(**config):
    normalizer = Statistics({"*": {"u": 1.0}}, {"*": {"u": 2.0}})
    description = Description(("u",), normalizer=normalizer)
    settings = {"ndim": 1, "hidden": 6, "layers": 2, "modes": 3, "correction": {"modes": 3}}
    return create("observer", description=description, **{**settings, **config})


def predictors():
    description = Description(("u",))
    dymixop = create(
        "dymixop", description=description, ndim=1, hidden=6, layers=2, modes=3, history=3
    )
    transformer = create(
        "multiscale", description=description, ndim=1, width=8, depths=(1, 1), heads=(2, 2),
        skips=(1, 0), window=2, patch=2,
    )  # fmt: skip
    return [small(), assimilate(dymixop, None), assimilate(transformer, None)]


@pytest.mark.parametrize("operator", predictors(), ids=lambda o: o.name)
def test_no_observation_is_the_prediction_to_the_bit(operator):
    history = torch.randn(2, operator.history, 1, 16)
    context = Context(("u",), Grid.unit((16,)))
    state = operator.start(history, context, variance=0.5)
    dt = torch.full((2,), 0.5)
    for _ in range(3):
        expected = operator.forecast(state, dt)[1]
        state, fields = operator.step(state, dt)
        assert torch.equal(fields, expected)
    if operator.name == "assimilated":
        predicted = operator.predictor.init(history, context)
        for _ in range(3):
            predicted, alone = operator.predictor.step(predicted, dt)
        assert torch.equal(fields, alone)


@pytest.mark.parametrize("operator", predictors(), ids=lambda o: o.name)
def test_an_observation_enters_the_latest_frame_of_the_state(operator):
    history = torch.randn(1, operator.history, 1, 16)
    state = operator.start(history, Context(("u",), Grid.unit((16,))), variance=1.0)
    dt = torch.full((1,), 0.5)
    before, forecast = operator.step(state, dt)
    truth = forecast + 1.0
    mask = torch.ones_like(truth, dtype=torch.bool)
    seen = Observation(truth, mask, ("u",), torch.full((1, 1, 1), 0.01))
    after, analysis = operator.step(state, dt, seen)
    assert (analysis - truth).abs().max() < 0.2
    assert torch.equal(after.history[:, -1], analysis)
    assert torch.equal(after.history[:, :-1], before.history[:, :-1])
    assert after.variance.max() < 0.1 * before.variance.max()


def test_wrapping_keeps_the_weights_and_can_freeze_them(tmp_path):
    from pelagos.operators import from_pretrained

    inner = predictors()[1].predictor
    frozen, trained = assimilate(inner, None), assimilate(inner, None, train_predictor=True)
    assert not any(p.requires_grad for p in frozen.predictor.parameters())
    assert all(p.requires_grad for p in trained.correction.parameters())
    assert any(p.requires_grad for p in trained.predictor.parameters())
    for name, value in inner.state_dict().items():
        assert torch.equal(frozen.state_dict()[f"predictor.{name}"], value)
    opened = from_pretrained(frozen.save_pretrained(tmp_path / "checkpoint"))
    assert opened.config == frozen.config
    with pytest.raises(ValueError, match="assimilates already"):
        assimilate(opened, None)


def test_frames_start_the_gain_and_bound_what_the_network_sees():
    """In physical units, whatever the normaliser."""
    normalizer = Statistics({"*": {"u": 3.0}}, {"*": {"u": 2.0}})
    x = torch.arange(32) / 32
    phase = 2 * math.pi * torch.rand(64, 1, 1, generator=torch.Generator().manual_seed(0))
    frames = 3 + 2 * 1.4 * torch.cos(2 * math.pi * 2 * x + phase)
    description = Description(("u",), normalizer=normalizer)
    inner = create("dymixop", description=description, ndim=1, hidden=4, layers=1, modes=3)
    wrapped = assimilate(inner, frames, correction=CorrectionConfig(modes=6))
    power = 2 * wrapped.correction.amplitude[:, 0, 0].square()
    assert power[2].item() == pytest.approx(1.4**2 / 2, rel=1e-4)
    length = wrapped.correction.correlation_length((32.0,))
    assert length == pytest.approx(16 / math.tau, rel=0.01)
    operator = create(
        "observer", description=description, ndim=1, hidden=4, layers=1, modes=3,
        correction={"modes": 6},
    )  # fmt: skip
    operator.fit(frames)
    expected = 1.2 * 1.4 * torch.tensor([[-1.0, 1.0]])
    torch.testing.assert_close(operator.bounds, expected, rtol=1e-3, atol=0)
    context = Context(("u",), Grid((32,), (1.0,), ("periodic",)))
    high, higher = (torch.full((1, 1, 1, 32), value) for value in (30.0, 300.0))
    changes = []
    for start in (high, higher):
        state = operator.init(start, context)
        changes.append(operator.step(state, torch.ones(1))[1] - start[:, 0])
    torch.testing.assert_close(*changes, atol=1e-4, rtol=1e-4)


def test_a_learned_observation_operator_is_an_ablation():
    """It starts as the identity; with other weights a perfect estimate does not stay perfect."""
    gain = correction(1, observation="learned")
    forecast, observation, variance = case(1)
    perfect = Observation(forecast.clone(), observation.mask, ("u", "v"), observation.noise)
    assert not torch.equal(run(gain, forecast, perfect, variance)[0], forecast)
    gain.reset(torch.Generator())
    assert torch.equal(run(gain, forecast, perfect, variance)[0], forecast)


def test_gradients_are_truncated_where_the_feed_says():
    operator = small()
    from pelagos.datasets.fields.window import Window

    history = torch.randn(2, 1, 1, 16, requires_grad=True)
    lead = 0.5 * torch.arange(1, 5).expand(2, 4)
    window = Window(history, torch.randn(2, 4, 1, 16), lead, Context(("u",), Grid.unit((16,))))
    for truncate, reaches in ((0, True), (2, False)):
        run = operator(window, Feed([None] * 4, torch.ones(2), truncate))
        (gradient,) = torch.autograd.grad(run.analysis[:, -1].sum(), history, allow_unused=True)
        assert (gradient is not None and bool(gradient.any())) == reaches
    with pytest.raises(ValueError, match="one entry per lead time, 4; got 3"):
        operator(window, Feed([None] * 3))


def test_a_cold_start_is_the_mean_with_full_variance():
    state = small().cold_start(Context(("u",), Grid.unit((16,))), batch=2)
    assert torch.equal(state.history, torch.ones(2, 1, 1, 16))
    assert torch.equal(state.variance, torch.ones(2, 1, 1))


def test_autocast_does_not_reach_the_correction():
    gain = correction(1).float()
    forecast, observation, variance = case(1)
    forecast, variance = forecast.float(), variance.float()
    ones = torch.ones(1, 2, 1)
    arguments = (forecast, observation, context_of(1), 0 * ones, ones, variance)
    full = gain(*arguments)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gain(*arguments)[0], full)


@pytest.mark.parametrize("ndim", [1, 2])
def test_fields_apart_are_coupled_ones_whose_modes_do_not_mix_them(ndim):
    coupled, apart = correction(ndim), correction(ndim, fields_of="apart")
    with torch.no_grad():
        coupled.amplitude.mul_(torch.eye(2))
    forecast, observation, variance = case(ndim)
    for one, two in zip(
        run(coupled, forecast, observation, variance),
        run(apart, forecast, observation, variance),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


def test_the_gradient_of_the_gain_is_that_of_its_formula():
    """Against finite differences, through estimate and variance."""
    gain = correction(1)
    forecast, observation, variance = case(1, batch=1)

    def loss(amplitude):
        with torch.no_grad():
            gain.amplitude.copy_(amplitude)
        estimate, left = run(gain, forecast, observation, variance)
        return estimate.square().sum() + left.square().sum()

    start = gain.amplitude.detach().clone()
    loss(start).backward()
    gradient = gain.amplitude.grad.clone()
    for place in ((0, 0, 0), (1, 0, 1), (1, 1, 1)):
        step = torch.zeros_like(start)
        step[place] = 1e-6
        slope = (loss(start + step) - loss(start - step)).item() / 2e-6
        assert gradient[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_trajectories_of_which_nothing_is_measured_stay_as_they_are():
    gain = correction(2)
    forecast, observation, variance = case(2, batch=3)
    some = replace(observation, mask=observation.mask.clone())
    some.mask[1] = False
    estimate, left = run(gain, forecast, some, variance)
    whole, all_left = run(gain, forecast, observation, variance)
    assert torch.equal(estimate[1], forecast[1])
    assert torch.equal(left[1], variance[1])
    for row in (0, 2):
        torch.testing.assert_close(estimate[row], whole[row])
        torch.testing.assert_close(left[row], all_left[row])
    some.mask[:] = False
    assert torch.equal(run(gain, forecast, some, variance)[0], forecast)
