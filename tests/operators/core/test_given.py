"""From a checkpoint to an answer in Python: what a rollout takes, refuses and warns of.

The operator's answer is worked out by hand: `Told` gives back what it was told of grid and scale.
"""

from __future__ import annotations

import gc
import math
import re
import warnings
import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Standard, Statistics
from pelagos.datasets.fields.window import Context
from pelagos.operators.core.description import Description
from pelagos.operators.core.operator import Operator
from pelagos.operators.core.recognition import Size

TRAINED = Grid((8,), (22.0,), ("wall",), (-11.0,))


@dataclass(frozen=True)
class ToldConfig:
    ndim: int = 1
    history: int = 2


class Told(Operator):
    """u ← gain · last frame + length of the domain, in scaled units."""

    name, Config, conditioned = "told", ToldConfig, True

    def __init__(self, config, description) -> None:
        super().__init__(config, description)
        self.gain = nn.Parameter(torch.ones(()))

    def reset(self, generator) -> None:
        self.gain.data.fill_(2.0)

    def step(self, state, dt, observation=None):
        self.check_step(state, dt, observation)
        scaling = self.scaling(state)
        scaled = self.gain * scaling.encode(state.history)[:, -1] + state.context.grid.lengths[0]
        fields = scaling.decode(scaled, state.history[:, -1])
        return state.advance(fields, dt), fields


def told(**about) -> Told:
    values = {"fields": ("u",), "grid": TRAINED} | about
    operator = Told(ToldConfig(), Description(**values))
    operator.reset(torch.Generator())
    return operator.eval()


HISTORY = torch.arange(16.0).reshape(1, 2, 1, 8)
LAST = np.arange(8.0, 16.0)
EXPECTED = [2 * LAST + 22, 2 * (2 * LAST + 22) + 22]


# ------------------------------------------------------------------------------- the grid


def test_without_a_context_the_history_lies_on_the_training_grid() -> None:
    frames = list(told().rollout(HISTORY, dt=0.1, steps=2))
    np.testing.assert_array_equal(torch.stack(frames)[:, 0, 0], EXPECTED)
    assert told().init(HISTORY).context.grid == TRAINED


def test_a_history_of_other_points_needs_its_context() -> None:
    finer = torch.zeros(1, 2, 1, 16)
    with pytest.raises(ValueError, match=r"16 points, .* trained on 8: .* Give a Context"):
        told().rollout(finer, dt=0.1, steps=1)
    own = Context(("u",), Grid((16,), (5.0,), ("periodic",)))
    assert (next(told().rollout(finer, own, dt=0.1, steps=1)) == 5).all()


def test_without_a_training_grid_the_unit_box_is_said_to_be_taken() -> None:
    assert (next(told(grid=None).rollout(HISTORY, dt=0.1, steps=1)) == 2 * HISTORY[:, -1] + 1).all()
    several = told(grid=None, provenance={"datasets": ["a", "b"]})
    with pytest.warns(UserWarning, match="several grids .* unit box is taken; give a Context"):
        several.rollout(HISTORY, dt=0.1, steps=1)


# ------------------------------------------------------------------------------- kinds


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, ">f4"])
@pytest.mark.parametrize("single", [False, True])
def test_arrays_come_back_as_arrays(dtype, single: bool) -> None:
    history = HISTORY.numpy().astype(dtype)
    frames = list(told().rollout(history[0] if single else history, dt=0.1, steps=2))
    assert all(isinstance(frame, np.ndarray) and frame.dtype == np.float32 for frame in frames)
    np.testing.assert_array_equal(np.stack(frames).reshape(2, 8), EXPECTED)
    assert frames[0].shape == ((1, 8) if single else (1, 1, 8))


@pytest.mark.parametrize("history", [HISTORY, HISTORY.long(), HISTORY.int(), HISTORY[0]])
def test_tensors_come_back_as_tensors(history) -> None:
    frames = list(told().rollout(history, dt=0.1, steps=2))
    assert all(frame.shape == (*history.shape[:-3], 1, 8) for frame in frames)
    np.testing.assert_array_equal(torch.stack(frames).reshape(2, 8), EXPECTED)


def test_numpy_has_no_bfloat16() -> None:
    frame = next(told().bfloat16().rollout(HISTORY.numpy(), dt=0.1, steps=1))
    assert frame.dtype == np.float32
    np.testing.assert_allclose(frame[0, 0], EXPECTED[0], rtol=1e-2)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (HISTORY.numpy().astype(complex), "must hold real numbers; got complex128"),
        (HISTORY.numpy().astype(str), "must hold real numbers; got <U32"),
        (HISTORY.to(torch.complex64), "must hold real numbers; got complex64"),
        (HISTORY > 3, "must hold real numbers; got bool"),
        (HISTORY[0, 0], r"needs a history \(B, T, C, \*S\) with 1 space axes; got shape \(1, 8\)"),
        (HISTORY[:, :1], r"must have shape \(B, 2, 1, 8\)"),
    ],
)
def test_other_histories_are_refused_in_a_line(history, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        told().rollout(history, dt=0.1, steps=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_missing_is_named(value: float) -> None:
    history = HISTORY.repeat(3, 1, 1, 1)
    history[1, 1, 0, 5] = value
    message = f"{value} in frame 1 of 2, trajectory 1 \\(1 such value"
    for given in (history, history.numpy()):
        with pytest.raises(ValueError, match=f"u has {message}"):
            told().rollout(given, dt=0.1, steps=1)
    masked = np.ma.masked_equal(HISTORY.numpy(), 3.0)
    with pytest.raises(ValueError, match="u has nan in frame 0 of 2 "):
        told().rollout(masked, dt=0.1, steps=1)


# ------------------------------------------------------------------------------- the context


def test_a_context_needs_no_batch_axis() -> None:
    mask = torch.tensor([[True] * 4 + [False] * 4])
    about = {"parameters": ("viscosity",)}
    context = Context(("u",), TRAINED, mask=mask, parameter_names=("viscosity",))
    context = replace(context, parameters=torch.tensor([0.5]))
    for history in (HISTORY[0], HISTORY, HISTORY.repeat(3, 1, 1, 1)):
        frame = next(told(**about).rollout(history, context, dt=0.1, steps=1))
        expected = torch.tensor([*EXPECTED[0][:4], *LAST[4:]]).float()
        assert torch.equal(frame, expected.expand(*history.shape[:-3], 1, 8))
    state = told(**about).init(HISTORY.repeat(3, 1, 1, 1), context)
    assert state.conditions.parameters is not None
    assert state.conditions.parameters.tolist() == [[0.5]] * 3
    wrong = replace(context, parameters=torch.ones(2, 1))
    with pytest.raises(ValueError, match=r"context.parameters must have shape \(1, 1\)"):
        told(**about).rollout(HISTORY, wrong, dt=0.1, steps=1)


# ------------------------------------------------------------------------------- gradients


def test_a_rollout_keeps_no_graph_unless_asked_for() -> None:
    operator = told()
    frames = operator.rollout(HISTORY.clone().requires_grad_(), dt=0.1, steps=2)
    assert torch.is_grad_enabled()
    assert not any(frame.requires_grad for frame in frames)
    frames = operator.rollout(HISTORY, dt=0.1, steps=3)
    next(frames)
    assert torch.is_grad_enabled()  # the caller's mode is the caller's
    *_, last = operator.rollout(HISTORY, dt=0.1, steps=2, gradients=True)
    last.sum().backward()
    assert operator.gain.grad is not None
    # d/dg Σ g (g u + 22) + 22 = Σ 2 g u + 22
    assert operator.gain.grad.item() == pytest.approx((4 * LAST + 22).sum())


def test_arrays_carry_no_gradients() -> None:
    with pytest.raises(ValueError, match="arrays carry no gradients; give the history as a tensor"):
        told().rollout(HISTORY.numpy(), dt=0.1, steps=1, gradients=True)


def test_memory_does_not_grow_with_the_steps() -> None:
    frames = (weakref.ref(f) for f in told().rollout(HISTORY, dt=0.1, steps=6))
    seen = [frame for frame in frames if gc.collect() is not None]
    assert sum(frame() is not None for frame in seen) <= 2


# ------------------------------------------------------------------------------- the dataset

SEA = {"u": (10.0, 2.0)}
BY_NAME = {"sea": (10.0, 2.0), "lake": (0.0, 0.1)}


def scaled(**datasets: tuple[float, float]) -> Told:
    """Statistics by dataset; pooled ones that would be wrong for all of them."""
    tables = ({"*": {"u": 100.0}}, {"*": {"u": 50.0}})
    for name, (mean, std) in datasets.items():
        tables[0][name], tables[1][name] = {"u": mean}, {"u": std}
    return told(normalizer=Statistics(*tables), provenance={"datasets": [*datasets]})


def answer(operator: Told, history, dataset: str) -> torch.Tensor:
    context = Context(("u",), TRAINED, dataset=dataset)
    return next(operator.rollout(history, context, dt=0.1, steps=1))


def of(mean: float, std: float, history: torch.Tensor) -> torch.Tensor:
    return (2 * (history[:, -1] - mean) / std + 22) * std + mean


WAVE = torch.sin(torch.arange(16.0)).reshape(1, 2, 1, 8)


def test_a_known_name_is_taken_whatever_the_values() -> None:
    for name, (mean, std) in BY_NAME.items():
        torch.testing.assert_close(answer(scaled(**BY_NAME), WAVE, name), of(mean, std, WAVE))


def test_data_under_another_name_are_told_by_their_values() -> None:
    operator = scaled(**BY_NAME)
    for name, (mean, std) in BY_NAME.items():
        history = mean + std * WAVE
        message = f"no statistics .* named 'renamed': those of '{name}' are taken, the nearest of"
        with pytest.warns(UserWarning, match=message) as caught:
            found = answer(operator, history, "renamed")
        torch.testing.assert_close(found, of(mean, std, history))
        assert "far" not in str(caught[0].message)


def test_the_only_dataset_is_taken() -> None:
    operator, history = scaled(sea=(10.0, 2.0)), 10 + 2 * WAVE
    with pytest.warns(UserWarning, match="named 'ocean': those of 'sea' are taken. To choose"):
        found = answer(operator, history, "ocean")
    torch.testing.assert_close(found, of(10.0, 2.0, history))
    assert torch.equal(answer(operator, history, ""), found)  # nothing else was said: no warning


def test_data_that_are_far_from_all_are_said_to_be() -> None:
    with pytest.warns(UserWarning, match=re.escape("far (u is 1e+03 ± 6.91 here and 10 ± 2 there")):
        answer(scaled(**BY_NAME), 1000 + 10 * WAVE, "mm")
    with pytest.warns(UserWarning, match="those of 'sea' are taken, though far"):
        answer(scaled(sea=(10.0, 2.0)), 1000 + 10 * WAVE, "")


def test_what_is_masked_tells_nothing() -> None:
    history = 10 + 2 * WAVE
    history[..., 4:] = 0.0  # land
    mask = torch.tensor([[True] * 4 + [False] * 4])
    context = Context(("u",), TRAINED, dataset="renamed", mask=mask)
    with pytest.warns(UserWarning, match="'sea' are taken"):
        scaled(sea=(10.0, 2.0), land=(5.0, 5.0)).init(history, context)


def test_what_does_not_fit_is_refused_for_that_and_not_told() -> None:
    mask = torch.ones(1, 8, dtype=torch.bool)
    context = Context(("u",), TRAINED, dataset="renamed", mask=mask)
    for history in (torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 1, 9), torch.zeros(1, 1, 1, 8)):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="no statistics")
            with pytest.raises(ValueError, match=r"history must have shape \(B, 2, 1, 8\)"):
                scaled(**BY_NAME).rollout(history, context, dt=0.1, steps=1)


def test_fields_that_never_varied_tell_datasets_apart() -> None:
    operator = scaled(still=(3.0, 0.0), sea=(10.0, 2.0))
    with pytest.warns(UserWarning, match="'still' are taken"):
        answer(operator, torch.full((1, 2, 1, 8), 3.0), "renamed")
    with pytest.warns(UserWarning, match="'sea' are taken"):
        answer(operator, 3 + 0.1 * WAVE, "renamed")


@pytest.mark.parametrize("unit", [1e-60, 1e-200, 1e200])
def test_datasets_are_told_apart_in_every_unit(unit: float) -> None:
    sea, lake, seen = (Size(unit * mean, unit * std) for mean, std in ((10, 2), (0, 0.1), (9, 1)))
    assert seen.misfit(sea) < seen.misfit(lake)
    # ln 2 + (1² + 1²) / (2 · 2²)
    expected = math.log(2 * unit) + 0.25
    assert seen.misfit(sea) == pytest.approx(expected)


def test_statistics_that_are_not_by_name_warn_of_nothing() -> None:
    operator = told(normalizer=Statistics({"*": {"u": 3.0}}, {"*": {"u": 2.0}}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(answer(operator, WAVE, "any"), of(3.0, 2.0, WAVE))


# ------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("scale", "inside", "outside", "message"),
    [
        (Standard(1.0, 0.5), 3.9, 4.1, r"viscosity = 4.1 is 6.2 deviations .* 1 ± 0.5"),
        (Standard(1.0, 0.5), -1.9, -2.1, r"viscosity = -2.1 is 6.2 deviations"),
        (Standard.of(0.01, 0.0), 0.01, 0.03, r"viscosity = 0.03 was 0.01 in all of the training"),
        (Standard(0.0, 1.0, log=True), 400.0, 500.0, r"viscosity = 500 is 6.21 .* exp\(0 ± 1\)"),
    ],
)
def test_parameters_far_outside_the_training_data(scale, inside, outside, message) -> None:
    operator = told(parameters=("viscosity",), condition_scales={"viscosity": scale})
    context = Context(("u",), TRAINED, parameter_names=("viscosity",))
    operator.init(HISTORY, replace(context, parameters=torch.tensor([[inside]])))
    far = replace(context, parameters=torch.tensor([[inside], [outside]]))
    with pytest.warns(UserWarning, match=message):
        operator.init(HISTORY.repeat(2, 1, 1, 1), far)
    operator.train().init(HISTORY.repeat(2, 1, 1, 1), far)  # training data are what they are
