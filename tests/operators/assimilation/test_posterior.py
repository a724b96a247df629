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


@pytest.mark.parametrize("sensors", ["many", "few", "one field only"])
@pytest.mark.parametrize("correlation", [0.5, 0.99])
def test_single_precision_is_as_exact_as_its_inputs(sensors, correlation):
    """Also where few accurate sensors, or fields of nearly the same error, are ill-conditioned."""
    mixing, precision, seen = (x.detach() for x in inputs(2, size=9))
    mixing[:, 1] = correlation * mixing[:, 0] + (1 - correlation) * mixing[:, 1]
    precision = 1e3 * precision
    if sensors == "few":
        root = torch.linalg.cholesky(precision)[..., :4]
        precision = root @ root.mT
    if sensors == "one field only":
        precision[:, 1] = 0
    single = [x.float().requires_grad_() for x in (mixing, precision, seen)]
    double = [x.detach().double().requires_grad_() for x in single]
    found, expected = posterior(*single), whole(*double)
    generator = torch.Generator().manual_seed(9)
    weights = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in expected]
    weights[1] = weights[1] + weights[1].mT
    gradients = [
        torch.autograd.grad(
            sum((x.double() * w).sum() for x, w in zip(out, weights, strict=True)), given
        )
        for out, given in ((found, single), (expected, double))
    ]
    for one, two in zip((*found, *gradients[0]), (*expected, *gradients[1]), strict=True):
        if one.shape[-1] == one.shape[-2]:
            one, two = one + one.mT, two + two.mT
        assert (one.double() - two).norm() < 1e-4 * two.norm()
        assert one.dtype == torch.float32


@pytest.mark.parametrize("used", [0, 1])
def test_what_is_not_used_has_no_gradient(used):
    given = inputs(2)
    weight = torch.eye(5, dtype=torch.float64) if used else 1.0
    one, two = (
        torch.autograd.grad((found[used] * weight).sum(), given, allow_unused=True)
        for found in (posterior(*given), whole(*given))
    )
    assert (one[2] is None) == bool(used)
    compare(one[0], two[0], singular=False)
    compare(one[1] + one[1].mT, two[1] + two[1].mT, singular=False)
