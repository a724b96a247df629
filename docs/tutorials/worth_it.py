# %% [markdown]
# # Is it worth it?
#
# Two questions before a learned operator replaces a solver: is it better than doing nothing (persistence), and how many
# forecasts pay for its training? Both are answered here with measured numbers, on a small problem. Measure yours.

# %%
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt

from pelagos.datasets import open_store, simulate
from pelagos.finetune import evaluate
from pelagos.operators import from_pretrained
from pelagos.pretrain import pretrain

# %% [markdown]
# ## What the data cost
#
# The solver's time for one trajectory is what a forecast of the operator competes with.

# %%
counts = {"train": 24, "valid": 2, "test": 8}
begin = perf_counter()
simulate("burgers_2d", Path("data"), resolution=32, frames=16, dt=0.05, trajectories=counts)
simulating = perf_counter() - begin
steps = 12
solver = (
    simulating / sum(counts.values()) * steps / 15
)  # seconds for as many frames as are predicted

# %% [markdown]
# ## What the training costs

# %%
Path("burgers.yaml").write_text("""
data: [{path: data/burgers_2d}]
operator: {name: dymixop, history: 2, hidden: 12, layers: 2, modes: 6}
normalizer: {name: window, growth: 1.5}
objective: {horizon: 2}
optimizer: {learning_rate: 5.0e-3}
steps: 60
batch: 8
micro_batch: 8
validation: {every: 60, horizon: 8}
log_every: 20
save_every: 60
""")
begin = perf_counter()
checkpoint = pretrain("burgers.yaml", "runs/burgers", resume=True)
training = perf_counter() - begin

# %% [markdown]
# ## Is it any good?
#
# Where the error crosses that of persistence, the forecast is worth nothing; `valid_time` is when its correlation with
# the truth falls below 0.8.

# %%
store = open_store("data/burgers_2d", "test")
scores = evaluate(from_pretrained(checkpoint), store, steps=steps)
summary = scores["summary"]
print(f"VRMSE {summary['vrmse']:.3f}, persistence {summary['persistence']['vrmse']:.3f}")

# %% [markdown]
# ## When does it pay?
#
# Break-even is the number of forecasts after which the time for training data and training is won back. Where the
# operator is slower than the solver at this size and accuracy, it never is: the honest answer for cheap problems, as
# this one may be. Operators win where solvers are expensive: stiff, finely resolved, many queries, unknown equations.

# %%
batch = scores["batch"]
operator = scores["seconds_per_step"] * steps / batch
spent, won = simulating + training, solver - operator
print(f"solver    {solver * 1e3:8.1f} ms per forecast of {steps} frames")
print(f"operator  {operator * 1e3:8.1f} ms")
print(f"spent     {spent:8.1f} s on data and training")
print(
    f"break-even after {spent / won:.0f} forecasts"
    if won > 0
    else "it never breaks even here: the solver is faster"
)

# %%
lead = scores["lead_times"]
figure, axis = plt.subplots(figsize=(5, 3))
mine, still = scores["scores"]["vrmse"], scores["persistence"]["vrmse"]
axis.plot(lead, mine["velocity_x"]["mean"], label="operator")
axis.plot(lead, still["velocity_x"]["mean"], "--", label="persistence")
axis.set(xlabel="lead time", ylabel="VRMSE")
axis.legend()
plt.show()
