"""DyMixOp against reference outputs, and the properties its docstring promises."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pelagos.datasets.fields import Context, Grid
from pelagos.operators import create
from pelagos.operators.compat import load_dymixop, save_dymixop

GOLDEN = Path(__file__).parent / "golden" / "dymixop"
VECTORS = sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.glob("*/io_*.npz"))


def load_vector(name):
    """The operator, its input history with context, and the reference arrays."""
    path = GOLDEN / name
    meta = json.loads((path.parent / "meta.json").read_text())["ios"][path.stem[3:]]
    width = meta["grid_width_argument"] / meta["infer_scaling_factor"]
    operator = load_dymixop(path.parent, grid_width=width)
    arrays = {key: torch.from_numpy(value) for key, value in np.load(path).items()}
    grid = tuple(arrays["x"].shape[2:])
    names = tuple(f"coordinate_{axis}" for axis in "xyz"[: len(grid)])
    context = Context(
        operator.description.fields,
        Grid.unit(grid),
        constants=arrays["coor"],
        constant_fields=names,
    )
    return operator, context, arrays, meta


def predict(operator, context, arrays, x):
    history = x.unflatten(1, (operator.history, -1))
    steps = arrays["output"].shape[1]
    return torch.stack(list(operator.rollout(history, context, dt=1.0, steps=steps)), 1)


@pytest.mark.parametrize("name", VECTORS)
def test_published_function(name):
    operator, context, arrays, _ = load_vector(name)
    output = predict(operator, context, arrays, arrays["x"])
    error = (output - arrays["output"]).abs().max() / arrays["output"].abs().max()
    assert error < 5e-6


@pytest.mark.parametrize("name", VECTORS)
def test_published_gradients(name, tmp_path):
    operator, context, arrays, meta = load_vector(name)
    x = arrays["x"].requires_grad_()
    output = predict(operator, context, arrays, x)
    loss = (output - arrays["labels"]).square().mean() / arrays["labels"].square().mean()
    loss.backward()
    torch.testing.assert_close(loss.detach(), arrays["loss_relative_mse"], rtol=1e-5, atol=0)
    torch.testing.assert_close(x.grad, arrays["grad_x"], rtol=1e-4, atol=1e-6)
    # The norms of all parameter gradients, under their published names: a copy whose weights are
    # the gradients goes through the same renaming.
    gradient = create("dymixop", description=operator.description, **vars(operator.config))
    with torch.no_grad():
        for own, trained in zip(gradient.parameters(), operator.parameters(), strict=True):
            own.copy_(trained.grad)
    named = load_file(save_dymixop(gradient, tmp_path / "g") / "state_dict.safetensors")
    for key, (norm, _) in meta["param_grad"].items():
        parts = [named[k] for k in (key, f"{key}_real", f"{key}_imag") if k in named]
        found = torch.cat([part.flatten() for part in parts]).norm()
        assert found == pytest.approx(norm, rel=1e-4, abs=1e-6), key


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_published_weights_round_trip_exactly(case, tmp_path):
    operator = load_dymixop(GOLDEN / case)
    written = load_file(save_dymixop(operator, tmp_path / "out") / "state_dict.safetensors")
    original = load_file(GOLDEN / case / "state_dict.safetensors")
    assert set(written) == set(original)
    for name, value in original.items():
        assert torch.equal(written[name], value), name
    again = load_dymixop(tmp_path / "out")
    for a, b in zip(operator.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_published_weights_of_another_size_are_refused(tmp_path):
    config = json.loads((GOLDEN / "1d" / "config.json").read_text())
    state = load_file(GOLDEN / "1d" / "state_dict.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**config, "global_modes": 4}))
    save_file(state, tmp_path / "state_dict.safetensors")
    with pytest.raises(ValueError, match=r"gt\.w has shape .* does not fit 8 channels and 4 modes"):
        load_dymixop(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    del state["lift.weight"]
    save_file(state, tmp_path / "state_dict.safetensors")
    with pytest.raises(ValueError, match=r"missing lift\.weight"):
        load_dymixop(tmp_path)


def test_same_function_at_twice_the_resolution():
    """With `resolution` set, the finite differences see the true width: weights keep meaning.

    On a smooth field the whole network converges as the grid is refined; without the width the
    finite-difference branch alone would change by a factor of two. (The coordinate channel jumps
    at the periodic edge, where no stencil converges; it is switched off.)
    """

    def outputs(resolution):
        operator = create(
            "dymixop", fields=("u",), ndim=1, hidden=8, layers=2, modes=4, resolution=resolution
        ).double()
        with torch.no_grad():
            operator.lift.weight[:, 1] = 0
        values = []
        for n in (128, 256, 512):
            x = torch.arange(n, dtype=torch.float64) / n
            field = torch.sin(2 * torch.pi * x) + 0.3 * torch.cos(4 * torch.pi * x)
            out = next(operator.rollout(field[None, None, None], dt=1.0, steps=1))
            values.append(out[0, 0, :: n // 128])
        return [(values[i] - values[i + 1]).abs().max().item() for i in (0, 1)]

    scaled, unscaled = outputs((128,)), outputs(())
    # One-sided stencils (random taps) are first order in the width: errors halve.
    assert scaled[1] < 0.6 * scaled[0]
    assert scaled[1] < 0.2 * unscaled[1]


def test_rotating_a_periodic_field_without_coordinates_rotates_the_prediction():
    operator = create("dymixop", fields=("u",), ndim=1, hidden=8, layers=2, modes=4).double()
    with torch.no_grad():
        operator.lift.weight[:, 1] = 0  # the coordinate channel
    x = torch.randn(1, 1, 1, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = next(operator.rollout(x, dt=1.0, steps=1))
    rolled = next(operator.rollout(x.roll(5, -1), dt=1.0, steps=1))
    torch.testing.assert_close(rolled, y.roll(5, -1))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"ndim": 4}, "ndim must be 1, 2 or 3"),
        ({"ndim": 1, "hidden": 0}, "hidden must be at least 1"),
        ({"ndim": 1, "kernel_size": 2}, "kernel_size must be odd"),
        ({"ndim": 2, "resolution": [8]}, "needs 2 entries"),
        ({"ndim": 1, "hiden": 8}, "unknown key 'hiden'; did you mean 'hidden'"),
        ({}, "required: ndim"),
    ],
)
def test_impossible_configs_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        create("dymixop", fields=("u",), **config)
