"""One contract for every registered operator."""

import json
from dataclasses import replace

import pytest
import torch
from small_operators import CASES, GRIDS, SMALL, build, window_for

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics, WindowScaling
from pelagos.datasets.fields.window import Context
from pelagos.operators import Observation, create, from_pretrained
from pelagos.operators.core.registry import OPERATORS, get


def relative(operator):
    """The scaling that needs no statistics, for operators that see the two frames it needs."""
    if operator.history < 2:
        return operator
    description = replace(operator.description, normalizer=WindowScaling())
    twin = create(operator.name, description=description, **vars(operator.config))
    twin.load_state_dict(operator.state_dict())
    return twin


def test_every_operator_has_a_contract():
    assert set(OPERATORS.ours) == set(SMALL)


@pytest.mark.parametrize(("name", "ndim"), CASES)
class TestContract:
    def test_forward_is_the_rollout_or_direct_at_the_lead_times(self, name, ndim):
        operator = relative(build(name, ndim))
        window = window_for(operator)
        prediction = operator(window)
        assert prediction.shape == window.target.shape
        if operator.direct:
            state = operator.init(window.history, window.context)
            frames = [operator.step(state, dt)[1] for dt in window.lead_times.unbind(1)]
            torch.testing.assert_close(prediction, torch.stack(frames, 1))
        else:
            rolled = list(
                operator.rollout(window.history, window.context, dt=0.5, steps=3, gradients=True)
            )
            assert torch.equal(prediction, torch.stack(rolled, 1))

    def test_state_is_explicit(self, name, ndim):
        """Stepping twice from one state gives the same; nothing is kept in the operator."""
        operator = build(name, ndim)
        window = window_for(operator)
        state = operator.init(window.history, window.context)
        dt = torch.full((2,), 0.5)
        first, _ = operator.step(state, dt)
        operator.step(first, dt)
        again, _ = operator.step(state, dt)
        assert torch.equal(first.history, again.history)
        assert torch.equal(again.time, dt)

    def test_checkpoint_round_trip_is_exact(self, name, ndim, tmp_path):
        statistics = Statistics({"*": {"u": 1.0, "v": 2.0}}, {"*": {"u": 3.0, "v": 0.5}})
        operator = build(
            name,
            ndim,
            statistics,
            units={"u": "m/s"},
            time_scale=0.5,
            time_steps=(0.5,),
            grid=Grid.unit(GRIDS[ndim]),
            provenance={"seed": 1},
            license="CC-BY-4.0",
        )
        window = window_for(operator, horizon=1)
        opened = from_pretrained(operator.save_pretrained(tmp_path / "checkpoint"))
        assert opened.description == operator.description
        assert opened.config == operator.config
        with torch.no_grad():
            assert torch.equal(opened(window), operator(window))
        assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir()) == [
            "SHA256SUMS",
            "config.json",
            "model.safetensors",
        ]

    def test_physical_units_in_and_out(self, name, ndim):
        """The prediction scales with the data under statistics that scale with it."""
        plain, scaled = (
            build(name, ndim, Statistics({"*": {"u": m, "v": m}}, {"*": {"u": s, "v": s}}))
            for m, s in ((0.0, 1.0), (7.0, 1000.0))
        )
        window = window_for(plain)
        moved = replace(window, history=window.history * 1000 + 7)
        torch.testing.assert_close((scaled(moved) - 7) / 1000, plain(window), rtol=1e-4, atol=1e-4)

    def test_window_scaling_makes_the_amplitude_irrelevant(self, name, ndim):
        operator = build(name, ndim, WindowScaling()).double()
        window = window_for(operator)
        if operator.history < 2:
            with pytest.raises(ValueError, match="at least 2 history frames"):
                operator(window)
            return
        history = window.history.double()
        small = replace(window, history=history, target=window.target.double())
        large = replace(small, history=1e6 * history)
        torch.testing.assert_close(operator(large), 1e6 * operator(small))

    def test_initial_weights_depend_on_the_seed_alone(self, name, ndim):
        a, b = build(name, ndim), build(name, ndim)
        other = create(name, fields=("u", "v"), seed=1, ndim=ndim, **SMALL.get(name, {}))
        pairs = list(zip(a.state_dict().values(), b.state_dict().values(), strict=True))
        assert all(torch.equal(x, y) for x, y in pairs)
        assert any(
            not torch.equal(x, y)
            for x, y in zip(a.state_dict().values(), other.state_dict().values(), strict=True)
        )

    def test_no_complex_tensor_and_every_parameter_learns(self, name, ndim):
        operator = build(name, ndim)
        assert not any(t.is_complex() for t in operator.state_dict().values())
        window = window_for(operator)
        operator(window).square().mean().backward()
        unused = [n for n, p in operator.named_parameters() if p.requires_grad and p.grad is None]
        assert not unused

    def test_autocast_stays_close(self, name, ndim):
        operator = relative(build(name, ndim))
        window = window_for(operator, horizon=1)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            half = operator(window).float()
        with torch.no_grad():
            full = operator(window)
        change = (full - window.history[:, -1:]).norm()
        assert (half - full).norm() < 0.05 * change

    def test_trained_time_steps_are_kept(self, name, ndim):
        operator = build(name, ndim, time_steps=(0.5,))
        operator(window_for(operator, horizon=1, dt=0.5))
        if operator.continuous:
            with pytest.warns(UserWarning, match=r"0\.25 is outside the trained range 0\.5"):
                operator(window_for(operator, horizon=1, dt=0.25))
            return
        with pytest.raises(ValueError, match=r"trained at dt = 0\.5 and cannot step by 0\.25"):
            operator(window_for(operator, dt=0.25))

    def test_wrong_input_is_named(self, name, ndim):
        operator = build(name, ndim)
        window = window_for(operator)
        context = window.context
        with pytest.raises(ValueError, match=f"works in {ndim}D"):
            operator.init(window.history[..., 0] if ndim > 1 else window.history[..., None])
        with pytest.raises(ValueError, match=r"history must have shape"):
            operator.init(window.history.repeat(1, 2, *(1,) * (ndim + 1)), context)
        with pytest.raises(ValueError, match="maps the fields u, v; got v, u"):
            operator.init(window.history, replace(context, fields=("v", "u")))
        state = operator.init(window.history, context)
        with pytest.raises(ValueError, match="dt must be positive"):
            operator.step(state, torch.tensor([0.5, -0.5]))

    def test_an_observation_is_never_ignored(self, name, ndim):
        operator = build(name, ndim)
        window = window_for(operator)
        values = window.history[:, -1]
        observation = Observation(values, torch.ones_like(values, dtype=torch.bool), ("u", "v"))
        state = operator.init(window.history, window.context)
        if operator.assimilates:
            operator.step(state, torch.full((2,), 0.5), observation)
        else:
            with pytest.raises(ValueError, match="cannot assimilate"):
                operator.step(state, torch.full((2,), 0.5), observation)


def test_unknown_operator_names_the_nearest():
    with pytest.raises(ValueError, match="unknown operator 'dymixup'; did you mean 'dymixop'"):
        create("dymixup", fields=("u",))


def test_most_operators_take_nothing_from_data_and_wrap_none():
    def frames():
        raise AssertionError("nothing is read that is not needed")

    operator = build("dymixop", 1)
    operator.fit_to(frames, "a", fresh=True)
    with pytest.raises(ValueError, match="dymixop is built around no other operator"):
        type(operator).around(operator, {})


def test_what_assimilates_takes_the_spectrum_of_fresh_data_else_ranges():
    frames = torch.randn(20, 2, 16, generator=torch.Generator().manual_seed(0))
    operator = build("observer", 1)
    before = operator.correction.amplitude.clone()
    operator.fit_to(lambda: frames, fresh=False)
    assert torch.equal(operator.correction.amplitude, before)
    assert operator.bounds.abs().max() < 10
    operator.fit_to(lambda: frames, fresh=True)
    assert not torch.equal(operator.correction.amplitude, before)


def test_an_operator_around_another_has_its_weights():
    inner = build("dymixop", 1)
    wrapper = get("assimilated")
    operator = wrapper.around(inner, {"correction": {"modes": 3, "hidden": 4}}, seed=1)
    assert operator.config.correction.modes == 3
    own = operator.state_dict()
    assert all(own[f"{wrapper.wraps}.{k}"].equal(v) for k, v in inner.state_dict().items())
    with pytest.raises(ValueError, match=r"hiden.*hidden"):
        wrapper.around(inner, {"correction": {"hiden": 4}})


@pytest.fixture
def saved(tmp_path):
    path = build("dymixop", 1).save_pretrained(tmp_path / "checkpoint")
    (path / "SHA256SUMS").unlink()  # as earlier versions wrote it
    return path


class TestDamagedCheckpoints:
    def test_missing(self, tmp_path):
        with pytest.raises(ValueError, match="no checkpoint directory at"):
            from_pretrained(tmp_path / "nothing")

    def test_no_config(self, tmp_path):
        with pytest.raises(ValueError, match=r"has no config\.json"):
            from_pretrained(tmp_path)

    def test_another_schema(self, saved):
        config = json.loads((saved / "config.json").read_text())
        (saved / "config.json").write_text(json.dumps({**config, "schema": 99}))
        with pytest.raises(ValueError, match="schema 99; this version of pelagos reads schema 1"):
            from_pretrained(saved)

    def test_truncated_config(self, saved):
        text = (saved / "config.json").read_text()
        (saved / "config.json").write_text(text[: len(text) // 2])
        with pytest.raises(ValueError, match="not valid JSON"):
            from_pretrained(saved)

    def test_truncated_weights(self, saved):
        data = (saved / "model.safetensors").read_bytes()
        (saved / "model.safetensors").write_bytes(data[: len(data) // 2])
        with pytest.raises(ValueError, match="damaged or truncated"):
            from_pretrained(saved)

    def test_weights_of_another_size(self, saved):
        config = json.loads((saved / "config.json").read_text())
        config["config"]["hidden"] = 8
        (saved / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=r"is \(.*\), expected \(.*\).* and \d+ more"):
            from_pretrained(saved)

    def test_existing_directory_is_not_overwritten(self, saved):
        before = (saved / "model.safetensors").read_bytes()
        with pytest.raises(ValueError, match="exists already"):
            build("dymixop", 2).save_pretrained(saved)
        assert (saved / "model.safetensors").read_bytes() == before
        build("dymixop", 2).save_pretrained(saved, overwrite=True)
        assert from_pretrained(saved).ndim == 2
        assert [p.name for p in saved.parent.iterdir()] == ["checkpoint"]


def test_default_context_is_the_unit_box():
    operator = build("dymixop", 2)
    history = window_for(operator).history
    state = operator.init(history)
    assert state.context == Context(("u", "v"), Grid.unit(GRIDS[2]))


def test_the_window_normaliser_of_an_earlier_checkpoint_subtracts_nothing(tmp_path):
    """It did not know of `offset`; new ones do."""
    path = build("dymixop", 1, WindowScaling()).save_pretrained(tmp_path / "checkpoint")
    assert from_pretrained(path).description.normalizer.offset == 10.0
    config = json.loads((path / "config.json").read_text())
    del config["normalizer"]["offset"]
    (path / "config.json").write_text(json.dumps(config))
    assert from_pretrained(path, verify=False).description.normalizer.offset is None
