"""Updates of weights by band of wave numbers, against their formula mode by mode."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pelagos.operators.core.updates import Banded, bands, merge, put, updated
from pelagos.operators.layers.spectral import SpectralConvolution


@pytest.mark.parametrize(
    ("kept", "expected"), [((2,), 1), ((3,), 2), ((4,), 2), ((5,), 3), ((8, 4), 3), ((16, 8), 4)]
)
def test_bands_are_octaves(kept, expected):
    """0 and 1, 2 and 3, 4 to 7, …; axes but the last keep −modes too, which is one more."""
    assert bands(kept) == expected


def drawn(weight, ranks, scale):
    generator = torch.Generator().manual_seed(1)
    update = Banded(weight, ranks, scale, generator)
    with torch.no_grad():
        for part in (*update.cores, *update.outer):
            part.normal_(0, 0.3, generator=generator)
    return update


def test_a_mode_has_the_matrix_of_its_band():
    modes, inputs, outputs, ranks, scale = 4, 5, 3, (3, 2, 1), 0.5
    weight = torch.randn(2 * modes, modes, inputs, outputs, 2)
    update = drawn(weight, ranks, scale)
    change = torch.view_as_complex((update(weight) - weight).detach().contiguous())
    counts = [0] * len(ranks)
    for i in range(2 * modes):
        for k in range(modes):
            largest = max(i if i < modes else 2 * modes - i, k)
            band = 0 if largest < 2 else 1 if largest < 4 else 2
            inner, core, outer = (
                torch.view_as_complex(part.detach())
                for part in (
                    update.inner[band],
                    update.cores[band][counts[band]],
                    update.outer[band],
                )
            )
            counts[band] += 1
            expected = scale * inner @ core @ outer
            torch.testing.assert_close(change[i, k], expected, rtol=1e-5, atol=1e-5)
            assert torch.linalg.matrix_rank(change[i, k], atol=1e-4) <= ranks[band]
    assert counts == [len(members) for members in update.members]


def test_it_starts_at_nothing_learns_and_merges_into_a_plain_weight():
    layer = SpectralConvolution(1, 4, 4, 4)
    layer.reset(torch.Generator().manual_seed(0))
    root = nn.ModuleDict({"layer": layer})
    x = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(3))
    before = layer(x).detach()
    put(root, "layer.weight", Banded(layer.weight, (2, 1), 1.0, torch.Generator().manual_seed(5)))
    assert torch.equal(layer(x), before)
    assert [*updated(root)] == ["layer.weight"]
    layer(x).square().sum().backward()
    update = updated(root)["layer.weight"].update
    assert all(part.grad.abs().max() > 0 for part in update.outer)
    with torch.no_grad():
        for part in update.outer:
            part.add_(part.grad, alpha=-0.1)
    after = layer(x).detach()
    assert not torch.equal(after, before)
    merge(root)
    assert [*root.state_dict()] == ["layer.weight"]
    torch.testing.assert_close(layer(x), after)
