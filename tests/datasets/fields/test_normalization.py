"""Normalisers are reversible, know fields by name, and survive their dictionary."""

from __future__ import annotations

import json

import pytest
import torch

from pelagos.datasets.fields.normalization import (
    NORMALIZERS,
    POOLED,
    Identity,
    Normalizer,
    Statistics,
    WindowScaling,
    normalizer_from_dict,
    normalizer_to_dict,
)

STATISTICS = Statistics(
    mean={"a": {"u": 1.0, "p": -2.0}, POOLED: {"u": 5.0, "p": 0.5}},
    std={"a": {"u": 2.0, "p": 0.25}, POOLED: {"u": 10.0, "p": 4.0}},
)
EVERY = [Identity(), STATISTICS, WindowScaling()]
FIELDS = ("u", "p")


def make_history(*space: int, frames: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, frames, 2, *space, generator=generator) * 3 + 1


def test_all_kinds_are_tested() -> None:
    assert {kind.name for kind in EVERY} == set(NORMALIZERS.names())


@pytest.mark.parametrize("space", [(8,), (8, 6), (4, 5, 3)])
@pytest.mark.parametrize("normalizer", EVERY, ids=lambda kind: kind.name)
def test_decoding_undoes_encoding(normalizer: Normalizer, space: tuple[int, ...]) -> None:
    history = make_history(*space)
    scaling = normalizer.scaling(history, FIELDS, "a")
    encoded = scaling.encode(history)
    last, target = history[:, -1], history[:, 0]
    if scaling.increment is None:
        torch.testing.assert_close(scaling.decode(encoded[:, 0], last), target)
    else:
        output = (target - last) / scaling.increment
        torch.testing.assert_close(scaling.decode(output, last), target)


@pytest.mark.parametrize("normalizer", EVERY, ids=lambda kind: kind.name)
def test_the_dictionary_is_json_and_comes_back(normalizer: Normalizer) -> None:
    text = json.dumps(normalizer_to_dict(normalizer))
    assert normalizer_from_dict(json.loads(text)) == normalizer


def test_identity_changes_nothing() -> None:
    history = make_history(8)
    scaling = Identity().scaling(history, FIELDS, "a")
    assert torch.equal(scaling.encode(history), history)
    assert torch.equal(scaling.decode(history[:, 0], history[:, 1]), history[:, 0])


def test_statistics_scale_each_field_by_its_own() -> None:
    history = make_history(8)
    encoded = STATISTICS.scaling(history, FIELDS, "a").encode(history)
    torch.testing.assert_close(encoded[:, :, 0], (history[:, :, 0] - 1) / 2)
    torch.testing.assert_close(encoded[:, :, 1], (history[:, :, 1] + 2) / 0.25)


def test_statistics_go_by_name_not_by_position() -> None:
    history = make_history(8)
    swapped = STATISTICS.scaling(history.flip(2), ("p", "u"), "a").encode(history.flip(2))
    straight = STATISTICS.scaling(history, FIELDS, "a").encode(history)
    assert torch.equal(swapped.flip(2), straight)


def test_an_unseen_dataset_uses_the_pooled_entry() -> None:
    history = make_history(8)
    encoded = STATISTICS.scaling(history, FIELDS, "never seen").encode(history)
    torch.testing.assert_close(encoded[:, :, 0], (history[:, :, 0] - 5) / 10)


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ValueError, match=r"field\(s\) w of dataset 'a'; known: \['p', 'u'\]"):
        STATISTICS.scaling(make_history(8), ("u", "w"), "a")


def test_window_scaling_gives_unit_histories_at_any_amplitude() -> None:
    history = make_history(16, 16)
    for amplitude in (1e-15, 1e-9, 1e-4, 1.0, 1e6, 1e15):
        scaling = WindowScaling().scaling(amplitude * history, FIELDS, "")
        encoded = scaling.encode(amplitude * history)
        rms = encoded.square().mean((1, 3, 4)).sqrt()
        torch.testing.assert_close(rms, torch.ones(4, 2))
        changes = (amplitude * history).diff(dim=1) / scaling.increment.unsqueeze(1)
        torch.testing.assert_close(changes.square().mean((1, 3, 4)).sqrt(), torch.ones(4, 2))


def test_window_scaling_makes_persistence_the_zero_output() -> None:
    history = make_history(8)
    scaling = WindowScaling().scaling(history, FIELDS, "")
    last = history[:, -1]
    assert torch.equal(scaling.decode(torch.zeros_like(last), last), last)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_window_scaling_of_a_constant_is_finite(value: float) -> None:
    history = torch.full((4, 3, 2, 8), value)
    scaling = WindowScaling().scaling(history, FIELDS, "")
    assert torch.isfinite(scaling.encode(history)).all()
    assert (scaling.increment > 0).all()


def test_window_scaling_of_a_zero_channel_has_finite_gradients() -> None:
    """Along an unrolled forecast, the scales are functions of predictions."""
    history = make_history(8)
    history[:, :, 1] = 0
    history.requires_grad_()
    scaling = WindowScaling().scaling(history, FIELDS, "")
    target = torch.ones_like(history)
    assert torch.isfinite(scaling.encode(target)).all()  # also of what the channel may become
    frame = scaling.decode(scaling.encode(history)[:, -1], history[:, -1])
    frame.sum().backward()
    assert torch.isfinite(history.grad).all()
    assert history.grad[:, :, 0].abs().max() > 0


@pytest.mark.parametrize("floor", [0.0, -1e-6, float("nan")])
def test_window_scaling_needs_a_positive_floor(floor: float) -> None:
    with pytest.raises(ValueError, match="floor must be positive"):
        WindowScaling(floor=floor)


@pytest.mark.parametrize("normalizer", [Identity(), STATISTICS], ids=lambda kind: kind.name)
def test_what_does_not_depend_on_the_history_is_made_once(normalizer: Normalizer) -> None:
    first = normalizer.scaling(make_history(8), FIELDS, "a")
    assert normalizer.scaling(2 * make_history(8), FIELDS, "a", first) is first


def test_window_scaling_needs_two_frames() -> None:
    with pytest.raises(ValueError, match="at least 2 history frames"):
        WindowScaling().scaling(make_history(8, frames=1), FIELDS, "")


def test_wrong_dictionaries_are_explained() -> None:
    with pytest.raises(ValueError, match="unknown normaliser 'windw'; did you mean 'window'"):
        normalizer_from_dict({"name": "windw"})
    with pytest.raises(ValueError, match=r"floor"):
        normalizer_from_dict({"name": "window", "floor": "low"})
    with pytest.raises(ValueError, match="flor"):
        normalizer_from_dict({"name": "window", "flor": 1e-3})


def test_growth_bounds_the_relative_increment_along_a_forecast():
    """Increments twice as fast, relative to the field: bounded at 1.5 times those at first."""
    normalizer = WindowScaling(growth=1.5)
    x = torch.linspace(0, 6, 32).sin()
    start = torch.stack([x, 1.1 * x])[None, :, None]
    first = normalizer.scaling(start, ("u",), "")
    faster = torch.stack([x, 1.2 * x])[None, :, None]
    bounded = normalizer.scaling(faster, ("u",), "", first)
    free = normalizer.scaling(faster, ("u",), "")
    assert free.increment is not None
    assert bounded.increment is not None
    expected = 1.5 * first.increment / first.scale * free.scale
    torch.testing.assert_close(bounded.increment, expected)
    assert (bounded.increment < free.increment).all()
    # A larger field with the same relative increments is not touched.
    scaled = normalizer.scaling(10 * start, ("u",), "", first)
    torch.testing.assert_close(scaled.increment, 10 * first.increment)
    with pytest.raises(ValueError, match=r"growth must be at least 1"):
        WindowScaling(growth=0.5)


@pytest.mark.parametrize("offset", [0.0, 9.0, 1e2, -1e2, 1e4])
def test_a_field_far_from_zero_is_seen_to_vary(offset: float) -> None:
    """A sine of deviation 1, and a mean of so many: at most ten of them are left."""
    x = torch.linspace(0, 2 * torch.pi, 65)[:-1]
    wave = 2**0.5 * torch.stack([(x + t / 9).sin() for t in range(3)])[None, :, None]
    history = wave + offset
    scaling = WindowScaling().scaling(history, ("T",), "")
    left = max(-10.0, min(10.0, offset))
    scale = (1 + left**2) ** 0.5
    expected = (wave + left) / scale
    torch.testing.assert_close(scaling.encode(history), expected, rtol=0, atol=1e-3)
    increment = wave.diff(dim=1).square().mean().sqrt()
    assert scaling.increment is not None
    torch.testing.assert_close(scaling.increment.squeeze(), increment, rtol=1e-2, atol=0)


def test_a_field_near_zero_is_scaled_as_ever() -> None:
    """To the bit."""
    history = make_history(8) + 3.0
    new = WindowScaling().scaling(history, FIELDS, "")
    old = WindowScaling(offset=None).scaling(history, FIELDS, "")
    assert torch.equal(new.scale, old.scale)
    assert torch.equal(new.shift, old.shift)
    assert not old.shift.any()


@pytest.mark.parametrize("value", [7.0, -293.15, 1e5])
def test_the_rounding_of_a_constant_is_not_seen(value: float) -> None:
    history = torch.full((1, 3, 1, 64), value)
    history[..., ::2] = torch.nextafter(history[..., ::2], torch.tensor(torch.inf))
    scaling = WindowScaling().scaling(history, ("T",), "")
    encoded = scaling.encode(history)
    assert encoded.diff(dim=-1).abs().max() < 0.02
    assert encoded.abs().max() < 1.1
