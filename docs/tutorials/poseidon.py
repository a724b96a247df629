# %% [markdown]
# # Poseidon's checkpoints: in, fine-tuned, out
#
# The multiscale transformer is the network of [Poseidon](https://arxiv.org/abs/2405.19101). Published weights are one
# command away (`pelagos import hf:camlab-ethz/Poseidon-T runs/poseidon`); here a small set of weights in the published
# format stands for them, so that this page needs no network and little time.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from pelagos.datasets import open_store, simulate
from pelagos.finetune import evaluate, finetune, predict
from pelagos.operators import create, from_pretrained
from pelagos.operators.compat import load_scot, save_scot

# %%
small = create(
    "multiscale",
    fields=("density", "velocity_x", "velocity_y", "pressure"),
    ndim=2,
    width=16,
    depths=(2, 2),
    heads=(2, 4),
    skips=(1, 0),
    window=4,
    patch=2,
    resolution=(32, 32),
)
published = save_scot(small, Path("published"))
print(*sorted(path.name for path in published.iterdir()))

# %% [markdown]
# ## In
#
# `normalization="fluids"` brings what the published checkpoints were pretrained with: means and deviations, the time
# scale, the range of lead times, and what stands for density and pressure where data have none. `"identity"` computes
# the published function as it is.

# %%
operator = load_scot(published, normalization="fluids", license="the one of the weights")
operator.save_pretrained("runs/poseidon", overwrite=True)
print(operator.description.fields, sum(p.numel() for p in operator.parameters()), "parameters")

# %% [markdown]
# ## Fine-tuned
#
# On a new dataset, with two of the four fields. Weights belong to fields by name, so the velocity
# keeps its own; times are scaled by the new dataset's frame spacing.

# %%
sizes = {"resolution": 32, "frames": 8, "trajectories": {"train": 4, "valid": 1, "test": 2}}
simulate("navier_stokes_sines_2d", Path("data"), **sizes)
store = open_store("data/navier_stokes_sines_2d", "test")
print(store.fields, store.dt)

# %%
Path("poseidon.yaml").write_text(f"""
data:
  - {{path: data/navier_stokes_sines_2d, time_scale: {store.dt}}}
operator: {{name: multiscale}}
normalizer: {{name: statistics}}
learning_rates: {{embedding: 5.0e-3, recovery: 5.0e-3, conditioning: 5.0e-3}}
objective: {{kind: all2all, horizon: 3, loss: grouped_relative_l1}}
optimizer: {{learning_rate: 4.0e-3, clip: 5.0}}
steps: 150
batch: 8
micro_batch: 8
validation: {{every: 150, horizon: 3}}
log_every: 50
save_every: 150
""")
checkpoint = finetune(
    "poseidon.yaml", "runs/finetuned", ["--init_from", "runs/poseidon"], resume=True
)

# %% [markdown]
# The network is continuous in time: it predicts at any lead time within the trained range, each straight from the
# given frame (`mode="direct"`) or step by step.

# %%
tuned = from_pretrained(checkpoint)
summary = evaluate(tuned, store, steps=3)["summary"]
print(f"VRMSE {summary['vrmse']:.3f}, persistence {summary['persistence']['vrmse']:.3f}")
forecast = predict(
    tuned, store, trajectories=1, lead_times=(1.5 * store.dt, 2.5 * store.dt), mode="direct"
)
figure, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True)
for axis, frame in zip(axes, range(2), strict=True):
    shown = forecast["velocity_x"][0, frame].transpose("y", "x")
    image = axis.pcolormesh(forecast["x"], forecast["y"], shown, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set(
        title=f"velocity_x after {float(forecast['lead_time'][frame]):.3g}",
        xlabel="x",
        aspect="equal",
    )
figure.colorbar(image, ax=axes)
plt.show()

# %% [markdown]
# ## Out
#
# Back into a directory that the published code opens, with the same function.

# %%
out = save_scot(tuned, Path("exported"))
again = load_scot(out, fields=store.fields)
same = all(torch.equal(a, b) for a, b in zip(tuned.parameters(), again.parameters(), strict=True))
print(*sorted(path.name for path in out.iterdir()), "| same weights:", same)
