"""Dynamics behind series of states: growth of small differences, and verified linear spectra.

`largest_lyapunov` follows a tangent along a map. `residual_modes` is residual DMD (Colbrook and
Townsend 2024, arXiv 2111.14889): eigenvalues of the best linear map between snapshots, each with a
residual that says whether it is one of the dynamics, or comes of the functions it was sought in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Advance = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def largest_lyapunov(
    advance: Advance, state: Tensor, tangent: Tensor, dt: float, steps: int, discard: int = 0
) -> Float[Tensor, " B"]:
    """The largest Lyapunov exponent of each trajectory, (1/T) Σ ln‖J v‖ / ‖v‖, per unit of time.

    Args:
        advance: (state, tangent) to those one step later; both have a leading B. The tangent goes
            through the Jacobian of the step.
        state: (B, …) where to begin.
        tangent: (B, …) any direction; it turns into the fastest growing one.
        dt: time of a step.
        steps: how many count.
        discard: steps before, in which the tangent turns.

    Returns:
        In double precision; not finite where the trajectory or the tangent is not.
    """
    total = torch.zeros(len(state), dtype=torch.float64, device=state.device)
    tangent = tangent / _norm(tangent)
    for number in range(discard + steps):
        state, tangent = advance(state, tangent)
        growth = _norm(tangent)
        tangent = tangent / growth
        if number >= discard:
            total += growth.flatten().double().log()
    return total / (steps * dt)


def by_differences(step: Callable[[Tensor], Tensor], size: float = 1e-6) -> Advance:
    """The `advance` of a map without derivatives: the difference of two neighbours over `size`.

    Args:
        step: (B, …) states one step later.
        size: distance of the neighbours over the norm of the state.
    """

    def advance(state: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        distance = size * _norm(state)
        both = step(torch.cat((state, state + distance * tangent)))
        after, neighbour = both.chunk(2)
        return after, (neighbour - after) / distance

    return advance


def _norm(x: Tensor) -> Tensor:
    """Per sample, shaped to divide by."""
    norm = x.double().flatten(1).norm(dim=1).clamp_min(1e-300).to(x.dtype)
    return norm.reshape(-1, *(1,) * (x.ndim - 1))


@dataclass(frozen=True)
class ResidualModes:
    """Eigenvalues of the linear map from snapshots to the next ones, with their residuals.

    Attributes:
        eigenvalues: (K,) complex, those with the smallest residuals first.
        residuals: (K,) ‖(𝒦 − λ) g‖ / ‖g‖ of the eigenfunctions g over the snapshots: 0 where the
            observables hold one of the dynamics.
        forward, square: A = Ψx* Ψy and L = Ψy* Ψy in the orthonormal basis of the snapshots.
    """

    eigenvalues: Tensor
    residuals: Tensor
    forward: Tensor
    square: Tensor

    def pseudospectrum(self, points: Tensor) -> Tensor:
        """The smallest residual that any observable has at each of some complex points."""
        flat = points.flatten().to(self.forward.dtype)
        eye = torch.eye(len(self.forward), dtype=self.forward.dtype)
        z = flat[:, None, None]
        form = self.square - z * self.forward.mH - z.conj() * self.forward + z.abs().square() * eye
        return torch.linalg.eigvalsh(form)[:, 0].clamp_min(0).sqrt().reshape(points.shape)


def residual_modes(
    before: Float[Tensor, "M K"], after: Float[Tensor, "M K"], cut: float = 1e-8
) -> ResidualModes:
    """Residual DMD of snapshot pairs, all of the same weight.

    Args:
        before, after: observables of M states and of those one step later: coefficients, powers of
            them, and a constant where means are not zero.
        cut: singular values of `before` below this part of the largest are left out.

    Raises:
        ValueError: fewer pairs than observables.
    """
    if len(before) < before.shape[1]:
        raise ValueError(
            f"{before.shape[1]} observables need as many pairs of snapshots; got {len(before)}"
        )
    basis, sizes, rows = torch.linalg.svd(before.double(), full_matrices=False)
    kept = sizes > cut * sizes[0]
    basis = basis[:, kept]
    moved = after.double() @ (rows[kept].T / sizes[kept])
    forward, square = basis.T @ moved, moved.T @ moved
    values, vectors = torch.linalg.eig(forward)
    forward, square = forward.to(values.dtype), square.to(values.dtype)
    image = square @ vectors
    residuals = (vectors.conj() * image).sum(0).real
    # v* (L − λ A* − λ̄ A + |λ|²) v with A v = λ v, and ‖v‖ = 1.
    residuals = (residuals - values.abs().square()).clamp_min(0).sqrt()
    order = residuals.argsort()
    return ResidualModes(values[order], residuals[order], forward, square)


def dmd_forecast(history: Float[Tensor, "T F"], steps: int) -> Float[Tensor, "K F"]:
    """The linear forecast that needs no training: dynamic mode decomposition of a history.

    The map of least squares from frames to the next ones, within the span of the frames, goes on
    from the last one. A history of T frames holds T − 1 modes; of one frame nothing follows but
    itself.

    Args:
        history: frames, evenly spaced.
        steps: frames to predict, as far apart.
    """
    flat = history.double()
    if len(flat) < 2:
        return flat[-1:].expand(steps, -1).to(history)
    before, after = flat[:-1], flat[1:]
    left, sizes, modes = torch.linalg.svd(before, full_matrices=False)
    kept = sizes > 1e-6 * sizes[0].clamp_min(1e-300)
    left, sizes, modes = left[:, kept], sizes[kept], modes[kept]
    # Rows are frames: c → c M in the coordinates of the modes; the last frame leaves their span.
    forward = (left / sizes).T @ after
    state, frames = flat[-1], []
    for _ in range(steps):
        state = (state @ modes.T) @ forward
        frames.append(state)
    return torch.stack(frames).to(history)
