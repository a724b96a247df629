"""Synthetic sensors from a stored trajectory, and the error of what pelagos assimilate estimates.

    python benchmarks/sensors.py write data/kuramoto_sivashinsky_1d sensors.csv --frames 61
    python benchmarks/sensors.py score data/kuramoto_sivashinsky_1d analysis.nc

Sensors sit on random grid points and stay. The first steps are all measured, then a share of them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import xarray

from pelagos.datasets import open_store
from pelagos.datasets.stores.store import Store

WARM_UP = 10  # steps, all of them measured


def write(store: Store, path: Path, given: argparse.Namespace) -> None:
    """CSV of time, position, field, value and standard deviation."""
    rng, grid = np.random.default_rng(given.seed), store.grid
    fields = store.trajectory(given.trajectory)[: given.frames].double().numpy()
    deviation = given.noise * fields.std((0, *range(2, fields.ndim)))
    count = int(np.prod(grid.shape))
    where = np.sort(rng.choice(count, max(1, round(given.share * count)), replace=False))
    axes = [points.numpy() for points in grid.coordinates()]
    places = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], 1)[where]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["time", *"xyz"[: grid.ndim], "field", "value", "std"])
        for t in range(1, len(fields)):
            if t > WARM_UP and rng.random() >= given.alpha:
                continue
            for name, field, std in zip(store.fields, fields[t], deviation, strict=True):
                values = field.ravel()[where] + std * rng.standard_normal(len(where))
                for place, value in zip(places, values, strict=True):
                    rows.writerow([float(store.times[t]), *place, name, value, std])


def score(store: Store, path: Path, given: argparse.Namespace) -> None:
    """RMSE over the standard deviation of the field, analyses after the warm-up and forecast."""
    data, times = xarray.open_dataset(path), store.trajectory_times(given.trajectory)
    fields = store.trajectory(given.trajectory).double().numpy()
    frames = np.abs(np.asarray(times)[None] - data["time"].values[:, None]).argmin(1)
    forecast = data["measured"].values == 0
    for c, name in enumerate(store.fields):
        truth = fields[frames, c]
        gap, std = data[name].values - truth, fields[:, c].std()
        spread = data[f"{name}_spread"].values
        for label, chosen in (("analyses", ~forecast & (frames > WARM_UP)), ("forecast", forecast)):
            error = np.sqrt((gap[chosen] ** 2).mean())
            ratio = np.sqrt((spread[chosen] ** 2).mean()) / error
            print(f"{label} of {name}: {error / std:.3f}, spread / error {ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("write", "score"))
    parser.add_argument("dataset", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--trajectory", type=int, default=0)
    parser.add_argument("--frames", type=int, default=61, help="of the trajectory, from the first")
    parser.add_argument("--share", type=float, default=0.25, help="of the grid points")
    parser.add_argument("--noise", type=float, default=0.05, help="in standard deviations")
    parser.add_argument(
        "--alpha", type=float, default=0.3, help="share of the later steps measured"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    store = open_store(given.dataset, "test")
    {"write": write, "score": score}[given.what](store, given.file, given)


if __name__ == "__main__":
    main()
