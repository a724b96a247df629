"""Forward-mode differentiation works through every operator, in training and in inference."""

from dataclasses import replace

import pytest
import torch
from small_operators import CASES, build, window_for
from torch.autograd import forward_ad
from torch.func import functional_call, jvp


def prepared(name, ndim, training):
    """A double-precision operator with all its weights off zero, and its function of histories."""
    operator = build(name, ndim).double().train(training)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in operator.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    window = window_for(operator, horizon=2)
    window = replace(window, history=window.history.double(), target=window.target.double())
    tangent = torch.randn(window.history.shape, generator=generator, dtype=torch.float64)
    return operator, window, tangent


def difference(function, x, tangent, width=1e-5):
    with torch.no_grad():
        return (function(x + width * tangent) - function(x - width * tangent)) / (2 * width)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "ndim"), CASES)
def test_tangents_of_the_history(name, ndim, training):
    operator, window, tangent = prepared(name, ndim, training)

    def function(history):
        return operator(replace(window, history=history))

    expected = difference(function, window.history, tangent)
    assert expected.abs().max() > 1e-3
    close = {"rtol": 1e-5, "atol": 1e-7}
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            before = function(window.history)
            value, found = jvp(function, (window.history,), (tangent,))
            torch.testing.assert_close(value, before, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(found, expected, **close)
            with forward_ad.dual_level():
                dual = function(forward_ad.make_dual(window.history, tangent))
                torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, expected, **close)
            assert torch.equal(function(window.history), before)  # nothing of it was kept


@pytest.mark.parametrize(("name", "ndim"), [case for case in CASES if case[1] == 1])
def test_tangents_of_the_weights(name, ndim):
    operator, window, _ = prepared(name, ndim, training=False)
    weights = dict(operator.named_parameters())
    generator = torch.Generator().manual_seed(2)
    tangents = {
        name: torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in weights.items()
    }

    def along(t):
        moved = {name: value.detach() + t * tangents[name] for name, value in weights.items()}
        return functional_call(operator, moved, (window,))

    with torch.no_grad():
        along(torch.zeros(()))  # what inference keeps has no tangent
        expected = difference(along, torch.zeros((), dtype=torch.float64), 1.0, 1e-6)
        zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        _, found = jvp(along, (zero,), (one,))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "ndim"), [case for case in CASES if case[1] == 1])
def test_a_tangent_has_a_gradient(name, ndim):
    operator, window, tangent = prepared(name, ndim, training=True)

    def size(history):
        with forward_ad.dual_level():
            dual = operator(replace(window, history=forward_ad.make_dual(history, tangent)))
            return forward_ad.unpack_dual(dual).tangent.square().sum()

    history = window.history.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(size(history), history)
    along = torch.randn(history.shape, generator=torch.Generator().manual_seed(3)).double()
    expected = difference(lambda x: size(x), window.history, along)
    torch.testing.assert_close((gradient * along).sum(), expected, rtol=1e-4, atol=1e-6)
