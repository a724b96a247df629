"""The local–global network of the observer: scaled fields to their scaled rate or change.

    c = lift(u),   c ← c + A [ GELU(G(c) + S₁(c)) , G(c) ⊙ S₂(c) ]   (each layer),   project(c)

with G a spectral (global) and S₁, S₂ local convolutions, and A a channel matrix. The product is the
one of dynamics mixing (arXiv 2508.13490) without a nonlinearity behind it: G learns a derivative,
and a quadratic term such as u u_x is one layer. The network commutes with translations, unless it
is given coordinates.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..layers.convolution import Convolution
from ..layers.spectral import SpectralConvolution, spectral_convolution


class Tendency(nn.Module):
    """The network; see the module's docstring.

    Args:
        ndim: space axes.
        inputs, outputs: channels.
        hidden: channels of c.
        layers: local–global layers.
        modes: Fourier modes of G per axis and sign.
        kernel_size: width of S₁ and S₂ (odd).
    """

    def __init__(
        self,
        ndim: int,
        inputs: int,
        outputs: int,
        hidden: int,
        layers: int,
        modes: int,
        kernel_size: int,
    ) -> None:
        super().__init__()
        self.lift = Convolution(ndim, inputs, hidden, 1)
        self.layers = nn.ModuleList(_Layer(ndim, hidden, modes, kernel_size) for _ in range(layers))
        self.project = Convolution(ndim, hidden, outputs, 1)

    def reset(self, generator: torch.Generator) -> None:
        """Uniform weights; a tenth of them in the projection, so that it starts small."""
        self.lift.reset(generator)
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            layer.reset(generator)
        self.project.reset(generator)
        with torch.no_grad():
            for parameter in self.project.parameters():
                parameter.mul_(0.1)

    def forward(self, x: Float[Tensor, "B C *S"]) -> Float[Tensor, "B D *S"]:
        """The network of x."""
        latent = self.lift(x)
        for layer in self.layers:
            latent = layer(latent)
        return self.project(latent)


class _Layer(nn.Module):
    """c + A [ GELU(G(c) + S₁(c)) , G(c) ⊙ S₂(c) ]."""

    def __init__(self, ndim: int, hidden: int, modes: int, kernel_size: int) -> None:
        super().__init__()
        self.spectral = SpectralConvolution(ndim, hidden, hidden, modes)
        self.local = Convolution(ndim, hidden, 2 * hidden, kernel_size)
        self.mix = Convolution(ndim, 2 * hidden, hidden, 1)

    def reset(self, generator: torch.Generator) -> None:
        """Uniform; of both signs also in the spectral weights, as G stands in a product."""
        for module in (self.spectral, self.local, self.mix):
            module.reset(generator)
        bound = self.spectral.weight.shape[-2] ** -0.5
        nn.init.uniform_(self.spectral.weight, -bound, bound, generator=generator)

    def forward(self, latent: Float[Tensor, "B H *S"]) -> Float[Tensor, "B H *S"]:
        """The next latent state."""
        periodic = (True,) * (latent.ndim - 2)
        spread = spectral_convolution(latent.movedim(1, -1), [self.spectral], periodic)
        spread = spread.movedim(-1, 1)
        sum_with, product_with = self.local(latent).chunk(2, 1)
        parts = (F.gelu(spread + sum_with), spread * product_with)
        return latent + self.mix(torch.cat(parts, 1))
