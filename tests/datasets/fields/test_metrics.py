"""Metrics against numbers worked out by hand and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pelagos.datasets.fields import metrics

ERRORS = [metrics.rmse, metrics.nrmse, metrics.vrmse, metrics.well_vrmse, metrics.relative_l1]
ALL = [*ERRORS, metrics.correlation]

# One sample, one channel, four points.
TRUTH = torch.tensor([[1.0, -1.0, 3.0, 1.0]], dtype=torch.float64)  # ⟨y⟩ = 1, ⟨y²⟩ = 3, var 2
PREDICTION = torch.tensor([[2.0, -1.0, 1.0, 1.0]], dtype=torch.float64)  # e = 1, 0, -2, 0


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (metrics.rmse, math.sqrt(5 / 4)),
        (metrics.nrmse, math.sqrt(5 / 12)),
        (metrics.vrmse, math.sqrt(1.25 / 2)),
        (metrics.well_vrmse, math.sqrt(1.25 / (8 / 3 + 1e-7))),
        (metrics.relative_l1, 3 / 6),
        # deviations: p 1.25, -1.75, .25, .25 (⟨p⟩ = .75); y 0, -2, 2, 0
        (metrics.correlation, 1.0 / math.sqrt(2 * 1.1875)),
    ],
)
def test_worked_by_hand(metric, value: float) -> None:
    assert metric(PREDICTION, TRUTH, 1).tolist() == pytest.approx([value], rel=1e-12)


def waves(n: int = 64) -> Tensor:
    return torch.linspace(0, 2 * math.pi, n + 1, dtype=torch.float64)[:-1]


def test_pure_sines() -> None:
    x = waves()
    truth, shifted = torch.sin(x)[None], torch.sin(x + 0.3)[None]
    chord = 2 * math.sin(0.15)  # ‖sin(x + δ) − sin x‖ / ‖sin x‖
    assert float(metrics.nrmse(shifted, truth, 1)) == pytest.approx(chord)
    assert float(metrics.rmse(shifted, truth, 1)) == pytest.approx(chord / math.sqrt(2))
    assert float(metrics.vrmse(shifted, truth, 1)) == pytest.approx(chord, rel=1e-12)
    assert float(metrics.correlation(shifted, truth, 1)) == pytest.approx(math.cos(0.3))


def test_the_mean_scores_one_in_vrmse() -> None:
    truth = 5 + torch.sin(waves())[None]
    mean = torch.full_like(truth, 5)
    assert float(metrics.vrmse(mean, truth, 1)) == pytest.approx(1, rel=1e-12)
    assert float(metrics.nrmse(mean, truth, 1)) < 0.15


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 273.15])
def test_vrmse_is_the_same_in_every_unit(scale: float, offset: float) -> None:
    x = waves()
    truth, shifted = (scale * torch.sin(x + d)[None] for d in (0.0, 0.3))
    truth, shifted = truth + scale * offset, shifted + scale * offset
    assert float(metrics.vrmse(shifted, truth, 1)) == pytest.approx(2 * math.sin(0.15), rel=1e-9)


def test_the_published_vrmse_is_that_of_the_well() -> None:
    """As its code computes it, with the sample variance, in single precision."""
    generator = torch.Generator().manual_seed(0)
    truth, guess = 1e-3 * torch.randn(2, 5, 3, 8, 6, generator=generator)
    y, x = truth.movedim(1, -1), guess.movedim(1, -1)  # channels last
    published = ((x - y) ** 2).mean((1, 2)) / (torch.std(y, dim=(1, 2)) ** 2 + 1e-7)
    found = metrics.well_vrmse(guess, truth, 2)
    torch.testing.assert_close(found, published.sqrt())
    assert not torch.allclose(found, metrics.vrmse(guess, truth, 2), rtol=0.03)


def test_vrmse_of_a_constant_is_finite() -> None:
    truth = torch.full((1, 8), 300.0, dtype=torch.float64)
    assert float(metrics.vrmse(truth, truth, 1)) == 0
    assert float(metrics.vrmse(truth + 3e-4, truth, 1)) == pytest.approx(1.0)
    assert float(metrics.vrmse(truth * 0, truth * 0, 1)) == 0


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("space", [(8,), (8, 6), (8, 6, 4)])
def test_one_value_per_channel_and_leading_index(metric, space: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, truth = torch.randn((2, 3, 5, 2, *space), generator=generator)
    together = metric(prediction, truth, len(space))
    assert together.shape == (3, 5, 2)
    alone = metric(prediction[1, 2, 1:], truth[1, 2, 1:], len(space))
    torch.testing.assert_close(together[1, 2, 1:], alone)
    flat = metric(prediction.flatten(3), truth.flatten(3), 1)  # space is one set of points
    torch.testing.assert_close(together, flat)


@pytest.mark.parametrize("metric", ERRORS)
def test_no_error_is_zero_also_of_nothing(metric) -> None:
    for truth in (TRUTH, torch.zeros(1, 4)):
        assert metric(truth, truth.clone(), 1).tolist() == [0.0]


def gradient(metric, prediction: Tensor, truth: Tensor) -> Tensor:
    leaf = prediction.clone().requires_grad_()
    return torch.autograd.grad(metric(leaf, truth, 1).sum(), leaf)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", ALL)
def test_a_perfect_constant_channel_leaves_the_gradient_of_the_others(metric, dtype) -> None:
    """Where √ has the argument 0, the gradient is 0; elsewhere it is as without that channel."""
    constant = torch.tensor([[0.0] * 4, [3.0] * 4], dtype=dtype)
    together = gradient(metric, *(torch.cat([x.to(dtype), constant]) for x in (PREDICTION, TRUTH)))
    alone = gradient(metric, PREDICTION.to(dtype), TRUTH.to(dtype))
    assert together[1:].tolist() == [[0.0] * 4] * 2
    torch.testing.assert_close(together[:1], alone)
    assert alone.abs().max() > 0


def test_gradients_are_those_of_the_closed_form() -> None:
    """∂√⟨e²⟩/∂p = e / (n √⟨e²⟩), also for errors whose squares are nearly nothing."""
    for size in (1.0, 1e-18):
        error = (size * (PREDICTION - TRUTH)).float()
        found = gradient(metrics.rmse, error, torch.zeros(1, 4))
        expected = (PREDICTION - TRUTH) / (4 * math.sqrt(5 / 4))
        torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("metric", ALL)
def test_nan_is_not_hidden(metric) -> None:
    broken = PREDICTION.clone()
    broken[0, 2] = torch.nan
    assert metric(broken, TRUTH, 1).isnan().all()


@pytest.mark.parametrize("metric", [metrics.nrmse, metrics.relative_l1, metrics.correlation])
def test_relative_metrics_do_not_see_the_unit(metric) -> None:
    torch.testing.assert_close(
        metric(1e-6 * PREDICTION, 1e-6 * TRUTH, 1), metric(PREDICTION, TRUTH, 1)
    )


def test_correlation_of_a_constant_is_zero() -> None:
    assert metrics.correlation(torch.full((1, 4), 3.0), TRUTH.float(), 1).tolist() == [0.0]
    assert float(metrics.correlation(-2 * TRUTH + 1, TRUTH, 1)) == pytest.approx(-1)


@pytest.mark.parametrize("metric", ALL)
def test_shapes_do_not_broadcast(metric) -> None:
    with pytest.raises(ValueError, match=r"same shape; got \(1, 4\) and \(4,\)"):
        metric(TRUTH, TRUTH[0], 1)
    with pytest.raises(ValueError, match="ndim"):
        metric(TRUTH[0], TRUTH[0], 1)


# ------------------------------------------------------------------ spectrum


def test_a_sine_has_its_energy_in_one_shell() -> None:
    spectrum = metrics.energy_spectrum(3 * torch.sin(5 * waves(32))[None], 1)
    assert spectrum.shape == (1, 17)
    expected = torch.zeros(1, 17, dtype=torch.float64)
    expected[0, 5] = 9 / 2
    torch.testing.assert_close(spectrum, expected)


def test_shells_are_round() -> None:
    x, y = torch.meshgrid(waves(16), waves(24), indexing="ij")
    field = torch.cos(3 * x + 4 * y)[None]  # |κ| = 5
    spectrum = metrics.energy_spectrum(field, 2)
    assert spectrum.shape == (1, 9)
    assert float(spectrum[0, 5]) == pytest.approx(0.5)
    assert float(spectrum.sum()) == pytest.approx(0.5)


@pytest.mark.parametrize("n", [15, 16])
def test_parseval_in_one_dimension(n: int) -> None:
    field = torch.randn(4, 3, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    total = metrics.energy_spectrum(field, 1).sum(-1)
    torch.testing.assert_close(total, field.square().mean(-1))


@pytest.mark.parametrize("space", [(16, 16), (12, 18), (8, 10, 12)])
def test_parseval_for_smooth_fields(space: tuple[int, ...]) -> None:
    grids = torch.meshgrid(*[waves(n) for n in space], indexing="ij")
    field = 0.5 + torch.stack([torch.sin((k + 1) * x) for k, x in enumerate(grids)]).prod(0)
    field = field[None, None]
    total = metrics.energy_spectrum(field, len(space)).sum(-1)
    torch.testing.assert_close(total, field.square().mean(tuple(range(2, field.ndim))))


def test_corners_belong_to_no_shell() -> None:
    x, y = torch.meshgrid(waves(8), waves(8), indexing="ij")
    corner = torch.cos(4 * x + 4 * y)[None]  # |κ| = 5.7 on 8 points
    assert float(metrics.energy_spectrum(corner, 2).sum()) == pytest.approx(0, abs=1e-12)


def test_half_precision_is_transformed_in_single() -> None:
    field = torch.sin(5 * waves(30))[None].bfloat16()
    assert float(metrics.energy_spectrum(field, 1)[0, 5]) == pytest.approx(0.5, rel=0.01)


# ------------------------------------------------------------------ valid time


def drifting() -> tuple[Tensor, Tensor, Tensor]:
    """A sine that is ahead by 0.2 t; its correlation with the truth is cos(0.2 t)."""
    x, times = waves(), torch.arange(1.0, 9.0)
    truth = torch.sin(x).expand(8, 1, 64)
    return torch.sin(x + 0.2 * times[:, None, None].double()), truth, times


def test_valid_until_the_correlation_falls() -> None:
    prediction, truth, times = drifting()
    # cos(0.6) = 0.825, cos(0.8) = 0.697, cos(1) = 0.540
    at = [math.cos(0.2 * t) for t in range(9)]
    found = metrics.valid_time(prediction, truth, times, 1).tolist()
    assert found == pytest.approx([3 + (at[3] - 0.8) / (at[3] - at[4])])
    assert found == pytest.approx([math.acos(0.8) / 0.2], rel=0.01)
    found = metrics.valid_time(prediction, truth, times, 1, 0.6).tolist()
    assert found == pytest.approx([4 + (at[4] - 0.6) / (at[4] - at[5])])
    assert found == pytest.approx([math.acos(0.6) / 0.2], rel=0.01)


def test_what_fails_at_the_first_step_was_never_valid() -> None:
    prediction, truth, times = drifting()
    assert metrics.valid_time(torch.zeros_like(truth), truth, times, 1).tolist() == [0.0]
    assert metrics.valid_time(prediction, truth, times, 1, 0.99).tolist() == [0.0]
    one = slice(0, 1)
    assert metrics.valid_time(prediction[one], truth[one], times[one], 1).tolist() == [1.0]


def test_valid_until_the_error_rises() -> None:
    prediction, truth, times = drifting()
    low, high = 2 * math.sin(0.2), 2 * math.sin(0.3)  # at t = 2 and 3
    found = metrics.valid_time(prediction, truth, times, 1, 0.5, "nrmse").tolist()
    assert found == pytest.approx([2 + (0.5 - low) / (high - low)])


def test_the_first_failure_counts_and_nan_fails() -> None:
    prediction, truth, times = drifting()
    prediction[1] = torch.nan
    assert metrics.valid_time(prediction, truth, times, 1).tolist() == [1.0]


def test_a_forecast_that_never_fails_has_the_last_lead_time() -> None:
    _, truth, times = drifting()
    both = truth.expand(8, 3, 64)
    assert metrics.valid_time(both, both, times, 1).tolist() == [8.0, 8.0, 8.0]
    batch = metrics.valid_time(both.expand(5, 8, 3, 64), both.expand(5, 8, 3, 64), times, 1)
    assert batch.shape == (5, 3)


def test_unknown_measures_of_validity() -> None:
    prediction, truth, times = drifting()
    with pytest.raises(ValueError, match="'correlation' or 'nrmse'"):
        metrics.valid_time(prediction, truth, times, 1, metric="rmse")


# ------------------------------------------------------------------ sets of samples, PDEBench


def samples() -> tuple[Tensor, Tensor]:
    """Two samples of one channel whose errors are 1, 0, -2, 0 and 3, 3, 3, 3."""
    truth = TRUTH.expand(2, 1, 4)
    return torch.stack([PREDICTION, TRUTH + 3]), truth


def test_pdebench_by_hand() -> None:
    prediction, truth = samples()
    # means of the errors: -1/4 and 3
    conserved = math.sqrt((1 / 16 + 9) / 2)
    assert metrics.crmse(prediction, truth, 1).tolist() == pytest.approx([conserved])
    assert metrics.max_error(prediction, truth, 1).tolist() == [3.0]
    # end points: errors 1, 0 and 3, 3
    boundary = metrics.brmse(prediction, truth, 1)
    assert boundary.flatten().tolist() == pytest.approx([math.sqrt(1 / 2), 3])


def test_boundary_error_is_that_of_the_faces() -> None:
    truth = torch.zeros(1, 4, 3)
    inside = truth.clone()
    inside[0, 1:3, 1] = 5
    assert metrics.brmse(inside, truth, 2).tolist() == [0.0]
    corner = truth.clone()
    corner[0, 0, 0] = 2  # on two faces; the faces have 2 · 3 + 2 · 4 points
    assert metrics.brmse(corner, truth, 2).tolist() == pytest.approx([math.sqrt(2 * 4 / 14)])
    ones = torch.ones(2, 4, 3, 5)
    assert metrics.brmse(ones, 0 * ones, 3).tolist() == pytest.approx([1, 1])  # per channel


@pytest.mark.parametrize(("wave", "band"), [(2, 0), (5, 1), (12, 2)])
def test_fourier_error_by_bands(wave: int, band: int) -> None:
    """A sine of amplitude a has |ê| = a / 2 at its wave number and at the opposite one."""
    x = waves(32)
    error = torch.stack([3 * torch.sin(wave * x), torch.sin(wave * x)])[:, None]
    shells = (4, 8, 5)[band]  # 12 … 16, the Nyquist mode included
    single = math.sqrt((9 / 4 + 1 / 4) / 2) / shells
    expected = [0.0, 0.0, 0.0]
    expected[band] = single
    found = metrics.frmse(error, 0 * error, 1)
    assert found.shape == (1, 3)
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-12)
    scaled = metrics.frmse(error, 0 * error, 1, lengths=[2.0])
    torch.testing.assert_close(scaled, 2 * found)
    filtered = metrics.spectral_rmse(error, 0 * error, 1)
    assert filtered[0, 0, band].item() == pytest.approx(3 / math.sqrt(2))
    assert filtered[1, 0].sum().item() == pytest.approx(1 / math.sqrt(2))


def test_fourier_error_of_the_published_quadrant() -> None:
    """In 2D only modes with both wave numbers ≥ 0 count, as in the published code."""
    x, y = torch.meshgrid(waves(32), waves(26), indexing="ij")
    along, against = torch.cos(3 * x + 4 * y)[None, None], torch.cos(3 * x - 4 * y)[None, None]
    found = metrics.frmse(along, 0 * along, 2)
    assert found.flatten().tolist() == pytest.approx([0, 0.5 / 8, 0], abs=1e-12)
    assert metrics.frmse(against, 0 * against, 2).flatten().tolist() == pytest.approx([0, 0, 0])
    for field in (along, against):
        whole = metrics.spectral_rmse(field, 0 * field, 2).flatten().tolist()
        assert whole == pytest.approx([0, math.sqrt(0.5), 0], abs=1e-12)


def test_a_band_that_the_grid_lacks_is_zero() -> None:
    """The published code gives NaN on fewer than 25 points."""
    error = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    found = metrics.frmse(error, 0 * error, 2)
    assert found[:, 2].tolist() == [0, 0]
    assert (found[:, :2] > 0).all()


@pytest.mark.parametrize("space", [(31,), (16, 12), (6, 8, 10)])
def test_bands_add_up_to_the_mean_square(space: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn((2, 4, 3, *space), generator=generator, dtype=torch.float64)
    parts = metrics.spectral_rmse(one, two, len(space), bands=(0, 1, 3, 5))
    assert parts.shape == (4, 3, 4)
    torch.testing.assert_close(parts.square().sum(-1), metrics.rmse(one, two, len(space)).square())


def test_impossible_bands() -> None:
    with pytest.raises(ValueError, match=r"rising first wave numbers ≥ 0; got \(4, 2\)"):
        metrics.spectral_rmse(TRUTH, TRUTH, 1, bands=(4, 2))


@pytest.mark.parametrize("metric", [metrics.crmse, metrics.frmse, metrics.max_error])
def test_sets_need_an_axis_of_samples(metric) -> None:
    with pytest.raises(ValueError, match=r"samples must be \(B, ..., C, \*S\)"):
        metric(TRUTH, TRUTH, 1)


def test_groups_of_channels_share_one_norm() -> None:
    truth = torch.tensor([[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    prediction = truth + torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = metrics.grouped_relative_l1(prediction, truth, 1, [[0, 1], [2]])
    assert found.tolist() == pytest.approx([2 / 8, 2 / 4])


# ------------------------------------------------------------------ conserved quantities


def test_drift_of_mean_and_energy() -> None:
    initial = torch.tensor([[1.0, -1.0, 3.0, 1.0]])  # ⟨u⟩ = 1, ⟨|u|⟩ = 1.5, ⟨u²⟩ = 3
    later = torch.stack([initial, initial + 0.5, -initial])
    assert metrics.drift(later, initial, 1).flatten().tolist() == pytest.approx([0, 1 / 3, -4 / 3])
    energy = metrics.drift(later, initial, 1, power=2).flatten().tolist()
    assert energy == pytest.approx([0, (0.25 + 1) / 3, 0])  # ⟨(u + ½)²⟩ = ⟨u²⟩ + ⟨u⟩ + ¼
    batch = metrics.drift(later.expand(5, 3, 1, 4), initial.expand(5, 1, 4), 1)
    assert batch.shape == (5, 3, 1)


# ------------------------------------------------------------------ ensembles


def test_crps_of_two_members() -> None:
    """E|X − y| − ½ E|X − X′| for members 0 and 2 and truth 3: 2 − ½ · 1; fair: 2 − ½ · 2."""
    ensemble = torch.tensor([2.0, 0.0]).reshape(2, 1, 1).expand(2, 1, 5)
    truth = torch.full((1, 5), 3.0)
    assert metrics.crps(ensemble, truth, 1).tolist() == pytest.approx([1.5])
    assert metrics.crps(ensemble, truth, 1, fair=True).tolist() == pytest.approx([1.0])
    assert metrics.crps(ensemble[:1], truth, 1).tolist() == pytest.approx([1.0])
    with pytest.raises(ValueError, match="at least 2 members"):
        metrics.crps(ensemble[:1], truth, 1, fair=True)


def test_crps_is_the_sum_over_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    ensemble = torch.randn(7, 2, 3, 6, 5, generator=generator, dtype=torch.float64)
    truth = torch.randn(2, 3, 6, 5, generator=generator, dtype=torch.float64)
    error = (ensemble - truth).abs().mean(0)
    pairs = (ensemble[:, None] - ensemble[None]).abs().mean((0, 1))
    torch.testing.assert_close(metrics.crps(ensemble, truth, 2), (error - pairs / 2).mean((-2, -1)))


def test_crps_of_a_normal_distribution() -> None:
    """N(0, 1) against y: y (2 Φ(y) − 1) + 2 φ(y) − 1 / √π (Gneiting and Raftery 2007)."""
    ensemble = torch.randn(400_000, 1, 1, generator=torch.Generator().manual_seed(1))
    y = 0.7
    phi, density = (
        0.5 * (1 + math.erf(y / math.sqrt(2))),
        math.exp(-y * y / 2) / math.sqrt(2 * math.pi),
    )
    expected = y * (2 * phi - 1) + 2 * density - 1 / math.sqrt(math.pi)
    found = metrics.crps(ensemble.double(), torch.full((1, 1), y, dtype=torch.float64), 1)
    assert found.item() == pytest.approx(expected, abs=4e-3)


def test_a_consistent_ensemble_has_ratio_one() -> None:
    """Truth and members are drawn from the same distribution."""
    generator = torch.Generator().manual_seed(0)
    ensemble = torch.randn(5, 1, 200_000, generator=generator, dtype=torch.float64)
    truth = torch.randn(1, 200_000, generator=generator, dtype=torch.float64)
    assert metrics.spread(ensemble, 1).item() == pytest.approx(1, abs=0.01)
    assert metrics.spread_error_ratio(ensemble, truth, 1).item() == pytest.approx(1, abs=0.01)
    assert metrics.spread_error_ratio(0.5 * ensemble, truth, 1).item() < 0.6


def test_ensembles_of_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(members, \*truth.shape\); got \(3, 2, 4\)"):
        metrics.crps(torch.zeros(3, 2, 4), torch.zeros(1, 4), 1)
    with pytest.raises(ValueError, match="at least 2 members"):
        metrics.spread(torch.zeros(1, 1, 4), 1)


def test_what_stays_constant_and_is_predicted_exactly_stays_valid() -> None:
    truth, leads = torch.full((4, 3, 8), 0.1, dtype=torch.float64), torch.arange(1.0, 5.0)
    truth[:, 0] = torch.linspace(0, 1, 8)  # of three fields, the first varies
    truth[:, 2] = 0.0
    prediction = truth.clone()
    assert metrics.valid_time(prediction, truth, leads, 1).tolist() == [4.0, 4.0, 4.0]
    prediction[2, 1] += 1e-9  # rounding
    prediction[1, 2, 3] = 1e-9  # no rounding: the truth is 0
    prediction[3, 0] = -truth[3, 0]
    # The first field turns from correlation 1 to −1 in the last step, the third has none.
    found = metrics.valid_time(prediction, truth, leads, 1).tolist()
    assert found == pytest.approx([3 + 0.2 / 2, 4.0, 1.0])
    prediction[0, 1] = math.nan
    assert metrics.valid_time(prediction, truth, leads, 1)[1] == 0.0
    # The correlation itself stays as it is published: 0 where there is none.
    assert (metrics.correlation(truth, truth, 1)[:, 1:] == 0).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-13, 1e20])
@pytest.mark.parametrize("name", ["nrmse", "vrmse", "relative_l1", "correlation"])
def test_fields_in_units_in_which_they_are_tiny_score_the_same(name: str, scale: float) -> None:
    """A permeability in m², a density in g/cm³ of interstellar gas."""
    metric = getattr(metrics, name)
    expected = metric(PREDICTION, TRUTH, 1)
    torch.testing.assert_close(metric(scale * PREDICTION, scale * TRUTH, 1), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("points", [16, 1000, 12288])
@pytest.mark.parametrize("value", [101325.3, 273.15, 1.1e9, 0.1])
def test_rounding_errors_of_constants_do_not_correlate(dtype, points: int, value: float) -> None:
    """The mean of equal numbers is not always the number."""
    truth = torch.full((1, points), value, dtype=dtype)
    assert metrics.correlation(2.3 * truth, truth, 1).tolist() == [0]
    assert not metrics.agrees(2.3 * truth, truth, 1).any()
    wave = value + 1e-3 * value * torch.sin(torch.arange(points, dtype=dtype))[None]
    assert float(metrics.correlation(wave, wave, 1)) == pytest.approx(1, abs=1e-3)
