"""Grids, windows and batches: what they accept, and that nothing is mixed up silently."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context, Window, collate

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def make_window(
    shape: tuple[int, ...] = (4, 3),
    history: int = 2,
    horizon: int = 3,
    seed: int = 0,
    **changes: Any,
) -> Window:
    generator = torch.Generator().manual_seed(seed)

    def values(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator)

    context = Context(
        fields=("u", "pressure"),
        grid=Grid.unit(shape),
        dt=0.5,
        dataset="example",
        constants=values(1, *shape),
        constant_fields=("depth",),
        parameters=values(3),
        parameter_names=("nu", "rho", "g"),
        mask=values(2, *shape) > 0,
    )
    window = Window(
        history=values(history, 2, *shape),
        target=values(horizon, 2, *shape),
        lead_times=0.5 * torch.arange(1.0, horizon + 1),
        context=context,
    )
    return change(window, **changes)


def change(window: Window, **changes: Any) -> Window:
    """The window with other parts, which may be those of its context."""
    own = {name: changes.pop(name) for name in [*changes] if name in vars(window)}
    return replace(window, **own, context=replace(window.context, **changes))


# ------------------------------------------------------------------ grids


def test_points_lie_at_the_origin_and_one_spacing_apart() -> None:
    grid = Grid((4, 2), (2.0, 3.0), ("periodic", "wall-open"), (1.0, -1.0))
    assert grid.spacing == (0.5, 1.5)
    x, y = grid.coordinates()
    assert x.tolist() == [1.0, 1.5, 2.0, 2.5]
    assert y.tolist() == [-1.0, 0.5]
    assert (grid.ndim, grid.periodic) == (2, False)


@given(SHAPES)
def test_the_unit_box(shape: tuple[int, ...]) -> None:
    grid = Grid.unit(shape)
    assert grid.periodic
    assert grid.origin == (0.0,) * len(shape)
    for n, values in zip(shape, grid.coordinates(), strict=True):
        np.testing.assert_allclose(values, np.arange(n) / n)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (((), (), ()), "1, 2 or 3 axes"),
        (((2,) * 4, (1.0,) * 4, ("open",) * 4), "1, 2 or 3 axes"),
        (((2, 2), (1.0,), ("open", "open")), "grid.lengths needs one entry per axis"),
        (((2,), (1.0,), ("open", "open")), "grid.boundary needs one entry per axis"),
        (((2,), (1.0,), ("open",), (0.0, 0.0)), "grid.origin needs one entry per axis"),
        (((0,), (1.0,), ("open",)), "shape must be positive"),
        (((2,), (0.0,), ("open",)), "lengths must be positive"),
        (((2,), (float("inf"),), ("open",)), "lengths must be positive and finite"),
        (((2,), (1.0,), ("slip",)), "got 'slip'"),
        (((2,), (1.0,), ("wall-slip",)), "got 'wall-slip'"),
    ],
)
def test_impossible_grids(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(*values)


def test_equal_grids_are_equal_and_hashable() -> None:
    assert {Grid.unit((3,)), Grid((3,), (1.0,), ("periodic",))} == {Grid.unit((3,))}


# ------------------------------------------------------------------ windows


@given(shape=SHAPES, history=st.integers(1, 3), horizon=st.integers(1, 3), size=st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_collating_stacks_every_tensor(
    shape: tuple[int, ...], history: int, horizon: int, size: int
) -> None:
    windows = [make_window(shape, history, horizon, seed) for seed in range(size)]
    batch = collate(windows)
    assert batch.batched
    assert not windows[0].batched
    assert batch.history.shape == (size, history, 2, *shape)
    assert batch.lead_times.shape == (size, horizon)
    for name in ("history", "target", "lead_times", "constants", "parameters"):
        for i, window in enumerate(windows):
            assert torch.equal(getattr(batch, name)[i], getattr(window, name))
    for i, window in enumerate(windows):
        assert torch.equal(batch.context.mask[i], window.context.mask)
    for name in ("fields", "grid", "dt", "dataset", "constant_fields", "parameter_names"):
        assert getattr(batch, name) == getattr(windows[0], name)


def test_collating_without_constants_and_parameters() -> None:
    batch = collate([make_window(constants=None, parameters=None)] * 2)
    assert batch.constants is None
    assert batch.parameters is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": ("u", "density")}, "share fields"),
        ({"grid": Grid((4, 3), (2.0, 1.0), ("periodic",) * 2)}, "share grid"),
        ({"dt": 0.25}, "share dt"),
        ({"dataset": "other"}, "share dataset"),
        ({"constant_fields": ("mask",)}, "share constant_fields"),
        ({"parameter_names": ("nu", "rho", "c")}, "share parameter_names"),
        ({"inputs": ("a", "b")}, "share inputs"),
    ],
)
def test_windows_of_different_kinds_do_not_mix(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        collate([make_window(), make_window(**changes)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"history": torch.zeros(2, 2, 4)}, "history must be"),
        ({"history": torch.zeros(1, 1, 2, 2, 4, 3)}, "history must be"),
        ({"history": torch.zeros(2, 3, 4, 3)}, r"window.history must have shape \(2, 2, 4, 3\)"),
        ({"history": torch.zeros(2, 2, 4, 2)}, "window.history must have shape"),
        ({"target": torch.zeros(3, 1, 4, 3)}, "window.target must have shape"),
        ({"target": torch.zeros(2, 2, 4, 3)}, "window.target must have shape"),
        ({"lead_times": torch.ones(2)}, "window.target must have shape"),
        ({"lead_times": torch.tensor(1.0)}, "must have shape"),
        ({"constants": torch.zeros(2, 4, 3)}, r"window.constants must have shape \(1, 4, 3\)"),
        ({"parameters": torch.zeros(2)}, r"window.parameters must have shape \(3,\)"),
        ({"parameters": torch.zeros(1, 3)}, "window.parameters must have shape"),
        ({"mask": torch.ones(1, 4, 3) > 0}, r"window.mask must have shape \(2, 4, 3\)"),
        ({"inputs": ("depth",)}, r"window.history must have shape \(2, 1, 4, 3\)"),
    ],
)
def test_shapes_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change(make_window(), **changes)


def test_a_batch_needs_the_batch_axis_everywhere() -> None:
    batch = collate([make_window(), make_window()])
    for name in ("target", "lead_times"):
        with pytest.raises(ValueError, match="must have shape"):
            replace(batch, **{name: getattr(batch, name)[0]})
    for name in ("constants", "parameters", "mask"):
        with pytest.raises(ValueError, match="must have shape"):
            change(batch, **{name: getattr(batch.context, name)[0]})


@pytest.mark.parametrize("batched", [False, True])
def test_fields_are_selected_by_name_and_order(batched: bool) -> None:
    window = collate([make_window(), make_window(seed=1)]) if batched else make_window()
    chosen = window.select(("pressure", "u"))
    assert chosen.fields == ("pressure", "u")
    assert torch.equal(chosen.history, window.history.flip(-3))
    assert torch.equal(chosen.target, window.target.flip(-3))
    assert torch.equal(chosen.context.mask, window.context.mask.flip(-3))
    assert window.select(window.fields) is window
    with pytest.raises(ValueError, match="'example' has no field w; it has u, pressure"):
        window.select(("u", "w"))


def test_inputs_of_a_steady_window_are_selected_apart_from_its_fields() -> None:
    window = make_window(history=1, horizon=1, inputs=("source", "coefficient"))
    assert window.context.steady
    chosen = window.select(("pressure",), ("coefficient",))
    assert (chosen.context.inputs, chosen.fields) == (("coefficient",), ("pressure",))
    assert torch.equal(chosen.history, window.history[:, 1:])
    assert torch.equal(chosen.target, window.target[:, 1:])
    assert window.select(("pressure",)).context.inputs == window.context.inputs
    with pytest.raises(ValueError, match="no field w; it has source, coefficient"):
        window.select(("u",), ("w",))


def test_windows_without_a_mask_are_predicted_everywhere() -> None:
    assert collate([make_window(mask=None)] * 2).context.mask is None
    masked = make_window()
    batch = collate([make_window(mask=None), masked])
    assert batch.context.mask[0].all()
    assert torch.equal(batch.context.mask[1], masked.context.mask)


def test_moving_keeps_lead_times_on_the_host() -> None:
    moved = collate([make_window()]).to("meta")
    assert moved.history.is_meta
    assert moved.parameters.is_meta
    assert moved.context.mask.is_meta
    assert not moved.lead_times.is_meta
