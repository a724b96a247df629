"""Adaptive contraction: a penalty on the Jacobian of the one-step map, with learned tolerances.

Let F be the step from the frames that the operator sees to the next one (the whole step, not its
increment), in units of the normaliser's scale, and r_i² = Σ_j (∂F_i/∂u_j)² the squared norm of
row i of its Jacobian: how much the value at a point and field answers to white noise. A Gaussian
prior of scale σ_i on the row gives, as a maximum a posteriori estimate,

    R = mean_i [ r_i² / (2 σ_i²) + log σ_i ],    loss + weight · R.

With probes v of independent signs, E (J v)_i² = r_i²: one forward-mode pass gives the whole map.

Free tolerances degenerate: the best σ_i is r_i itself, and the gradient of mean log r_i that is
left grows without bound as r_i → 0. So here a tolerance is shared by all points of a field where
the field is about equally steep, is the running mean of r² there (in which, given the operator, R
has its optimum), and has a floor:

    σ_i² = floor² + running mean of { r_j² : |∇u| at j in the same bin as at i }.

The pull on a row, r_i / σ_i² at most, is then bounded by about 1 / (2 floor). Where fields are
smooth rows are held tighter than at fronts, if fronts amplify errors. Without `adaptive`, σ_i = 1:
the plain penalty mean r_i² / 2.

The idea, a spatially varying tolerance on the Jacobian learned as a MAP estimate, is that of JAWS
(arXiv 2603.05538), whose equations were not at hand: how tolerances are learned here is our own.

Cost: one step in forward mode per probe and its backward pass, about 3 evaluations; the memory of
2 to 3 steps with gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...datasets.base.annotations import AtLeastOne, BelowOne, Positive
from ...datasets.base.config import Checked
from ...datasets.fields.grid import Grid
from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.window import Window
from .chain import part
from .learning import Means
from .noise import generator_of
from .tangents import pushed

_PROBE = 0x70726F6265  # draws of its own
# Bins of the steepness over its root mean square: one below, one above, the others even in the log.
LOWEST, HIGHEST = 0.03, 10.0


@dataclass(frozen=True)
class JacobianConfig(Checked):
    """The penalty on the Jacobian of the one-step map.

    Attributes:
        weight: of the penalty.
        adaptive: whether the tolerance follows how steep the field is; else it is 1 everywhere.
        floor: smallest tolerance.
        bins: of steepness, per field.
        probes: forward-mode passes per micro-batch.
        memory: share of the running means that stays at every optimizer step.
    """

    weight: Positive = 1e-3
    adaptive: bool = True
    floor: Positive = 0.05
    bins: AtLeastOne = 12
    probes: AtLeastOne = 1
    memory: BelowOne = 0.99


class JacobianPenalty:
    """The penalty at work.

    Args:
        config: see `JacobianConfig`.
        fields: number of fields that are predicted.
    """

    def __init__(self, config: JacobianConfig, fields: int) -> None:
        self.config, self.fields = config, fields
        self.rows = Means(fields * config.bins, config.memory) if config.adaptive else None

    def __call__(
        self, model: nn.Module, window: Window, normalizer: Normalizer, seed: int
    ) -> Float[Tensor, ""]:
        """R of the first step from the history of a batch of windows, without its constant."""
        squares = row_norms(model, window, normalizer, seed, self.config.probes)
        counted = torch.ones_like(squares)
        if window.context.mask is not None:
            counted = counted * window.context.mask
        if self.rows is None:
            return (counted * squares).sum() / counted.sum().clamp_min(1) / 2
        bins = self.bins(window.history[:, -1], window.grid)
        held = self.tolerance(bins, squares).square()
        self._note(self.rows, bins, squares.detach(), counted)
        return (counted * squares / held).sum() / counted.sum().clamp_min(1) / 2

    def bins(self, frame: Float[Tensor, "B C *S"], grid: Grid) -> Tensor:
        """The bin (B, C, *S) of every point and field; fields do not share bins."""
        steep = steepness(frame, grid)
        size = steep.flatten(2).square().mean(2).sqrt().reshape(*steep.shape[:2], *(1,) * grid.ndim)
        edges = torch.logspace(
            math.log10(LOWEST), math.log10(HIGHEST), self.config.bins - 1, device=frame.device
        ).to(steep.dtype)
        relative = steep / size.clamp_min(torch.finfo(steep.dtype).tiny)
        field = torch.arange(frame.shape[1], device=frame.device)
        field = field.reshape(-1, *(1,) * grid.ndim)
        return torch.bucketize(relative, edges) + self.config.bins * field

    def tolerance(self, bins: Tensor, like: Tensor) -> Float[Tensor, "B C *S"]:
        """σ at every point, of the steps so far; 1 where nothing is known yet."""
        assert self.rows is not None
        return (self.config.floor**2 + self.rows.mean(1.0, like)[bins]).sqrt()

    @staticmethod
    def _note(rows: Means, bins: Tensor, squares: Tensor, counted: Tensor) -> None:
        zeros = squares.new_zeros(rows.width // 2, dtype=torch.float64)
        index, counted = bins.flatten(), counted.flatten().double()
        sums = zeros.scatter_add(0, index, counted * squares.flatten().double())
        rows.note_sums(sums, zeros.scatter_add(0, index, counted))


def row_norms(
    model: nn.Module, window: Window, normalizer: Normalizer, seed: int, probes: int
) -> Float[Tensor, "B C *S"]:
    """An unbiased estimate of r² at every point and field of the first step."""
    history, context = window.history, window.context
    scaling = normalizer.scaling(history, context.fields, context.dataset, inputs=context.inputs)
    generator, one = generator_of(seed, _PROBE), part(window, history, 0, 1)
    total = torch.zeros_like(window.target[:, 0])
    for _ in range(probes):
        signs = torch.randint(2, history.shape, generator=generator).to(history) * 2 - 1
        change = pushed(model, one, signs * scaling.scale.unsqueeze(1))[:, 0]
        total = total + (change / scaling.target.scale).square()
    return total / probes


def steepness(frame: Float[Tensor, "B C *S"], grid: Grid) -> Float[Tensor, "B C *S"]:
    """|∇u| by central differences; one-sided at the ends of axes that do not wrap around."""
    total = torch.zeros_like(frame)
    for axis, (spacing, kind) in enumerate(zip(grid.spacing, grid.boundary, strict=True), start=2):
        if kind == "periodic":
            slope = (frame.roll(-1, axis) - frame.roll(1, axis)) / (2 * spacing)
        else:
            (slope,) = torch.gradient(frame, spacing=spacing, dim=axis)
        total = total + slope.square()
    return total.sqrt()
