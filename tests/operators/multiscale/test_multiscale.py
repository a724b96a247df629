"""The multiscale transformer against reference outputs, and what its docstrings promise."""

import itertools
import json
import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Standard
from pelagos.datasets.fields.window import Context, Window
from pelagos.finetune.adapt.adapt import adapt
from pelagos.operators import Description, MultiscaleTransformer, create
from pelagos.operators.compat import load_scot, save_scot
from pelagos.operators.layers.resampling import fourier_resample
from pelagos.operators.multiscale.attention_kernel import attend, attend_and_learn
from pelagos.operators.multiscale.config import PRESETS
from pelagos.operators.multiscale.position_bias import PositionBias, expand
from pelagos.operators.multiscale.tiling import WindowGrid, pyramid

GOLDEN = Path(__file__).parents[2] / "golden" / "scot"
CASES = sorted(path.name for path in GOLDEN.iterdir())
SHARP = "masked_keys"  # attention that sees through the mask; its float32 has fewer digits
VECTORS = sorted(
    str(path.relative_to(GOLDEN)) for path in GOLDEN.glob("*/io_*.npz") if path.parent.name != SHARP
)
SMALL = {"width": 8, "depths": (2, 2), "heads": (2, 2), "skips": (1, 0), "patch": 2, "window": 4}


def small(ndim=2, fields=("u",), seed=0, lively=True, **config):
    """A small operator; lively weights, because fresh gains are near zero."""
    operator = create("multiscale", fields=fields, seed=seed, ndim=ndim, **{**SMALL, **config})
    if lively:
        enliven(operator)
    return operator


@torch.no_grad()
def enliven(operator):
    generator = torch.Generator().manual_seed(1)
    for name, parameter in operator.named_parameters():
        if name.startswith("conditioning"):
            parameter.normal_(1.0 if "gain_offset" in name else 0.0, 0.2, generator=generator)
        elif parameter.ndim > 1:
            scale = parameter[0].numel() ** -0.5
            parameter.normal_(0, scale, generator=generator)
        elif name.endswith("scale") and name.startswith("skips"):
            parameter.fill_(0.5)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def relative_error(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def load_vector(name):
    arrays = {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / name).items()}
    arrays.setdefault("time", torch.zeros(len(arrays["pixel_values"])))
    return load_scot((GOLDEN / name).parent), arrays


def predict(operator, arrays):
    """The network's output, with masked entries replaced by the labels as the objective does."""
    output = operator.network(arrays["pixel_values"], arrays["time"])
    if "pixel_mask" not in arrays:
        return output
    mask = arrays["pixel_mask"]
    return torch.where(mask.reshape(*mask.shape, *(1,) * (4 - mask.ndim)), arrays["labels"], output)


def published_loss(config, output, labels):
    slices = config["channel_slice_list_normalized_loss"]
    if slices is None:
        return (output - labels).abs().pow(config["p"]).mean()
    groups = itertools.pairwise(slices)
    pairs = [(output[:, a:b] - labels[:, a:b], labels[:, a:b]) for a, b in groups]
    p = config["p"]
    return torch.stack(
        [e.abs().pow(p).mean() / (y.abs().pow(p).mean() + 1e-10) for e, y in pairs]
    ).mean()


class TestPublishedFunction:
    @pytest.mark.parametrize("name", VECTORS)
    @pytest.mark.parametrize("gradients", [False, True])
    def test_output(self, name, gradients):
        operator, arrays = load_vector(name)
        with torch.set_grad_enabled(gradients):
            output = predict(operator, arrays)
        assert relative_error(output, arrays["output"]) < 1e-5

    @pytest.mark.parametrize("name", VECTORS)
    def test_gradients(self, name, tmp_path):
        operator, arrays = load_vector(name)
        path = GOLDEN / name
        config = json.loads((path.parent / "config.json").read_text())
        for key in ("pixel_values", "time"):
            arrays[key].requires_grad_()
        loss = published_loss(config, predict(operator, arrays), arrays["labels"])
        loss.backward()
        torch.testing.assert_close(loss.detach(), arrays["loss"], rtol=1e-5, atol=0)
        for key in ("pixel_values", "time"):
            if f"grad_{key}" in arrays:
                # Relative to the largest: single entries of the reference differ from float64
                # by more than 1e-4 of themselves, one of these by 1.2e-4 of the largest.
                assert relative_error(arrays[key].grad, arrays[f"grad_{key}"]) < 2e-4
        meta = json.loads((path.parent / "meta.json").read_text())["ios"][path.stem[3:]]
        # A copy whose weights are the gradients goes through the same renaming.
        copy = create("multiscale", description=operator.description, **vars(operator.config))
        with torch.no_grad():
            for own, trained in zip(copy.parameters(), operator.parameters(), strict=True):
                own.copy_(trained.grad)
        named = load_file(save_scot(copy, tmp_path / "g") / "model.safetensors")
        for key, (norm, _) in meta.get("param_grad", {}).items():
            assert named[key].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), key

    def test_sharp_attention_sees_through_the_published_mask(self):
        operator, arrays = load_vector(f"{SHARP}/io_main.npz")
        assert operator.config.edges == "masked"
        with torch.no_grad():
            single = predict(operator, arrays)
        # The published code's own single precision is 1.2e-5 from its double precision.
        assert relative_error(single, arrays["output"]) < 5e-5
        learned = predict(operator, arrays)  # the way of training
        assert learned.requires_grad
        assert relative_error(learned, arrays["output"]) < 5e-5
        double = operator.double()
        exact, times = arrays["output_float64"], arrays["time"].double()
        with torch.no_grad():
            found = double.network(arrays["pixel_values"].double(), times)
            double.config = replace(double.config, edges="cut")
            cut = double.network(arrays["pixel_values"].double(), times)
        assert relative_error(found, exact) < 1e-6
        assert relative_error(cut, exact) > 1e-3

    @pytest.mark.parametrize("shape", [(8,), (8, 8), (9, 8), (6, 8, 5)])
    def test_masked_windows_are_cut_ones_where_attention_is_not_sharp(self, shape):
        cut = small(ndim=len(shape), patch=1)
        masked = small(ndim=len(shape), patch=1, edges="masked")
        masked.load_state_dict(cut.state_dict())
        x = random(2, 1, *shape)
        for gradients in (False, True):
            with torch.set_grad_enabled(gradients):
                one, two = (op.network(x, torch.ones(2)) for op in (cut, masked))
            assert relative_error(one, two) < 1e-5
        assert not cut.lets_masked_through()

    def test_exporting_what_the_published_code_computes_otherwise_warns(self, tmp_path):
        operator = load_scot(GOLDEN / SHARP)
        operator.config = replace(operator.config, edges="cut")
        with pytest.warns(UserWarning, match="lets tokens beyond the edges through its mask"):
            save_scot(operator, tmp_path / "out")

    def test_presets_have_the_published_sizes(self):
        sizes = {}
        for name, config in PRESETS.items():
            with torch.device("meta"):
                operator = MultiscaleTransformer(config, Description(fields=("a", "b", "c", "d")))
            sizes[name] = sum(p.numel() for p in operator.parameters())
        assert sizes == {"T": 20_774_444, "S": 39_901_076, "B": 157_729_988, "L": 628_575_524}


class TestCheckpoints:
    @pytest.mark.parametrize("case", CASES)
    def test_round_trip_is_exact(self, case, tmp_path):
        operator = load_scot(GOLDEN / case)
        path = save_scot(operator, tmp_path / "out")
        written = load_file(path / "model.safetensors")
        original = load_file(GOLDEN / case / "state_dict.safetensors")
        assert set(written) == set(original)
        for name, value in original.items():
            assert torch.equal(written[name], value), name
        config = json.loads((GOLDEN / case / "config.json").read_text())
        assert json.loads((path / "config.json").read_text()).items() >= config.items()
        again = load_scot(path)
        assert again.config == operator.config
        for a, b in zip(operator.parameters(), again.parameters(), strict=True):
            assert torch.equal(a, b)
        with pytest.raises(ValueError, match="exists already"):
            save_scot(operator, path)

    def test_pickled_weights_run_no_code(self, tmp_path):
        case = GOLDEN / "resample"
        (tmp_path / "config.json").write_text((case / "config.json").read_text())
        state = load_file(case / "state_dict.safetensors")
        torch.save(state, tmp_path / "pytorch_model.bin")
        assert load_scot(tmp_path).config.resolution == (32, 32)
        torch.save({"weights": Path("x")}, tmp_path / "pytorch_model.bin")
        with pytest.raises(ValueError, match="damaged, or holds more than tensors"):
            load_scot(tmp_path)

    def test_physical_units_of_the_fluid_checkpoints(self):
        case = GOLDEN / "padshift_abspos_residual"
        plain, fluids = load_scot(case), load_scot(case, normalization="fluids")
        assert plain.description.fields == ("density", "velocity_x", "velocity_y", "pressure")
        assert "unknown" in plain.description.license
        assert "CC-BY-NC-4.0" in fluids.description.license
        x = random(1, 1, 4, 48, 48)
        mean = torch.tensor([0.8, 0, 0, 0]).view(4, 1, 1)
        std = torch.tensor([0.31, 0.391, 0.356, 0.185]).view(4, 1, 1)
        context = Context(fluids.description.fields, Grid.unit((48, 48)))
        with torch.no_grad():
            physical = next(fluids.rollout(x * std + mean, context, dt=14.0, steps=1))
            network = next(plain.rollout(x, context, dt=0.7, steps=1))
        assert relative_error((physical - mean) / std, network) < 2e-5

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"embed_dim": 24}, r"is \(.*\), expected"),
            ({"image_size": [48, 32]}, r"image_size is \[48, 32\], but published .* square"),
            ({"hidden_dropout_prob": 0.1}, "hidden_dropout_prob 0.1, which is not supported"),
            ({"hidden_act": "relu"}, "only 'gelu' is known"),
            ({"pretrained_window_sizes": [8, 8, 8]}, "only zeros are known"),
            ({"depths": [1, 2]}, "need one entry per level; got 2 depths, 3 heads"),
        ],
    )
    def test_configs_that_do_not_fit(self, change, message, tmp_path):
        case = GOLDEN / "padshift_abspos_residual"
        config = json.loads((case / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        save_file(load_file(case / "state_dict.safetensors"), tmp_path / "model.safetensors")
        with pytest.raises(ValueError, match=message):
            load_scot(tmp_path)

    def test_channels_and_grids_that_do_not_fit(self):
        operator = load_scot(GOLDEN / "padshift_abspos_residual")
        fields = operator.description.fields
        state = operator.init(random(1, 1, 4, 96, 96))
        assert operator.step(state, torch.tensor([0.1]))[1].shape == (1, 4, 96, 96)
        with pytest.raises(ValueError, match=r"works on 48×48 points .*; got 48×32"):
            operator.init(random(1, 1, 4, 48, 32))
        with pytest.raises(ValueError, match=r"history must have shape .* 4 field\(s\); got"):
            operator.init(random(1, 1, 3, 48, 48))
        context = Context((*fields[:3], "tracer"), Grid.unit((48, 48)))
        with pytest.raises(ValueError, match=r"maps the fields density, .*; got .*tracer"):
            operator.init(random(1, 1, 4, 48, 48), context)

    def test_missing_and_extra_tensors_are_named(self, tmp_path):
        case = GOLDEN / "resample"
        state = load_file(case / "state_dict.safetensors")
        state["encoder.surprise"] = torch.zeros(1)
        del state["patch_recovery.projection.bias"]
        (tmp_path / "config.json").write_text((case / "config.json").read_text())
        save_file(state, tmp_path / "model.safetensors")
        message = r"missing patch_recovery\.projection\.bias; unexpected encoder\.surprise"
        with pytest.raises(ValueError, match=message):
            load_scot(tmp_path)

    def test_names_that_do_not_fit(self):
        case = GOLDEN / "resample"
        with pytest.raises(ValueError, match=r"has 3 channel\(s\); got 1 field name"):
            load_scot(case, fields=("u",))
        with pytest.raises(ValueError, match=r"has 1 input channel\(s\) beyond"):
            load_scot(case, constants=("forcing", "gravity"))
        with pytest.raises(ValueError, match="'fluids' is known for density"):
            load_scot(case, normalization="fluids")
        with pytest.raises(ValueError, match="must be 'identity' or 'fluids'"):
            load_scot(case, normalization="physical")

    def test_what_the_published_code_has_not(self, tmp_path):
        with pytest.raises(ValueError, match="published code is 2D, on a square resolution"):
            save_scot(small(1), tmp_path / "out")


class TestTime:
    def test_lead_times_are_direct_and_in_physical_units(self):
        operator = create(
            "multiscale", description=Description(("u",), time_scale=5.0), ndim=2, **SMALL
        )
        enliven(operator)
        frames, grid = random(2, 4, 1, 8, 8), Grid.unit((8, 8))
        lead = torch.tensor([[0.0, 1.5, 4.0], [2.0, 0.3, 7.0]])
        prediction = operator(Window(frames[:, :1], frames[:, 1:], lead, Context(("u",), grid)))
        for t in range(3):
            alone = operator.network(frames[:, 0], lead[:, t] / 5)
            torch.testing.assert_close(prediction[:, t], alone)
        state = operator.init(frames[:, :1])
        _, stepped = operator.step(state, lead[:, 2])
        torch.testing.assert_close(stepped, prediction[:, 2])

    def test_outside_the_trained_range_warns(self):
        description = Description(("u",), time_steps=(0.5, 2.0))
        operator = create("multiscale", description=description, ndim=1, **SMALL)
        state = operator.init(random(2, 1, 1, 16))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            operator.step(state, torch.tensor([0.5, 1.234]))
        with pytest.warns(UserWarning, match=r"3 is outside the trained range 0\.5 … 2"):
            operator.step(state, torch.tensor([0.5, 3.0]))

    @pytest.mark.parametrize("dt", [0.0, -1.0, float("nan"), float("inf")])
    def test_impossible_lead_times(self, dt):
        operator = small(1)
        state = operator.init(random(1, 1, 1, 16))
        with pytest.raises(ValueError, match="dt must be positive"):
            operator.step(state, torch.tensor([dt]))


class TestGrids:
    @pytest.mark.parametrize(
        "shape", [(16,), (23,), (16, 16), (8, 20), (13, 9), (8, 8, 8), (5, 7, 9)]
    )
    def test_any_grid(self, shape):
        operator = small(len(shape), window=3)
        x = random(2, 1, *shape)
        output = operator.network(x, torch.tensor([0.1, 0.9]))
        assert output.shape == x.shape
        assert output.isfinite().all()
        assert output.std() > 0.1

    def test_one_dimension_is_two_dimensions_of_one_token(self):
        """Windows, shifts and position bias: a strip of windows one token high."""
        bias_1d, bias_2d = PositionBias(1, 2), PositionBias(2, 2)
        for bias in (bias_1d, bias_2d):
            bias.reset(torch.Generator().manual_seed(0))
        with torch.no_grad():
            bias_2d.hidden_weight[:, 1:] = bias_1d.hidden_weight
            bias_2d.weight.copy_(bias_1d.weight)
        lines = expand(bias_1d((4,)), (4,), [(4,), (2,)])
        strips = expand(bias_2d((1, 4)), (1, 4), [(1, 4), (1, 2)])
        for line, strip in zip(lines, strips, strict=True):
            torch.testing.assert_close(line, strip)
        line = WindowGrid((10,), (4,), (2,), (False,))
        strip = WindowGrid((1, 10), (1, 4), (0, 2), (False, False))
        x = random(2, 10, 3)
        assert torch.equal(line.partition(x), strip.partition(x))

    @pytest.mark.parametrize("shape", [(9,), (8,), (6, 10), (8, 8), (5, 4, 7)])
    @pytest.mark.parametrize("periodic", [False, True])
    def test_partition_and_merge_are_inverse(self, shape, periodic):
        n = len(shape)
        for shift in (0, 1, 2):
            grid = WindowGrid(shape, (4,) * n, (shift,) * n, (periodic,) * n)
            x = random(2, math.prod(shape), 3, dtype=torch.float64).requires_grad_()
            rows = grid.partition(x)
            assert rows.shape[0] == 2 * sum(math.prod(s) * count for s, count in grid.tiles)
            assert torch.equal(grid.merge(rows), x)
            weights = random(*rows.shape, dtype=torch.float64)
            (rows * weights).sum().backward()  # the adjoint of a selection is the inverse one
            assert torch.equal(x.grad, grid.merge(weights))

    def test_shifted_windows_end_at_edges_unless_they_are_periodic(self):
        x = torch.arange(8.0).view(1, 8, 1)
        closed = WindowGrid((8,), (4,), (2,), (False,))
        assert closed.tiles == (((4,), 1), ((2,), 2))
        assert closed.partition(x).flatten().tolist() == [2, 3, 4, 5, 0, 1, 6, 7]
        around = WindowGrid((8,), (4,), (2,), (True,))
        assert around.tiles == (((4,), 2),)
        assert around.partition(x).flatten().tolist() == [2, 3, 4, 5, 6, 7, 0, 1]
        uneven = WindowGrid((9,), (3,), (1,), (False,))
        assert uneven.tiles == (((3,), 2), ((1,), 1), ((2,), 1))

    def test_the_bias_of_a_piece_is_part_of_the_windows(self):
        bias = PositionBias(2, 1)
        bias.reset(torch.Generator().manual_seed(0))
        whole, piece = expand(bias((4, 4)), (4, 4), [(4, 4), (2, 3)])
        inside = whole.unflatten(2, (4, 4)).unflatten(1, (4, 4))[:, :2, :3, :2, :3]
        torch.testing.assert_close(piece, inside.reshape(1, 6, 6))

    @pytest.mark.parametrize("window", [(5,), (3, 4), (2, 1, 3)])
    def test_gradients_of_the_bias(self, window):
        bias = PositionBias(len(window), 2).double()
        bias.reset(torch.Generator().manual_seed(0))
        with torch.no_grad():
            for parameter in bias.parameters():
                parameter.copy_(random(*parameter.shape, dtype=torch.float64))
        piece = tuple(max(1, w - 1) for w in window)
        weights = [random(2, math.prod(s), math.prod(s)).double() for s in (window, piece)]

        def total():
            pairs = zip(weights, expand(bias(window), window, [window, piece]), strict=True)
            return sum((w * b).sum() for w, b in pairs)

        total().backward()
        for parameter in bias.parameters():
            direction = random(*parameter.shape, seed=7, dtype=torch.float64)
            with torch.no_grad():
                values = []
                for step in (1e-6, -2e-6):
                    parameter.add_(step * direction)
                    values.append(total())
            slope = (values[0] - values[1]) / 2e-6
            torch.testing.assert_close((parameter.grad * direction).sum(), slope, rtol=1e-4, atol=0)

    @pytest.mark.parametrize("shape", [(32,), (16, 32), (16, 16, 16)])
    def test_periodic_grids_have_no_edge(self, shape):
        """Moving a field by the coarsest window moves the prediction; with edges it does not."""

        def predict(periodic):
            operator = small(len(shape), periodic=periodic, window=2).double()
            x = random(1, 1, 1, *shape, dtype=torch.float64)
            moved = x.roll(8, -1)  # patch 2 · level 2 · window 2
            a, b = (next(operator.rollout(v, dt=1.0, steps=1)) for v in (x, moved))
            return a.roll(8, -1), b

        torch.testing.assert_close(*predict(True))
        a, b = predict(False)
        assert (a - b).abs().max() > 1e-3

    def test_walls_stay_walls_on_periodic_operators(self):
        operator = small(1, periodic=True)
        x = random(1, 1, 1, 32)
        walls = Context(("u",), Grid((32,), (1.0,), ("wall",)))
        output = next(operator.rollout(x, walls, dt=1.0, steps=1))
        plain = small(1, periodic=False)
        assert torch.equal(output, next(plain.rollout(x, dt=1.0, steps=1)))


class TestResampling:
    @pytest.mark.parametrize(
        ("coarse", "fine"), [((9,), (16,)), ((8, 12), (11, 30)), ((6, 8, 5), (9, 8, 12))]
    )
    def test_band_limited_fields_are_exact(self, coarse, fine):
        def field(shape):
            axes = [torch.arange(n, dtype=torch.float64) / n for n in shape]
            mesh = torch.meshgrid(*axes, indexing="ij")
            total = 0.3 + sum(torch.sin(2 * torch.pi * (a + 0.1)) for a in mesh)
            return (total * torch.cos(2 * torch.pi * mesh[-1]))[None, None]

        torch.testing.assert_close(fourier_resample(field(coarse), fine), field(fine))
        torch.testing.assert_close(fourier_resample(field(fine), coarse), field(coarse))

    def test_the_network_works_at_its_resolution(self):
        fixed, free = small(resolution=(16, 12)), small()
        x, t = random(1, 1, 24, 18), torch.tensor([0.5])
        expected = free.network(fourier_resample(x, (16, 12)), t)
        torch.testing.assert_close(fixed.network(x, t), fourier_resample(expected, (24, 18)))

    def test_a_history_in_double_precision_is_welcome(self):
        """As NumPy gives it."""
        operator, x = small(), random(1, 1, 1, 32, 32)
        found = next(operator.rollout(x.double(), dt=0.5, steps=1))
        torch.testing.assert_close(found.float(), next(operator.rollout(x, dt=0.5, steps=1)))


class TestFast:
    def test_attention_with_learned_biases(self):
        """Outputs and gradients of the hand-written pass are those of the plain formula."""
        heads, width, window, shapes = 2, 3, (2, 3), [(2, 3), (1, 2)]
        tiles = [6 * 3, 2 * 2]  # tokens of a tile times tiles
        projected = random(sum(tiles), 3 * heads * width, dtype=torch.float64).requires_grad_()
        lengths = torch.tensor([[2.0, 7.0], [1, 1]], dtype=torch.float64)[..., None]
        lengths.requires_grad_()
        table = random(heads, 3 * 5, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda *x: attend_and_learn(*x[:2], tiles, x[2], window, shapes),
            (projected, lengths, table),
        )
        biases = expand(table, window, shapes)
        parts = []
        for rows, bias in zip(projected.split(tiles), biases, strict=True):
            x = rows.view(-1, bias.shape[1], 3, heads, width).permute(2, 0, 3, 1, 4)
            value, query, key = x[0], *(y / y.norm(dim=-1, keepdim=True) for y in x[1:])
            scores = lengths[0, :, None] * query @ key.transpose(-1, -2) + bias
            parts.append((scores.softmax(-1) @ value).transpose(1, 2).reshape(len(rows), -1))
        expected = torch.cat(parts)
        torch.testing.assert_close(attend(projected, lengths, tiles, biases), expected)
        learned = attend_and_learn(projected, lengths, tiles, table, window, shapes)
        torch.testing.assert_close(learned, expected)
        with torch.no_grad():
            torch.testing.assert_close(attend(projected, lengths, tiles, biases), expected)

    def test_half_precision_is_close(self):
        """Under autocast: products in bfloat16, statistics, biases and residuals in float32."""
        operator = small(width=32)  # fewer channels make norms of nearly nothing, and noise of them
        x, t = random(2, 1, 32, 32), torch.tensor([0.1, 0.9])
        results = []
        for enabled in (False, True):
            operator.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                output = operator.network(x, t)
                output.float().square().mean().backward()
            gradients = torch.cat([p.grad.flatten() for p in operator.parameters()])
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                inference = operator.network(x, t).float()
            results.append((output.detach().float(), inference, gradients))
        for exact, half in zip(*results, strict=True):
            assert (half - exact).norm() < 0.05 * exact.norm()

    def test_recomputed_activations_change_nothing(self):
        results = []
        for flag in (False, True):
            operator = small(checkpoint_activations=flag)
            output = operator.network(random(2, 1, 32, 32), torch.tensor([0.1, 0.9]))
            output.square().mean().backward()
            results.append([output.detach(), *(p.grad for p in operator.parameters())])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b)


class TestStochasticDepth:
    def test_rates_grow_along_the_network(self):
        operator = small(depths=(2, 1), drop_path=0.5)
        path = [*operator.encoder[0], *operator.encoder[1]]
        path += [*operator.decoder[1], *operator.decoder[0]]
        assert [block.drop for block in path] == pytest.approx([0.1 * i for i in range(6)])

    def test_training_only_reproducible_and_right_on_average(self):
        operator, plain = small(1, drop_path=0.5), small(1)
        x, t = random(4, 1, 16), torch.full((4,), 0.5)
        with torch.no_grad():
            assert torch.equal(operator.eval().network(x, t), plain.network(x, t))
            operator.train()
            drawn = []
            for seed in (0, 0, 1):
                torch.manual_seed(seed)
                drawn.append(operator.network(x, t))
            assert torch.equal(drawn[0], drawn[1])
            assert not torch.allclose(drawn[0], drawn[2])
            block = operator.encoder[1][1]
            grids = pyramid((16,), (False,), SMALL["patch"], SMALL["window"], levels=2)
            tokens, found = random(4000, 4, 16, seed=3), operator.conditioning(torch.ones(4000))
            affines = [found[name] for name in block.norms]
            dropped = (block(tokens, grids[1][0], affines) - tokens).mean(0)
            block.eval()
            kept = (block(tokens, grids[1][0], affines) - tokens).mean(0)
        assert (dropped - kept).abs().mean() < 0.2 * kept.abs().mean() + 0.1

    def test_recomputation_draws_the_same(self):
        results = []
        for flag in (False, True):
            operator = small(1, drop_path=0.5, checkpoint_activations=flag).train()
            torch.manual_seed(0)
            operator.network(random(4, 1, 16), torch.ones(4)).square().mean().backward()
            results.append([p.grad for p in operator.parameters()])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b)


class TestFields:
    def test_fresh_weights_give_finite_fields(self):
        for config in ({}, {"conditional": False, "residual_block": "resnet"}):
            output = small(lively=False, **config).network(random(1, 1, 16, 16), torch.ones(1))
            assert output.isfinite().all()

    def test_conditions_are_further_channels(self):
        """Constant fields by name, then parameters as constant channels, both scaled."""
        description = Description(
            ("u",),
            constant_fields=("forcing",),
            parameters=("viscosity",),
            condition_scales={"viscosity": Standard(mean=2.0, std=4.0)},
        )
        operator = create("multiscale", description=description, ndim=1, **SMALL)
        enliven(operator)
        history, values = random(2, 1, 1, 16), random(2, 2, 16, seed=3)
        context = Context(
            ("u",),
            Grid.unit((16,)),
            constants=values,
            constant_fields=("gravity", "forcing"),
            parameters=torch.tensor([[1.0, 4.0], [2.0, 10.0]]),
            parameter_names=("other", "viscosity"),
        )
        output = next(operator.rollout(history, context, dt=1.0, steps=1))
        scaled = torch.tensor([0.5, 2.0]).view(2, 1, 1).expand(2, 1, 16)
        inputs = torch.cat((history[:, 0], values[:, 1:], scaled), 1)
        expected = operator.network(inputs, torch.ones(2))
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
        with pytest.raises(ValueError, match=r"takes the constant field\(s\) forcing as extra"):
            next(operator.rollout(history, dt=1.0, steps=1))

    def test_fields_keep_their_weights_by_name(self):
        donor = small(fields=("u", "v"))
        new, report = adapt(donor, Description(("w", "v", "u")), seed=3)
        fresh = ("embedding.projection.weight", "recovery.bias", "recovery.mixing.weight")
        assert {*fresh, "recovery.weight"} == set(report.partly)
        assert not report.reinitialized
        embedding = new.embedding.projection.weight
        assert torch.equal(embedding[:, [2, 1]], donor.embedding.projection.weight)
        mixing, old = new.recovery.mixing.weight, donor.recovery.mixing.weight
        assert torch.equal(mixing[[2, 1]][:, [2, 1]], old)
        assert mixing[0].abs().sum() > 0
        output = new.network(random(1, 3, 16, 16), torch.ones(1))
        assert output.isfinite().all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"ndim": 4}, "ndim must be 1, 2 or 3"),
        ({"width": 0}, "width must be at least 1"),
        ({"heads": (3, 2)}, "3 heads do not divide the 8 channels of level 0"),
        ({"heads": (2,)}, "need one entry per level; got 2 depths, 1 heads, 2 skips"),
        ({"depths": (2, 0)}, r"depths\[1\] must be at least 1; got 0"),
        (
            {"residual_block": "dense"},
            "residual_block must be one of convnext, resnet; got 'dense'",
        ),
        ({"drop_path": 1.0}, r"drop_path must lie in \[0, 1\)"),
        ({"resolution": (8,)}, "resolution needs 2 entries or none"),
        ({"absolute_positions": True}, "absolute_positions needs a resolution"),
    ],
)
def test_impossible_configs_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        create("multiscale", fields=("u",), **{"ndim": 2, **SMALL, **config})
