# %% [markdown]
# # Sensors: assimilate and forecast
#
# A few noisy sensors, a model that is not perfect, and an estimate of the whole field with its uncertainty. Any operator
# can be wrapped for it; here a DyMixOp that has learned advection.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from pelagos.datasets import collate, open_store, simulate
from pelagos.finetune import Assimilator
from pelagos.operators import Sensors, assimilate, from_pretrained
from pelagos.pretrain import pretrain

# %%
counts = {"train": 24, "valid": 2, "test": 2}
sizes = {
    "resolution": 64,
    "frames": 31,
    "dt": 0.02,
    "parameters": {"speed": 1.0},
    "trajectories": counts,
}
simulate("advection_1d", Path("data"), **sizes)
Path("advection.yaml").write_text("""
data: [{path: data/advection_1d, time_scale: 0.02}]
operator: {name: dymixop, history: 1, hidden: 16, layers: 2, modes: 12}
normalizer: {name: statistics}
objective: {horizon: 3}
optimizer: {learning_rate: 5.0e-3}
steps: 80
batch: 16
micro_batch: 16
validation: {every: 80, horizon: 8}
log_every: 20
save_every: 80
""")
checkpoint = pretrain("advection.yaml", "runs/advection", resume=True)

# %% [markdown]
# ## Wrap it
#
# The gain starts from the spectrum of training data, so that it is a sensible interpolation without any training of its
# own. On the command line: `pelagos assimilate CHECKPOINT sensors.csv`.

# %%
train, test = open_store("data/advection_1d", "train"), open_store("data/advection_1d", "test")
frames = torch.stack([train.trajectory(i)[0] for i in range(len(train))])
operator = assimilate(from_pretrained(checkpoint), frames, dataset=train.name)

# %% [markdown]
# ## Measure, and estimate as the measurements come
#
# Ten sensors lie anywhere in the domain, with noise of a tenth of the field. Nothing is known at the start. With
# `members` the gain uses the covariance of an ensemble, and the spread is an estimate of the error.

# %%
rng = np.random.default_rng(1)
window = test.window(0, horizon=30)
truth = torch.cat([window.history, window.target])[:, 0]
noise = 0.1 * truth.std()
x = test.grid.coordinates()[0].double()
places = np.sort(rng.uniform(x[0], x[-1], 10))


def measure(frame):
    """What the sensors say of a frame."""
    there = np.interp(places, x, frame.double()) + noise.item() * rng.normal(size=len(places))
    values = torch.tensor(there, dtype=torch.float32)[None]
    positions = torch.tensor(places, dtype=torch.float32)[:, None]
    return Sensors(values, positions, ("u",) * len(places), noise.expand(1, len(places)))


live = Assimilator(operator, collate([window]).context, members=16)
lead, analysed = test.dt, 16
estimates = [
    live.step(k * lead, measure(truth[k]) if k < analysed else None) for k in range(1, len(truth))
]

# %%
errors = [
    (e.mean[0] - y).square().mean().sqrt() / truth.std()
    for e, y in zip(estimates, truth[1:], strict=True)
]
spreads = [e.spread.square().mean().sqrt() / truth.std() for e in estimates]
print(
    f"error / deviation: first {errors[0]:.2f}, last analysis {errors[analysed - 2]:.2f}, forecast {errors[-1]:.2f}"
)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
times = np.arange(1, len(truth)) * lead
left.plot(times, errors, label="error")
left.plot(times, spreads, "--", label="spread")
left.axvline((analysed - 0.5) * lead, color="grey", linewidth=0.8)
left.set(xlabel="time", ylabel="over the field's deviation", title="sensors until the line")
left.legend()
final = estimates[analysed - 2]
right.plot(x, truth[analysed - 1], label="truth")
right.plot(x, final.mean[0], label="analysis")
low, high = final.mean[0] - 2 * final.spread[0], final.mean[0] + 2 * final.spread[0]
right.fill_between(x, low, high, alpha=0.3, label="± 2 spreads")
right.plot(places, np.interp(places, x, truth[analysed - 1]), "k.", label="sensors")
right.set(xlabel="x", title="the last analysis")
right.legend(fontsize="small")
plt.show()
