"""The projection onto fields whose mean and deviation are bounded."""

import math

import pytest
import torch

from pelagos.datasets.fields.limits import Limits

X = torch.linspace(0, 2 * math.pi, 65, dtype=torch.float64)[:-1]
LIMITS = Limits(*(torch.tensor([value]).reshape(1, 1, 1) for value in (-1.0, 2.0, 0.5)))


@pytest.mark.parametrize(
    ("mean", "amplitude", "expected"),
    [
        (0.3, 0.2, (0.3, 0.2)),  # within
        (0.3, 5.0, (0.3, math.sqrt(0.5))),  # a sine of deviation 0.5
        (4.0, 0.2, (2.0, 0.2)),
        (-9.0, 5.0, (-1.0, math.sqrt(0.5))),
        (0.3, 0.0, (0.3, 0.0)),
    ],
)
def test_a_sine_is_shrunk_and_moved(mean, amplitude, expected):
    held = LIMITS.hold((mean + amplitude * X.sin())[None, None])
    torch.testing.assert_close(held, (expected[0] + expected[1] * X.sin())[None, None])


def test_within_nothing_changes_to_the_bit_and_all_is_differentiable():
    u = (0.3 + 0.2 * X.sin()).float()[None, None]
    assert LIMITS.hold(u).equal(u)
    for amplitude in (0.0, 0.2, 5.0):
        u = (amplitude * X.sin())[None, None].requires_grad_()
        LIMITS.hold(u)[..., 3].sum().backward()
        assert u.grad.isfinite().all()


def test_what_is_nearly_infinite_becomes_finite():
    u = 1e30 * X.sin().float()[None, None]
    assert LIMITS.hold(u).isfinite().all()


def test_what_is_masked_neither_counts_nor_matters():
    """A sine of deviation √0.5 over a period of the sea, whatever is on land."""
    sea = X[None].repeat(2, 1).flatten()
    mask = torch.arange(128) < 64
    for land in (0.0, 1e6, -1e6):
        fields = torch.where(mask, 0.3 + 5.0 * sea.sin(), land)[None, None]
        held = LIMITS.hold(fields, mask[None, None])[0, 0, :64]
        torch.testing.assert_close(held, 0.3 + math.sqrt(0.5) * X.sin())
    inside = torch.where(mask, 0.3 + 0.2 * sea.sin(), 1e6)[None, None]
    assert LIMITS.hold(inside, mask[None, None]).equal(inside)
    nowhere = LIMITS.hold(inside, torch.zeros_like(mask)[None, None])
    assert nowhere.isfinite().all()
