# %% [markdown]
# # Your own NetCDF, with land
#
# A file as people have them: the temperature of the sea every other day, NaN on land, latitudes from north to south,
# times in days since a date. Nothing of it is rewritten; Pelagos reads the conventions through the libraries
# that own them. (It is made here, so that this page needs no network; yours is opened the same way.)

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray

from pelagos.datasets import open_store
from pelagos.finetune import evaluate, predict
from pelagos.operators import from_pretrained
from pelagos.pretrain import pretrain

# %%
rng = np.random.default_rng(0)
lat, lon = np.linspace(57.5, -57.5, 24), np.arange(0.0, 360.0, 7.5)
days = np.arange(0, 240, 2.0)
north, east, t = lat[:, None], np.deg2rad(lon), days[:, None, None]
land = (np.cos(2 * east) + 0.4 * np.sin(5 * east) + north / 90) > 0.9
season = 4 * np.sin(np.pi * north / 120) * np.cos(2 * np.pi * t / 180)
waves = 1.5 * np.cos(3 * east - 2 * np.pi * t / 60) * np.cos(np.pi * north / 120)
noise = 0.02 * rng.normal(size=(len(days), len(lat), len(lon)))
temperature = np.where(land, np.nan, 22 - 14 * (north / 60) ** 2 + season + waves + noise)
xarray.Dataset(
    {"sst": (("time", "lat", "lon"), temperature, {"units": "degC"})},
    {
        "time": ("time", days, {"units": "days since 2001-01-01", "calendar": "noleap"}),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    },
).to_netcdf("climatology.nc", encoding={"sst": {"dtype": "f4", "_FillValue": 1e20}})

# %% [markdown]
# ## What is in it?
#
# `pelagos data inspect climatology.nc` says so, `pelagos data check climatology.nc` what is wrong with it. A file with
# named dimensions and coordinates needs no description. Longitudes are periodic because they go around; what is missing
# in every frame is the mask.

# %%
store = open_store("climatology.nc")
mask = store.mask(0)
print(store.fields, store.units, store.grid.shape, store.grid.boundary)
print(
    "time step", store.dt, store.units["time"], "| sea:", f"{mask.float().mean():.0%} of the points"
)

# %% [markdown]
# ## Train
#
# One long run is split by time, with a gap before each split so that no window is in two of them. On land the field is
# filled on input and neither learned nor scored.

# %%
Path("sea.yaml").write_text("""
data:
  - path: climatology.nc
    splits: {by: time, train: 0.6, valid: 0.2, test: 0.2}
operator: {name: dymixop, history: 2, hidden: 12, layers: 2, modes: 6}
normalizer: {name: statistics}
objective: {horizon: 2}
optimizer: {learning_rate: 5.0e-3}
steps: 60
batch: 8
micro_batch: 8
validation: {every: 60, horizon: 5}
log_every: 20
save_every: 60
""")
checkpoint = pretrain("sea.yaml", "runs/sea", resume=True)

# %% [markdown]
# ## Predict
#
# The forecast is an `xarray.Dataset` in the file's units, with NaN on land.

# %%
test = open_store(
    "climatology.nc", "test", splits={"by": "time", "train": 0.6, "valid": 0.2, "test": 0.2}
)
operator = from_pretrained(checkpoint)
summary = evaluate(operator, test, steps=8)["summary"]
print(f"VRMSE {summary['vrmse']:.3f}, persistence {summary['persistence']['vrmse']:.3f}")

forecast = predict(operator, test, steps=8)
print(forecast["sst"].attrs.get("units"), dict(forecast.sizes))
figure, axes = plt.subplots(2, 1, figsize=(6, 5), sharex=True)
for axis, name in zip(axes, ("sst", "sst_truth"), strict=True):
    last = forecast[name][0, -1].transpose("lat", "lon")
    image = axis.pcolormesh(forecast["lon"], forecast["lat"], last, cmap="viridis", vmin=5, vmax=28)
    axis.set(title=name, ylabel="latitude")
    axis.set_facecolor("lightgrey")
axes[1].set_xlabel("longitude")
figure.colorbar(image, ax=axes, label="°C")
plt.show()
