# %% [markdown]
# # A new operator and a new PDE in fifty lines
#
# Both are the whole code: what training, rollouts, checkpoints and reports need comes with the interface. In a package
# they are found by entry points ([extending](../extending.md)); in a notebook they are used as they are.

# %%
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt

from pelagos.datasets import SemilinearEquation, open_store, simulate
from pelagos.datasets.equations import Parameter
from pelagos.datasets.equations.initial import FourierSeries
from pelagos.finetune import evaluate
from pelagos.operators import Operator, from_pretrained
from pelagos.operators.core.registry import OPERATORS
from pelagos.operators.layers import Convolution
from pelagos.pretrain import pretrain

# %% [markdown]
# ## A PDE
#
# Fractional diffusion, u_t = −D (−Δ)^(α/2) u. A semilinear equation is the symbol of its linear part (and a nonlinear
# term, where it has one); the solver is exponential and exact in the linear part.

# %%
FRACTIONAL = SemilinearEquation(
    name="fractional_1d",
    title="Fractional diffusion",
    formula="u_t = -D (-Δ)^(α/2) u",
    fields=("u",),
    lengths=(1.0,),
    resolution=(64,),
    dt=0.1,
    frames=13,
    initial=FourierSeries(modes=8, rms=(0.5, 1.0)),
    linear=lambda s, p: -p["diffusivity"] * s.k2 ** (p["exponent"] / 2),
    parameters={
        "diffusivity": Parameter(0.02, 0.02, "diffusivity D", minimum=0.0),
        "exponent": Parameter(1.5, 1.5, "exponent α", minimum=0.0, maximum=2.0),
    },
)
simulate(FRACTIONAL, Path("data"), trajectories={"train": 24, "valid": 2, "test": 4})

# %% [markdown]
# ## An operator
#
# How it is built, how its weights are drawn, and how a state goes one step further. This one predicts the change of the
# field by one convolution: enough for a linear equation.


# %%
@dataclass(frozen=True)
class StencilConfig:
    """Keys of a recipe."""

    ndim: int
    history: int = 1
    size: int = 17  # points per axis, odd


class Stencil(Operator):
    """The change of the fields is one convolution of the last frames."""

    name, Config = "stencil", StencilConfig

    def __init__(self, config, description):
        super().__init__(config, description)
        inputs, outputs = config.history * len(description.channels), len(description.fields)
        self.convolution = Convolution(config.ndim, inputs, outputs, config.size)

    def reset(self, generator):
        """Draw the weights."""
        self.convolution.reset(generator)

    def step(self, state, dt, observation=None):
        """One step further, in physical units."""
        self.check_step(state, dt, observation)
        scaling = self.scaling(state)
        seen = scaling.encode(state.history)
        fields = scaling.decode(self.convolution(seen.flatten(1, 2)), state.history[:, -1])
        return state.advance(fields, dt), fields


if "stencil" not in OPERATORS.names():
    OPERATORS.add("stencil", Stencil)

# %% [markdown]
# ## Train it, like any other

# %%
Path("stencil.yaml").write_text("""
data: [{path: data/fractional_1d}]
operator: {name: stencil}
normalizer: {name: statistics}
objective: {horizon: 2}
optimizer: {learning_rate: 2.0e-2}
steps: 150
batch: 16
micro_batch: 16
validation: {every: 150, horizon: 8}
log_every: 50
save_every: 150
""")
checkpoint = pretrain("stencil.yaml", "runs/stencil", resume=True)
operator = from_pretrained(checkpoint)
score = evaluate(operator, open_store("data/fractional_1d", "test"), steps=10)["summary"]
print(f"VRMSE {score['vrmse']:.3f}, persistence {score['persistence']['vrmse']:.3f}")

# %% [markdown]
# What it learned is the kernel of the equation's own propagator, exp(−D |k|^α Δt) in Fourier space: long tails, which
# ordinary diffusion has not.

# %%
kernel = next(iter(operator.convolution.parameters())).detach().flatten()
plt.figure(figsize=(5, 3))
plt.plot(range(-(len(kernel) // 2), len(kernel) // 2 + 1), kernel, ".-")
plt.gca().set(xlabel="distance in points", ylabel="weight", title="the learned stencil")
plt.show()
