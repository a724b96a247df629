"""Masks: what is not predicted keeps its values; losses, metrics and statistics do not see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pelagos.datasets import open_store
from pelagos.datasets.fields import metrics
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.masking import masked_agrees, masked_metric, masked_share, scored
from pelagos.datasets.fields.normalization import Identity
from pelagos.datasets.fields.window import Context, Window
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.sampling.scales import pooled_statistics
from pelagos.datasets.stores.store import Store
from pelagos.finetune.forecast.evaluate import evaluate
from pelagos.finetune.forecast.predict import predict
from pelagos.operators import create
from pelagos.pretrain.objectives.losses import LOSSES, loss_of

RELATIVE = ("vrmse", "nrmse", "relative_l1", "correlation")
POINTS, FRAMES = 16, 6


@pytest.fixture
def masked(tmp_path: Path) -> Store:
    """u = trajectory + t in its predicted half, 100 elsewhere; tracer = 7."""
    values = np.full((2, FRAMES, POINTS), 100.0)
    values[..., POINTS // 2 :] = np.arange(2)[:, None, None] + np.arange(FRAMES)[:, None]
    mask = np.zeros((2, 2, POINTS), bool)  # neither the tracer nor the first half of u
    mask[:, 0, POINTS // 2 :] = True
    data = WellData(
        dataset="masked",
        grid=Grid.unit((POINTS,)),
        times=np.arange(FRAMES) / 2,
        fields={"u": values, "tracer": np.full_like(values, 7)},
        mask=mask,
    )
    write_file(tmp_path / "a.hdf5", data)
    return open_store(tmp_path)


def operator_for(fields: tuple[str, ...]):
    return create("dymixop", fields=fields, ndim=1, hidden=4, layers=1, modes=2)


@pytest.mark.parametrize("name", RELATIVE)
@pytest.mark.parametrize("shape", [(12,), (4, 3)])
def test_a_metric_over_the_rest(name: str, shape: tuple[int, ...]) -> None:
    """Where the same points are masked in all channels, the rest is a field of its own."""
    generator = torch.Generator().manual_seed(0)
    truth = 3 + torch.randn(2, 5, 3, *shape, generator=generator, dtype=torch.float64)
    guess = truth + torch.randn(2, 5, 3, *shape, generator=generator, dtype=torch.float64)
    kept = torch.rand(shape, generator=generator) > 0.4
    mask = kept.expand(2, 1, 3, *shape)
    guess, truth = (torch.where(kept, value, torch.nan) for value in (guess, truth))
    found = masked_metric(name, guess, truth, len(shape), mask)
    expected = getattr(metrics, name)(guess[..., kept], truth[..., kept], 1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    assert torch.equal(masked_metric(name, guess[..., kept], truth[..., kept], 1, None), expected)


def test_a_field_is_scored_where_it_is_predicted_anywhere() -> None:
    mask = torch.zeros(2, 3, 4, 4, dtype=torch.bool)
    mask[0, 1, 2, 3] = True
    assert scored(mask, 2).tolist() == [[False, True, False], [False] * 3]


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_do_not_see_what_is_masked(loss: str) -> None:
    generator = torch.Generator().manual_seed(0)
    truth, guess = (torch.randn(2, 3, 2, 8, generator=generator) for _ in range(2))
    mask = torch.rand(2, 2, 8, generator=generator) > 0.3
    context = Context(("u", "v"), Grid.unit((8,)), mask=mask)
    lead = torch.ones(2, 3).cumsum(1)
    window = Window(torch.zeros(2, 1, 2, 8), truth, lead, context)
    guess.requires_grad_()
    value = loss_of(loss, guess, window, Identity())
    value.backward()
    assert guess.grad is not None
    assert (guess.grad == 0)[~mask.unsqueeze(1).expand_as(guess)].all()
    assert (guess.grad != 0)[mask.unsqueeze(1).expand_as(guess)].all()
    everywhere = replace(window, context=replace(context, mask=torch.ones_like(mask)))
    plain = replace(window, context=replace(context, mask=None))
    torch.testing.assert_close(
        loss_of(loss, guess, everywhere, Identity()), loss_of(loss, guess, plain, Identity())
    )


def test_a_field_that_is_masked_entirely_is_left_out_of_means() -> None:
    truth = torch.rand(2, 3, 2, 8)
    mask = torch.ones(2, 2, 8, dtype=torch.bool)
    mask[:, 1] = False
    context = Context(("u", "v"), Grid.unit((8,)), mask=mask)
    window = Window(torch.zeros(2, 1, 2, 8), truth, torch.ones(2, 3).cumsum(1), context)
    found = loss_of("vrmse", truth + 1, window, Identity())
    expected = 1 / np.sqrt(truth[:, :, 0].numpy().var(-1) + 1e-7)
    assert found == pytest.approx(expected.mean())


def test_the_grouped_loss_is_as_published() -> None:
    """Labels stand where the output is masked: no error, but they count in the denominator."""
    truth = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    mask = torch.tensor([True, True, False, False]).reshape(1, 1, 4)
    context = Context(("u",), Grid.unit((4,)), mask=mask)
    window = Window(torch.zeros(1, 1, 1, 4), truth, torch.ones(1, 1), context)
    value = loss_of("grouped_relative_l1", truth + 0.5, window, Identity())
    assert value.item() == pytest.approx(1.0 / 10.0)


def test_a_rollout_keeps_the_values_of_the_last_given_frame(masked: Store) -> None:
    operator = operator_for(masked.fields)
    window = masked.window(0, history=1)
    assert window.context.mask is not None
    context = replace(window.context, mask=window.context.mask[None])
    with torch.no_grad():
        frames = list(operator.rollout(window.history[None], context, dt=0.5, steps=3))
        free = list(
            operator.rollout(window.history[None], replace(context, mask=None), dt=0.5, steps=3)
        )
    for frame in frames:
        assert torch.equal(frame[~context.mask], window.history[:1][~context.mask])
    assert torch.equal(frames[0][context.mask], free[0][context.mask])
    assert not torch.equal(frames[2][context.mask], free[2][context.mask])  # it was fed back


def test_statistics_ignore_what_is_masked(masked: Store) -> None:
    found = pooled_statistics([masked])
    u = np.arange(2)[:, None] + np.arange(FRAMES)
    assert found.mean["masked"]["u"] == pytest.approx(u.mean())
    assert found.std["masked"]["u"] == pytest.approx(u.std())
    assert set(found.mean["*"]) == {"u"}
    assert (found.mean["masked"]["tracer"], found.std["masked"]["tracer"]) == (0.0, 1.0)


def test_evaluation_scores_what_is_predicted(masked: Store) -> None:
    operator = operator_for(masked.fields)
    result = evaluate(operator, masked)
    assert result["store"]["fields"] == ["u"]
    assert set(result["scores"]["vrmse"]) == set(result["spectra"]["fields"]) == {"u"}
    truth = np.arange(2)[:, None] + np.arange(1, FRAMES)
    given = np.arange(2)[:, None]
    expected = ((truth - given) / truth).mean(0)
    assert result["persistence"]["relative_l1"]["u"]["mean"] == pytest.approx(expected.tolist())
    predicted = predict(operator, masked)
    assert (predicted["tracer"] == 7).all()


def test_agreement_and_shares_are_of_the_predicted_points() -> None:
    mask = torch.ones(2, 4, 4, dtype=torch.bool)
    mask[:, 0, 0] = mask[:, 1, 1] = False  # a corner, which lies on two faces, and one inside
    truth = torch.stack([torch.full((4, 4), 3.0), torch.arange(16.0).reshape(4, 4)]).double()
    prediction = torch.where(mask, truth, 1e3)
    assert masked_agrees(prediction, truth, 2, mask, 0.8).all()
    assert not masked_agrees(prediction, truth, 2, None, 0.8).any()
    prediction[0, 2, 2] += 1
    assert masked_agrees(prediction, truth, 2, mask, 0.8).tolist() == [False, True]
    share, faces = masked_share(mask, 2)
    assert share.tolist() == pytest.approx([14 / 16] * 2)
    assert faces.tolist() == pytest.approx([14 / 16] * 2)
