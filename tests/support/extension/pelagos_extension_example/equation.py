"""Fractional diffusion: spreading by long jumps.

The symbol of the operator is a power of the Laplacian's, between advection and diffusion.
"""

from pelagos.datasets.equations import Parameter, SemilinearEquation
from pelagos.datasets.equations.initial import FourierSeries

FRACTIONAL_DIFFUSION_1D = SemilinearEquation(
    name="fractional_diffusion_1d",
    title="Fractional diffusion",
    formula="u_t = -D (-Δ)^(α/2) u",
    fields=("u",),
    lengths=(1.0,),
    resolution=(64,),
    dt=0.1,
    frames=21,
    initial=FourierSeries(modes=8, rms=(0.5, 1.0)),
    linear=lambda s, p: -p["diffusivity"] * s.k2 ** (p["exponent"] / 2),
    parameters={
        "diffusivity": Parameter(0.01, 0.05, "diffusivity D", minimum=0.0),
        "exponent": Parameter(1.0, 1.5, "exponent α", minimum=0.0, maximum=2.0),
    },
)
