"""What follows from weights is computed once in inference, and never from other weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators import create, from_pretrained
from pelagos.operators.core.weight_cache import WeightCache
from pelagos.operators.dymixop.mixing import MixingLayer
from pelagos.operators.multiscale import blocks
from pelagos.pretrain.average import Average

SMALL = {
    "dymixop": {"hidden": 4, "layers": 2, "modes": 3},
    "multiscale": {
        "width": 8,
        "patch": 2,
        "window": 4,
        "depths": (2,),
        "heads": (2,),
        "skips": (0,),
    },
}
# What computes it, and how often for the whole operator.
COMPUTED = {"dymixop": (MixingLayer, "kernels", 2), "multiscale": (blocks, "prepare", 2)}
# Published functions of weights are cached in these two; the others are to be as right without.
OTHERS = {
    "observer": {
        "hidden": 4,
        "layers": 1,
        "modes": 3,
        "correction": {"modes": 3, "hidden": 4},
    },
    "assimilated": {
        "predictor": {"name": "dymixop", **SMALL["dymixop"]},
        "correction": {"modes": 3, "hidden": 4},
    },
}
EDITS = {
    "data.copy_": lambda p: p.data.copy_(1.5 * p),
    "data.mul_": lambda p: p.data.mul_(1.5),
    "set data": lambda p: setattr(p, "data", p.data * 1.5),
    "numpy": lambda p: np.multiply(p.detach().numpy(), 1.5, out=p.detach().numpy()),
    "storage": lambda p: p.untyped_storage().copy_((1.5 * p.detach()).untyped_storage()),
    "detached": lambda p: p.detach().mul_(1.5),
    "swap": lambda p: torch.utils.swap_tensors(p, torch.nn.Parameter(1.5 * p.detach())),
    "other data": lambda p: setattr(p, "data", p.data.flip(0).contiguous()),
    "one number": lambda p: p.detach().numpy().reshape(-1).__setitem__(0, 0.7),
}
HISTORY = torch.linspace(0, 6, 16).sin()[None, None, None]


def made(name, seed=0):
    config = (SMALL | OTHERS)[name]
    operator = create(name, fields=("u",), ndim=1, seed=seed, **config).eval()
    with torch.no_grad():  # published initial gains are next to 0
        for parameter in operator.parameters():
            parameter.add_(0.1 * torch.ones_like(parameter).cumsum(0).sin())
    return operator


def last_frame(operator, steps=3):
    history = HISTORY.to(next(operator.parameters()))
    return list(operator.rollout(history, dt=1.0, steps=steps, gradients=True))[-1]


@pytest.fixture(params=[*SMALL])
def name(request):
    return request.param


@pytest.fixture
def computed(name, monkeypatch):
    """One entry for every time that something was computed from weights."""
    cls, method, _ = COMPUTED[name]
    calls, original = [], getattr(cls, method)
    monkeypatch.setattr(cls, method, lambda *args: calls.append(1) or original(*args))
    return calls


def test_a_rollout_computes_it_once_and_so_does_the_next(name, computed):
    operator, once = made(name), COMPUTED[name][2]
    with torch.no_grad():
        first = last_frame(operator)
        assert len(computed) == once
        assert torch.equal(last_frame(operator), first)
    assert len(computed) == once
    last_frame(operator)  # with gradients nothing outlives the step
    assert len(computed) == once + 3 * once


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("change", ["step", "load", "data", "type there and back", "train"])
def test_no_weights_but_todays(name, guard, change):
    operator = made(name)
    with guard():
        before = last_frame(operator)
    if change == "step":
        optimizer = torch.optim.AdamW(operator.parameters(), lr=0.1)
        last_frame(operator, 1).square().mean().backward()  # trains on after an inference mode
        optimizer.step()
    elif change == "load":
        operator.load_state_dict(made(name, seed=1).state_dict())
    elif change == "data":
        for parameter in operator.parameters():
            parameter.data = parameter.data * 1.5
    elif change == "type there and back":
        operator.to(torch.float16).to(torch.float32)
    else:
        operator.train()
        for parameter in operator.parameters():
            parameter.data.mul_(1.5)
        operator.eval()
    with guard():
        after = last_frame(operator)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, last_frame(operator).detach())


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", [*SMALL, *OTHERS])
def test_every_edit_is_seen(name, edit):
    """Against a fresh operator with the same weights, which has computed nothing before."""
    operator = made(name)
    with torch.no_grad():
        before = last_frame(operator)
        for parameter in operator.parameters():
            EDITS[edit](parameter)
        after = last_frame(operator)
        fresh = made(name)
        fresh.load_state_dict(operator.state_dict())
        assert torch.equal(after, last_frame(fresh))
        assert not torch.equal(before, after)


def test_swapped_weights_are_seen_and_so_is_the_way_back(name):
    """As for validation of an average."""
    operator = made(name)
    average = Average(operator, 0.9)
    with torch.no_grad():
        before = last_frame(operator)
        for parameter in operator.parameters():
            parameter.mul_(1.5)
        changed = last_frame(operator)
        with average.swapped():
            assert torch.equal(last_frame(operator), before)
        assert torch.equal(last_frame(operator), changed)


def test_weights_made_in_inference_mode_work(name, tmp_path):
    """They do not count their versions, so nothing is kept."""
    expected = last_frame(made(name)).detach()
    made(name).save_pretrained(tmp_path / "checkpoint")
    with torch.inference_mode():
        operator = from_pretrained(tmp_path / "checkpoint")
        torch.testing.assert_close(last_frame(operator), expected)
        for parameter in operator.parameters():
            parameter.mul_(1.5)
        assert not torch.allclose(last_frame(operator), expected)


def test_it_is_no_state_and_is_not_copied(name):
    operator = made(name)
    names = set(operator.state_dict())
    with torch.inference_mode():
        expected = last_frame(operator)
    assert set(operator.state_dict()) == names == {n for n, _ in operator.named_parameters()}
    twin = copy.deepcopy(operator)
    caches = [module for module in twin.modules() if isinstance(module, WeightCache)]
    assert caches
    assert not any(cache._kept for cache in caches)
    torch.testing.assert_close(last_frame(twin).detach(), expected)


def test_a_window_in_training_computes_it_once(computed, name):
    if name != "dymixop":
        pytest.skip("predicts a window in one evaluation")
    operator = made(name).train()
    target = HISTORY.expand(1, 3, 1, 16)
    leads = torch.tensor([[1.0, 2.0, 3.0]])
    window = Window(HISTORY, target, leads, Context(("u",), Grid.unit((16,))))
    operator(window).square().mean().backward()
    assert len(computed) == 2
    operator(window).square().mean().backward()  # a second graph, not the first again
    assert len(computed) == 4


def test_another_thread_may_empty_it_meanwhile():
    class Emptied(dict):
        def __setitem__(self, key, value):
            """What another thread's first prediction does right after."""

    cache = WeightCache().eval()
    with torch.no_grad():
        cache.get([torch.ones(2)], "before", lambda: 1)
        cache._kept = Emptied()
        assert cache.get(cache._weights, "key", lambda: 7) == 7
