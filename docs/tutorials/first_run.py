# %% [markdown]
# # Simulate, pretrain, fine-tune
#
# One small operator learns two equations at once, and then a third problem, with steeper fronts, from four trajectories.
# Sizes are those of a minute on one core; the commands of the [tour](../../README.md#five-minute-tour) do the same on
# any scale.

# %%
from pathlib import Path

import matplotlib.pyplot as plt

from pelagos.datasets import open_store, simulate
from pelagos.finetune import evaluate, finetune, predict
from pelagos.operators import from_pretrained
from pelagos.pretrain import pretrain

# %% [markdown]
# ## Data
#
# `simulate` writes a dataset with train, valid and test splits in The Well's HDF5 layout. What is not given is the
# equation's default ([equations](../equations.md)); a dataset that is there already is left as it is.

# %%
sizes = {"resolution": 64, "frames": 21}
many = {"train": 24, "valid": 2, "test": 4}
few = {"train": 4, "valid": 2, "test": 4}
simulate("burgers_1d", Path("data"), dt=0.02, trajectories=many, **sizes)
simulate("heat_1d", Path("data"), dt=0.02, trajectories=many, **sizes)
thin = {"name": "burgers_thin", "parameters": {"viscosity": 0.004}}
simulate("burgers_1d", Path("data"), dt=0.02, trajectories=few, **thin, **sizes)

store = open_store("data/burgers_1d", "test")
print(store.fields, store.grid.shape, len(store), "trajectories", tuple(store.trajectory(0).shape))

# %% [markdown]
# ## Pretraining
#
# A recipe says what is trained. `time_scale` is the physical time that the network sees as 1, here a frame.

# %%
Path("pretrain.yaml").write_text("""
data:
  - {path: data/burgers_1d, time_scale: 0.02}
  - {path: data/heat_1d, time_scale: 0.02}
operator: {name: dymixop, history: 2, hidden: 16, layers: 2, modes: 12}
normalizer: {name: window, growth: 1.5}
objective: {horizon: 3}
optimizer: {learning_rate: 5.0e-3}
steps: 120
batch: 16
micro_batch: 16
validation: {every: 120, horizon: 8}
log_every: 40
save_every: 120
""")
checkpoint = pretrain("pretrain.yaml", "runs/pretrained", resume=True)

# %% [markdown]
# ## Fine-tuning on fronts that it never saw
#
# The same recipe from the pretrained weights and from scratch, on four trajectories.

# %%
Path("finetune.yaml").write_text("""
data:
  - {path: data/burgers_thin, time_scale: 0.02}
operator: {name: dymixop, history: 2, hidden: 16, layers: 2, modes: 12}
normalizer: {name: window, growth: 1.5}
objective: {horizon: 3}
optimizer: {learning_rate: 5.0e-3}
steps: 20
batch: 16
micro_batch: 16
validation: {every: 20, horizon: 8}
log_every: 10
save_every: 20
""")
start = ["--init_from", str(checkpoint)]
finetuned = finetune("finetune.yaml", "runs/finetuned", start, resume=True)
scratch = finetune("finetune.yaml", "runs/scratch", resume=True)

# %% [markdown]
# ## How good is it?
#
# Scores are those of rollouts over the test split, beside persistence (the last given frame, repeated). A VRMSE of 1
# is the error of predicting the mean.

# %%
store = open_store("data/burgers_thin", "test")
scores = {}
for name, path in (("pretrained", finetuned), ("scratch", scratch)):
    scores[name] = evaluate(from_pretrained(path), store, steps=8)
    print(f"{name:12} VRMSE {scores[name]['summary']['vrmse']:.3f}")
print(f"persistence  VRMSE {scores['scratch']['summary']['persistence']['vrmse']:.3f}")

# %% [markdown]
# A prediction is an `xarray.Dataset` with coordinates, truth and provenance. After seconds of training both are rough;
# what minutes and several seeds give is in the [results](../../benchmarks/RESULTS.md).

# %%
forecast = predict(from_pretrained(finetuned), store, trajectories=1, steps=8)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
for axis, name in zip(axes, ("u", "u_truth"), strict=True):
    shown = forecast[name][0]
    image = axis.pcolormesh(
        forecast["x"], forecast["lead_time"], shown, cmap="RdBu_r", vmin=-2, vmax=2
    )
    axis.set(title=name, xlabel="x")
axes[0].set_ylabel("lead time")
figure.colorbar(image, ax=axes)
plt.show()
