"""DyMixOp against reference outputs, and the properties its docstring promises."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators import Description, create
from pelagos.operators.compat import load_dymixop, save_dymixop
from pelagos.operators.dymixop import mixing_1d
from pelagos.operators.layers.spectral import SpectralConvolution

GOLDEN = Path(__file__).parents[2] / "golden" / "dymixop"
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
    frames = operator.rollout(history, context, dt=1.0, steps=steps, gradients=True)
    return torch.stack(list(frames), 1)


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


@pytest.mark.parametrize("nested", [False, True])
def test_published_torch_checkpoints_open_like_their_tensors(nested, tmp_path):
    """A bare state dict, or the trainer's checkpoint around it, with complex weights."""
    expected = load_dymixop(GOLDEN / "2d_ks3")
    pairs = load_file(GOLDEN / "2d_ks3" / "state_dict.safetensors")
    state = {}
    for name, value in pairs.items():
        if name.endswith("_real"):
            stem = name.removesuffix("_real")
            state[stem] = torch.complex(value, pairs[f"{stem}_imag"])
        elif not name.endswith("_imag"):
            state[name] = value
    wrapped = {"epoch": 3, "dataset_name": "1dKS", "model_state_dict": state}
    torch.save(wrapped if nested else state, tmp_path / "checkpoint_at_end.pth")
    config = GOLDEN / "2d_ks3" / "config.json"
    operator = load_dymixop(tmp_path / "checkpoint_at_end.pth", config=config)
    for a, b in zip(expected.parameters(), operator.parameters(), strict=True):
        assert torch.equal(a, b)
    (tmp_path / "config.json").write_text(config.read_text())
    assert load_dymixop(tmp_path).config == expected.config
    (tmp_path / "other.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"one \.safetensors or \.pth file"):
        load_dymixop(tmp_path)
    with pytest.raises(ValueError, match="damaged"):
        load_dymixop(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ({"resolution": (16,)}, r"train it with resolution: \[\]"),
        ({"time_input": True}, "only inputs"),
    ],
)
def test_what_the_published_code_cannot_compute_is_not_written(operator, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_dymixop(small(**operator), tmp_path / "out")


def small(description=None, **config):
    known = {"ndim": 1, "hidden": 6, "layers": 2, "modes": 3, **config}
    description = description or Description(fields=("u",))
    return create("dymixop", description=description, **known)


def values(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def once(operator, history, context, dt=1.0):
    return next(operator.rollout(history, context, dt=dt, steps=1, gradients=True))


class TestBoundaries:
    def test_walls_change_nothing_far_from_them_and_periodic_grids_nothing_at_all(self):
        operator, published = small(ndim=2), small(ndim=2, padding="periodic")
        history, grid = values(1, 1, 1, 16, 16), Grid.unit((16, 16))
        context = Context(("u",), grid)
        assert torch.equal(once(operator, history, context), once(published, history, context))
        walls = replace(context, grid=replace(grid, boundary=("wall", "periodic")))
        assert torch.equal(once(published, history, walls), once(published, history, context))
        assert not torch.equal(once(operator, history, walls), once(operator, history, context))

    def test_taps_do_not_reach_across_a_wall(self):
        """Without the spectral branch, a layer of 3-wide stencils sees one point to each side."""
        operator = small(layers=1, kernel_size=1)
        with torch.no_grad():
            operator.mixing[0].globals[0].weight.zero_()
        history = values(1, 1, 1, 16)
        moved = history.clone()
        moved[..., 0] += 1.0
        for boundary, reached in (("periodic", [0, 1, 15]), ("wall", [0, 1]), ("open", [0, 1])):
            context = Context(("u",), Grid((16,), (1.0,), (boundary,)))
            change = once(operator, moved, context) - once(operator, history, context)
            assert change[0, 0].nonzero().flatten().tolist() == reached

    def test_the_same_weights_at_a_finer_grid_with_ends(self):
        """Modes are taken from the points that weights know: at these nothing changes."""
        operator = small(modes=4, resolution=(64,)).double()
        found = []
        for n in (64, 128, 256):
            x = (torch.arange(n, dtype=torch.float64)) / n
            grid = Grid((n,), (1.0,), ("open",))
            field = torch.exp(-40 * (x - 0.4) ** 2)[None, None, None]
            found.append(once(operator, field, Context(("u",), grid))[0, 0, :: n // 64])
        torch.testing.assert_close(found[1], found[0])
        torch.testing.assert_close(found[2], found[0])

    def test_more_modes_than_the_known_points_have_are_refused(self):
        operator = small(modes=12, resolution=(8,))
        context = Context(("u",), Grid((32,), (1.0,), ("open",)))
        with pytest.raises(ValueError, match="12 modes need a grid of at least 22 points; got 8"):
            once(operator, values(1, 1, 1, 32), context)


class TestConditions:
    def test_constants_and_parameters_are_inputs(self):
        description = Description(
            fields=("u",), constant_fields=("depth",), parameters=("viscosity", "drag")
        )
        operator = small(description)
        assert operator.lift.weight.shape[1] == 1 + 1 + 2 + 1
        axis = operator.field_axes()["lift.weight"]
        assert (axis.names, axis.extra) == (("u",), ("depth", "viscosity", "drag"))
        context = Context(
            ("u",),
            Grid.unit((16,)),
            constants=values(2, 1, 16, seed=1),
            constant_fields=("depth",),
            parameters=torch.tensor([[0.1, 2.0], [0.3, 4.0]]),
            parameter_names=("viscosity", "drag"),
        )
        history = values(1, 1, 1, 16).expand(2, -1, -1, -1)
        out = once(operator, history, context)
        same = replace(context, constants=context.constants[:1].expand(2, -1, -1))
        apart = once(operator, history, same)
        assert (out[1] - apart[1]).abs().max() > 1e-4  # the constant field matters
        assert (apart[0] - apart[1]).abs().max() > 1e-4  # and so do the parameters
        uniform = replace(same, parameters=same.parameters[:1].expand(2, -1))
        assert torch.equal(*once(operator, history, uniform))
        with pytest.raises(ValueError, match="takes the constant field"):
            operator.init(history, Context(("u",), Grid.unit((16,))))

    def test_a_steady_problem_maps_inputs_to_fields(self):
        description = Description(fields=("pressure",), inputs=("coefficient", "source"))
        operator = small(description, ndim=2, modes=2)
        context = Context(("pressure",), Grid.unit((8, 8)), inputs=("coefficient", "source"))
        history = values(2, 1, 2, 8, 8)
        assert once(operator, history, context).shape == (2, 1, 8, 8)
        with pytest.raises(ValueError, match="no meaning for a steady problem"):
            small(description, time_input=True)


class TestTime:
    def test_several_time_steps_are_told_apart_and_others_refused(self):
        description = Description(fields=("u",), time_steps=(0.1, 0.2))
        with pytest.raises(ValueError, match=r"several time steps \(0\.1, 0\.2\) needs time_input"):
            small(description)
        operator, context = small(description, time_input=True), Context(("u",), Grid.unit((16,)))
        history = values(1, 1, 1, 16)
        a, b = (once(operator, history, context, dt) for dt in (0.1, 0.2))
        assert (a - b).abs().max() > 1e-4
        with pytest.raises(ValueError, match=r"trained at dt = 0\.1, 0\.2 and cannot step by 0\.3"):
            once(operator, history, context, 0.3)
        # Every trajectory of a batch has its own.
        state = operator.init(history.expand(2, -1, -1, -1), context)
        _, both = operator.step(state, torch.tensor([0.1, 0.2]))
        torch.testing.assert_close(both, torch.cat((a, b)))

    def test_the_unit_of_time_is_the_time_scale(self):
        one, other = (
            small(Description(fields=("u",), time_scale=scale), time_input=True)
            for scale in (1.0, 10.0)
        )
        history, context = values(1, 1, 1, 16), Context(("u",), Grid.unit((16,)))
        torch.testing.assert_close(
            once(one, history, context, 0.5), once(other, history, context, 5.0)
        )

    def test_the_gate_opens_with_the_structure_change(self):
        """σ(λτ): with λ = 0 any τ gives one half; large λτ gives the full update."""
        history, context = values(1, 1, 1, 16), Context(("u",), Grid.unit((16,)))
        slow, fast = (small(structure_change=tau) for tau in (0.01, 10.0))
        assert (once(slow, history, context) - once(fast, history, context)).abs().max() > 1e-4
        with torch.no_grad():
            slow.gate.zero_()
            fast.gate.zero_()
        assert torch.equal(once(slow, history, context), once(fast, history, context))


@pytest.mark.parametrize("shape", [(15,), (9, 14), (7, 6, 5)])
@pytest.mark.parametrize(
    "config",
    [
        {"history": 3},
        {"nonlinear_branches": 2, "linear_branches": 3},
        {"linear_branches": 0},
        {"kernel_size": 3, "mixing_kernel_size": 3, "history": 2},
    ],
)
def test_channels_last_and_collapsed_is_the_plain_network(shape, config):
    """Any history, branches, kernels, odd and non-square grids: the equations, written plainly."""
    operator = small(ndim=len(shape), modes=2, structure_change=0.3, **config).double()
    history = values(2, operator.history, 1, *shape).double()
    found = once(operator, history, Context(("u",), Grid.unit(shape)))
    axes = [torch.arange(n, dtype=torch.float64) / n for n in shape]
    mesh = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(2, -1, *shape)
    torch.testing.assert_close(
        found, plainly(operator, torch.cat((history.flatten(1, 2), mesh), 1))
    )


@pytest.mark.parametrize("boundary", ["periodic", "wall"])
@pytest.mark.parametrize("points", [16, 5])
def test_the_backward_pass_in_1d_is_that_of_the_plain_operations(boundary, points, monkeypatch):
    """Also, layers collapsed once for all steps (in `forward`) are those collapsed in each."""
    operator = small(modes=2, structure_change=0.02).double()
    context = Context(("u",), Grid((points,), (1.0,), (boundary,)))
    start = values(3, 1, 1, points).double().requires_grad_()
    target = values(3, 2, 1, points).double()
    window = Window(start, target, torch.tensor([[1.0, 2.0]] * 3), context)

    def gradients(prediction):
        return torch.autograd.grad(prediction.cos().sum(), [start, *operator.parameters()])

    def rolled_out():
        frames = operator.rollout(start, context, dt=1.0, steps=2, gradients=True)
        return torch.stack(list(frames), 1)

    used, layer = [], mixing_1d.mixing_layer
    monkeypatch.setattr(mixing_1d, "mixing_layer", lambda *a: used.append(1) or layer(*a))
    once, each = gradients(operator(window)), gradients(rolled_out())
    assert len(used) == 8
    monkeypatch.setattr(mixing_1d, "applies", lambda *_: False)
    for a, b, c in zip(once, each, gradients(rolled_out()), strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)


def plainly(operator, x):
    """The paper's equations, one by one, with circular convolutions of torch."""
    n = operator.ndim

    def conv(layer, x, weight=None):
        weight = layer.weight if weight is None else weight
        bias = getattr(layer, "bias", None)
        pad = [size // 2 for size in reversed(weight.shape[2:]) for _ in range(2)]
        x = F.pad(x, pad, mode="circular") if any(pad) else x
        return (F.conv1d, F.conv2d, F.conv3d)[n - 1](x, weight, bias)

    def difference(layer, x):
        weight = layer.weight.clone()
        weight[(..., *(1,) * n)] -= layer.weight.flatten(2).sum(2)
        return conv(layer, x, weight)

    start = latent = conv(operator.reduce, conv(operator.lift, x))
    gate = torch.sigmoid(operator.gate * operator.config.structure_change)
    total = start + operator.evolution_bias
    for i, layer in enumerate(operator.mixing):
        mixed = sum(
            g(latent) * conv(s, latent) for g, s in zip(layer.globals, layer.locals, strict=True)
        )
        linear = sum(conv(c, latent) for c in layer.linear)
        linear = linear + sum(difference(d, latent) for d in layer.differences)
        change = F.gelu(linear + conv(layer.contract, conv(layer.expand, mixed)))
        total = total + operator.evolution[i] * change
        latent = latent + gate * change
    return conv(operator.unlift, conv(operator.unreduce, total))


def test_half_precision_autocast_leaves_the_spectral_branch_alone(monkeypatch):
    """The latent state stays in single precision, and so does what the Fourier modes see."""
    operator, seen = small(ndim=2), []
    for module in operator.modules():
        if isinstance(module, SpectralConvolution):
            module.product = lambda modes, own=module.product: (
                seen.append(modes.dtype) or own(modes)
            )
    history, context = values(1, 1, 1, 8, 8), Context(("u",), Grid.unit((8, 8)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = once(operator, history, context)
    assert seen == [torch.float32] * 2
    assert (half.float() - once(operator, history, context)).norm() < 0.02 * half.float().norm()


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
    """As published, the finite differences see the true width: weights keep meaning.

    On a smooth field the whole network converges as the grid is refined; without the width the
    finite-difference branch alone would change by a factor of two. (The coordinate channel jumps
    at the periodic edge, where no stencil converges; it is switched off.)
    """

    def outputs(resolution):
        operator = create(
            "dymixop", fields=("u",), ndim=1, hidden=8, layers=2, modes=4, resolution=resolution,
            kernels="points",
        ).double()  # fmt: skip
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
