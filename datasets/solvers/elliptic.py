"""Steady elliptic problems on rectangles, u being 0 on the boundary.

Values stand at cell centres, half a spacing inside. Finite volumes of second order: the flux
through a face takes the harmonic mean of the coefficient on its two sides.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn import functional

from .blow_up import refuse

# Conjugate gradients stop at this residual, relative to the right-hand side.
_TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-6}
_ITERATIONS = 500


def solve_diffusion(
    a: Float[Tensor, "B 1 *S"], f: Float[Tensor, "B 1 *S"], spacing: tuple[float, ...]
) -> Float[Tensor, "B 1 *S"]:
    """u with −∇·(a ∇u) = f and u = 0 on the boundary.

    Conjugate gradients, preconditioned by the same problem with a = 1: the number of iterations
    grows with the root of max a / min a, not with the number of cells.

    Raises:
        BlowUp: a is not positive, or the iterations did not converge.
    """
    refuse(~(a > 0).flatten(1).all(1), "has a coefficient that is not positive")
    faces = _face_coefficients(a, spacing)
    laplacian = _mirrored_symbol(f, spacing)
    u, r = torch.zeros_like(f), f.clone()
    target = _TOLERANCE[f.dtype] * _norm(f)
    z = _solve_mirrored(r, laplacian)
    p, rz = z, _dot(r, z)
    for _ in range(_ITERATIONS):
        # Trajectories that are done stand still, so that none depends on its batch.
        active = _norm(r) > target
        if not bool(active.any()):
            return u
        ap = _apply(faces, p)
        alpha = torch.where(active, rz / _dot(p, ap), 0)
        u, r = u + alpha * p, r - alpha * ap
        z = _solve_mirrored(r, laplacian)
        rz, before = _dot(r, z), rz
        p = torch.where(active, z + rz / before * p, p)
    refuse((_norm(r) > target).flatten(), f"did not converge in {_ITERATIONS} iterations")
    return u


def solve_helmholtz(
    q: Float[Tensor, "B 1 *S"], f: Float[Tensor, "B 1 *S"], spacing: tuple[float, ...]
) -> Float[Tensor, "B 1 *S"]:
    """u with −Δu − q u = f and u = 0 on the boundary, which may be indefinite.

    Sparse LU factorisation on the host, one trajectory after another.
    """
    laplacian = _sparse_laplacian(tuple(f.shape[2:]), spacing)
    out = []
    for one_q, one_f in zip(q, f, strict=True):
        diagonal = scipy.sparse.diags(one_q.flatten().double().cpu().numpy())
        matrix = scipy.sparse.csc_matrix(laplacian - diagonal)
        factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        solution = factors.solve(one_f.flatten().double().cpu().numpy())
        out.append(torch.from_numpy(solution).to(f).reshape(one_f.shape))
    return torch.stack(out)


def _face_coefficients(a: Tensor, spacing: tuple[float, ...]) -> list[Tensor]:
    """Harmonic means over h² on the n + 1 faces along each axis; 2 a / h² on the boundary."""
    faces = []
    for axis, h in enumerate(spacing):
        dim = 2 + axis
        n = a.shape[dim]
        left, right = a.narrow(dim, 0, n - 1), a.narrow(dim, 1, n - 1)
        inner = 2 * left * right / (left + right)
        ends = 2 * a.narrow(dim, 0, 1), 2 * a.narrow(dim, n - 1, 1)
        faces.append(torch.cat((ends[0], inner, ends[1]), dim) / h**2)
    return faces


def _apply(faces: list[Tensor], u: Tensor) -> Tensor:
    """−∇·(a ∇u) in every cell."""
    out = torch.zeros_like(u)
    for axis, coefficient in enumerate(faces):
        dim = 2 + axis
        pad = [0] * (2 * (u.ndim - dim))
        pad[-2:] = 1, 1
        flux = coefficient * functional.pad(u, pad).diff(dim=dim)
        out -= flux.diff(dim=dim)
    return out


def _mirrored_symbol(like: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """Eigenvalues of the discrete −Δ on the periodic grid of twice the cells along every axis."""
    total = torch.zeros((), dtype=torch.float64)
    for axis, h in enumerate(spacing):
        n = like.shape[2 + axis]
        count = n + 1 if axis == len(spacing) - 1 else 2 * n
        j = torch.arange(count, dtype=torch.float64)
        values = 4 / h**2 * torch.sin(torch.pi * j / (2 * n)).square()
        total = total + values.reshape(-1, *(1,) * (len(spacing) - 1 - axis))
    return total.masked_fill(total == 0, math.inf).to(like)


def _solve_mirrored(f: Tensor, symbol: Tensor) -> Tensor:
    """u with −Δu = f and u = 0 on the boundary: continued oddly, f is periodic."""
    shape = f.shape[2:]
    for dim in range(2, f.ndim):
        f = torch.cat((f, -f.flip(dim)), dim)
    axes = tuple(range(2, f.ndim))
    u = torch.fft.irfftn(torch.fft.rfftn(f, dim=axes) / symbol, s=f.shape[2:], dim=axes)
    return u[(..., *map(slice, shape))]


def _sparse_laplacian(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> scipy.sparse.csc_matrix:
    """−Δ with u = 0 on the boundary."""
    total = scipy.sparse.csc_matrix((math.prod(shape),) * 2)
    for axis, (n, h) in enumerate(zip(shape, spacing, strict=True)):
        diagonal = np.full(n, 2.0)
        diagonal[0] += 1.0
        diagonal[-1] += 1.0
        neighbours = scipy.sparse.eye(n, k=1) + scipy.sparse.eye(n, k=-1)
        line = (scipy.sparse.diags(diagonal) - neighbours) / h**2
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        total = total + scipy.sparse.kron(
            scipy.sparse.kron(scipy.sparse.identity(before), line), scipy.sparse.identity(after)
        )
    return scipy.sparse.csc_matrix(total)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product per trajectory, (B, 1, *1)."""
    return (a * b).sum(tuple(range(1, a.ndim)), keepdim=True)


def _norm(a: Tensor) -> Tensor:
    return _dot(a, a).sqrt()
