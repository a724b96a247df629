"""The posterior of smooth errors against its formula, written out with whole matrices."""

import pytest
import torch

from pelagos.operators.assimilation.posterior import posterior


def inputs(fields, size=5, batch=2, singular=False):
    generator = torch.Generator().manual_seed(fields)
    mixing, seen = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((size, fields, fields), (batch, fields, size))
    )
    root = torch.randn(batch, fields, size, 2 * size, generator=generator, dtype=torch.float64)
    if singular:  # two fields with the same error, and one with none
        mixing[:, 1], mixing[:, 2] = mixing[:, 0], 0
    return mixing.requires_grad_(), (10 * root @ root.mT).requires_grad_(), seen.requires_grad_()


def whole(mixing, precision, seen):
    """T = S (I + Sᵀ M S)⁻¹ Sᵀ of matrices over (field, basis function), by torch alone."""
    size, fields = mixing.shape[:2]
    amplitude = torch.zeros(fields, size, fields, size, dtype=mixing.dtype)
    for q in range(size):
        amplitude[:, q, :, q] = mixing[q]
    amplitude = amplitude.reshape(fields * size, -1)
    products, blocks = [], []
    for matrices, vector in zip(precision, seen, strict=True):
        gram = amplitude.T @ torch.block_diag(*matrices) @ amplitude
        inverse = torch.linalg.inv(torch.eye(len(gram), dtype=gram.dtype) + gram)
        left = amplitude @ inverse @ amplitude.T
        products.append((left @ vector.flatten()).view_as(vector))
        left = left.view(fields, size, fields, size)
        blocks.append(torch.stack([left[c, :, c] for c in range(fields)]))
    return torch.stack(products), torch.stack(blocks)


def compare(found, expected, singular):
    """Fields of the same error keep 1e-7 of their variance to themselves."""
    limits = {"rtol": 0, "atol": 1e-4 * expected.abs().max().item()} if singular else {}
    torch.testing.assert_close(found, expected, **limits)


@pytest.mark.parametrize(("fields", "singular"), [(1, False), (2, False), (3, False), (3, True)])
def test_values_and_gradients_are_those_of_the_formula(fields, singular):
    given = inputs(fields, singular=singular)
    found, expected = posterior(*given), whole(*given)
    generator = torch.Generator().manual_seed(9)
    weights = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in expected]
    weights[1] = weights[1] + weights[1].mT
    for one, two in zip(found, expected, strict=True):
        compare(one, two, singular)
    # Whoever gives a symmetric matrix gets the gradient of its symmetric part.
    gradients = (
        torch.autograd.grad(sum((x * w).sum() for x, w in zip(out, weights, strict=True)), given)
        for out in (found, expected)
    )
    for number, (one, two) in enumerate(zip(*gradients, strict=True)):
        if number == 1:
            one, two = one + one.mT, two + two.mT
        compare(one, two, singular)


def test_single_precision_is_as_exact_as_its_inputs():
    """Ill-conditioned by accurate measurements: what is small is kept."""
    mixing, precision, seen = (x.detach() for x in inputs(2, size=9))
    precision = 1e4 * precision
    single = (mixing.float(), precision.float(), seen.float())
    expected = posterior(*(x.double() for x in single))
    for one, two in zip(posterior(*single), expected, strict=True):
        torch.testing.assert_close(one.double(), two, rtol=1e-6, atol=1e-12)
