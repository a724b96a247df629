"""Small files in every layout, with what must be read from them; all sizes differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import xarray

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file

N, T, X, Y, Z = 13, 9, 6, 10, 4
SIZES = {"n": N, "t": T, "x": X, "y": Y, "z": Z}


@dataclass
class Expected:
    """A file and its contents: fields (N, T, *S), constant fields (N, *S)."""

    path: Path
    layout: str
    fields: dict[str, np.ndarray]
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    times: np.ndarray = field(default_factory=lambda: np.arange(T, dtype=float))
    splits: dict[str, range] = field(default_factory=lambda: {"all": range(N)})
    parameters: dict[str, Any] = field(default_factory=dict)
    lengths: tuple[float, ...] = (1.0, 1.0)
    boundary: str = "periodic"
    mask: np.ndarray | None = None


def values(axes: str, seed: int = 0) -> np.ndarray:
    """Random single-precision values: n trajectories, t frames, space, digits for channels."""
    shape = tuple(SIZES.get(axis) or int(axis) for axis in axes)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def cells(n: int, length: float = 1.0, start: float = 0.0) -> np.ndarray:
    """Centres of n cells."""
    return (start + (np.arange(n) + 0.5) * length / n).astype(np.float32)


def write(path: Path, arrays: dict[str, Any], attributes: dict[str, Any] | None = None) -> Path:
    """An HDF5 file of contiguous arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        file.attrs.update(attributes or {})
    return path


def well(folder: Path) -> Expected:
    fields = {k: values("ntxy", i) for i, k in enumerate(("pressure", "velocity_x", "velocity_y"))}
    depth, speed = values("nxy", 5), np.arange(N) + 0.5
    path = folder / "train" / "the well.h5"
    grid = Grid((X, Y), (2.0, 3.0), ("wall", "wall"))
    data = WellData("the well", grid, TIMES, fields, {"depth": depth}, {"speed": speed})
    write_file(path, data)
    splits = {"train": range(N)}
    return Expected(
        path,
        "The Well",
        fields,
        {"depth": depth},
        TIMES,
        splits,
        {"speed": speed},
        (2.0, 3.0),
        "wall",
    )


PUBLISHED_SPLIT = {"train": range(1, N), "test": range(1)}
SEEDS_SPLIT = {"train": range(11), "test": range(11, N)}
TIMES = 0.5 + 0.25 * np.arange(T)
COORDINATES = {
    "x-coordinate": cells(X, 2.0),
    "y-coordinate": cells(Y, 3.0, -1.0),
    "z-coordinate": cells(Z),
    "t-coordinate": (0.5 + 0.25 * np.arange(T + 1)).astype(np.float32),
}


def coordinates(axes: str) -> dict[str, np.ndarray]:
    return {f"{axis}-coordinate": COORDINATES[f"{axis}-coordinate"] for axis in axes}


def pdebench_scalar(folder: Path, attributes: dict[str, float], name: str) -> Expected:
    u = values("ntx")
    path = write(folder / name, {"tensor": u, **coordinates("xt")}, attributes)
    return Expected(
        path,
        "PDEBench",
        {"u": u},
        times=TIMES,
        splits=PUBLISHED_SPLIT,
        parameters=attributes,
        lengths=(2.0,),
    )


def pdebench_flow(folder: Path, axes: str, name: str, boundary: str) -> Expected:
    keys = {"density": "density", "pressure": "pressure"}
    keys |= {f"velocity_{axis}": f"V{axis}" for axis in axes}
    fields = {key: values("nt" + axes, i) for i, key in enumerate(keys)}
    attributes = {"eta": 0.01, "zeta": 0.02, "M": 0.1}
    arrays = {stored: fields[key] for key, stored in keys.items()}
    path = write(folder / name, {**arrays, **coordinates("t" + axes)}, attributes)
    lengths = (2.0, 3.0, 1.0)[: len(axes)]
    splits = PUBLISHED_SPLIT
    return Expected(path, "PDEBench", fields, {}, TIMES, splits, attributes, lengths, boundary)


def pdebench_darcy(folder: Path) -> Expected:
    u, nu = values("n1xy"), values("nxy", 1)
    arrays = {"tensor": u, "nu": nu, **coordinates("xyt")}
    path = write(folder / "2D_DarcyFlow_beta1.0_Train.hdf5", arrays, {"beta": 1.0})
    return Expected(
        path,
        "PDEBench",
        {"u": u},
        {"coefficient": nu},
        np.zeros(1),
        PUBLISHED_SPLIT,
        {"beta": 1.0},
        (2.0, 3.0),
        "wall",
    )


def seeds(
    folder: Path, name: str, config: str, data: np.ndarray, axes: str, compression: str | None
) -> Path:
    """One group for each trajectory."""
    path = folder / name
    with h5py.File(path, "w") as file:
        for i, rows in enumerate(data):
            file.create_dataset(f"{i:04d}/data", data=rows, compression=compression)
            file[f"{i:04d}"].attrs["config"] = config.replace("SEED", str(i))
            for axis in axes:
                points = COORDINATES[f"{axis}-coordinate"]
                file[f"{i:04d}/grid/{axis}"] = points
            file[f"{i:04d}/grid/t"] = TIMES.astype(np.float32)
    return path


def pdebench_reaction(folder: Path) -> Expected:
    data = values("ntyx2")
    config = "name: 2d_diff-react\nsim:\n  Du: 1E-3\n  k: 0.005\n  xdim: 6\n  seed: SEED\n"
    path = seeds(folder, "2D_diff-react_NA_NA.h5", config, data, "xy", "lzf")
    fields = {
        name: data[..., i].swapaxes(2, 3) for i, name in enumerate(("activator", "inhibitor"))
    }
    parameters = {"Du": 1e-3, "k": 0.005}
    return Expected(
        path, "PDEBench", fields, {}, TIMES, SEEDS_SPLIT, parameters, (2.0, 3.0), "wall"
    )


def pdebench_dam(folder: Path) -> Expected:
    data = values("ntxy1")
    config = "name: 2d_rdb\nsim:\n  dam_radius: 0.SEED\n  T_end: 1.0\n  seed: SEED\n"
    path = seeds(folder, "2D_rdb_NA_NA.h5", config, data, "xy", None)
    parameters = {"dam_radius": np.array([float(f"0.{i}") for i in range(N)])}
    fields = {"height": data[..., 0]}
    return Expected(
        path, "PDEBench", fields, {}, TIMES, SEEDS_SPLIT, parameters, (2.0, 3.0), "open"
    )


def pdebench_sorption(folder: Path) -> Expected:
    data = values("ntx1")
    config = "name: 1d_diff-sorp\nsim:\n  D: 5E-4\n  seed: SEED\n"
    path = seeds(folder, "1D_diff-sorp_NA_NA.h5", config, data, "x", "lzf")
    fields = {"concentration": data[..., 0]}
    return Expected(path, "PDEBench", fields, {}, TIMES, SEEDS_SPLIT, {"D": 5e-4}, (2.0,), "wall")


def pdebench_incompressible(folder: Path) -> Expected:
    velocity, particles, force = values("ntxy2"), values("ntxy1", 1), values("nxy2", 2)
    path = folder / "ns_incom_inhom_2d_512-7.h5"
    with h5py.File(path, "w") as file:
        for name, array in (("velocity", velocity), ("particles", particles), ("force", force)):
            chunks = (1, 1, *array.shape[2:])
            file.create_dataset(name, data=array, chunks=chunks, compression="lzf", shuffle=True)
        file["t"] = np.tile(TIMES.astype(np.float32), (N, 1))
        file.attrs["config"] = "NU: 0.01\nDT: 0.00005\ndomain_size: [1, 2]\nseed: 7\n"
        file.attrs["latestIndex"] = T - 1
    fields = {"velocity_x": velocity[..., 0], "velocity_y": velocity[..., 1]}
    return Expected(
        path,
        "PDEBench",
        {**fields, "tracer": particles[..., 0]},
        {"force_x": force[..., 0], "force_y": force[..., 1]},
        TIMES,
        SEEDS_SPLIT | {"train": range(1, N), "test": range(1)},
        {"NU": 0.01, "DT": 5e-5},
        (1.0, 2.0),
        "wall",
    )


FLOW = ("density", "velocity_x", "velocity_y", "pressure")


def filled(u: np.ndarray, v: np.ndarray) -> dict[str, np.ndarray]:
    return {"density": np.ones_like(u), "velocity_x": u, "velocity_y": v, "pressure": 0 * u}


def without_pressure() -> np.ndarray:
    mask = np.ones((4, X, Y), dtype=bool)
    mask[3] = False
    return mask


def poseidon_incompressible(folder: Path) -> Expected:
    data = values("nt3xy")
    path = write(folder / "NS-PwC.nc", {"velocity": data})
    fields = filled(data[:, :, 0], data[:, :, 1])
    return Expected(path, "Poseidon", fields, mask=without_pressure())


def poseidon_shear(folder: Path) -> Expected:
    data = values("nt2yx")
    path = write(folder / "renamed.nc", {"velocity": data})
    fields = filled(data[:, :, 0].swapaxes(2, 3), data[:, :, 1].swapaxes(2, 3))
    return Expected(path, "Poseidon", fields, mask=without_pressure())


def poseidon_tracer(folder: Path) -> Expected:
    data = values("nt3xy")
    path = write(folder / "NS-Tracer-PwC.nc", {"velocity": data})
    fields = {**filled(data[:, :, 0], data[:, :, 1]), "tracer": data[:, :, 2]}
    mask = np.concatenate([without_pressure(), np.ones((1, X, Y), dtype=bool)])
    return Expected(path, "Poseidon", fields, mask=mask)


def poseidon_forced(folder: Path) -> Expected:
    data = values("nt2xy")
    path = write(folder / "FNS-KF.nc", {"solution": data})
    x, y = np.meshgrid(np.linspace(0, 1, X), np.linspace(0, 1, Y), indexing="ij")
    forcing = np.tile(0.1 * np.sin(2 * np.pi * (x + y)), (N, 1, 1))
    fields = filled(data[:, :, 0], data[:, :, 1])
    return Expected(path, "Poseidon", fields, {"forcing": forcing}, mask=without_pressure())


def poseidon_euler(folder: Path, key: str, name: str) -> Expected:
    data = values("nt5xy")
    path = write(folder / name, {key: data})
    return Expected(path, "Poseidon", {k: data[:, :, i] for i, k in enumerate(FLOW)})


def poseidon_gravity(folder: Path) -> Expected:
    data = values("nt6xy")
    path = write(folder / "GCE-RT.nc", {"solution": data})
    fields = {k: data[:, :, i] for i, k in enumerate(FLOW)} | {"potential": data[:, :, 5]}
    return Expected(path, "Poseidon", fields, boundary="open")


def poseidon_wave(folder: Path) -> Expected:
    u, c = values("ntxy"), values("nxy", 1)
    path = write(folder / "Wave-Gauss.nc", {"solution": u, "c": c})
    return Expected(path, "Poseidon", {"u": u}, {"wave_speed": c}, boundary="open")


def poseidon_allen_cahn(folder: Path) -> Expected:
    u = values("ntxy")
    return Expected(write(folder / "ACE.nc", {"solution": u}), "Poseidon", {"u": u})


def poseidon_airfoil(folder: Path) -> Expected:
    data = values("n2xy")
    data[:, 0] = data[:, 0] > 0.5
    path = write(folder / "SE-AF.nc", {"solution": data})
    fields, constants = {"density": data[:, 1:]}, {"obstacle": data[:, 0]}
    return Expected(
        path,
        "Poseidon",
        fields,
        constants,
        np.zeros(1),
        boundary="open",
        mask=data[0, :1] != 1,
    )


def poseidon_poisson(folder: Path) -> Expected:
    u, f = values("nxy"), values("nxy", 1)
    path = write(folder / "Poisson-Gauss.nc", {"solution": u, "source": f})
    return Expected(
        path, "Poseidon", {"u": u[:, None]}, {"source": f}, np.zeros(1), boundary="wall"
    )


def poseidon_helmholtz(folder: Path) -> Expected:
    a, u, bc = values("nxy"), values("nxy", 1), np.arange(N) + 0.5
    arrays = {
        f"Sample_{i}/{key}": item[i]
        for i in range(N)
        for key, item in (("a", a), ("u", u), ("bc", bc))
    }
    path = write(folder / "Helmholtz.h5", arrays)
    constants = {"coefficient": a, "boundary_value": np.tile(bc[:, None, None], (1, X, Y))}
    return Expected(path, "Poseidon", {"u": u[:, None]}, constants, np.zeros(1), boundary="wall")


FIVE_SIXTHS = {"train": range(10), "test": range(10, N)}


def dymixop(folder: Path, name: str, key: str, axes: str, fields: tuple[str, ...]) -> Expected:
    """MATLAB 5."""
    data = values(axes).astype(np.float64)
    path = folder / name
    scipy.io.savemat(path, {key: data})
    return dymixop_expected(path, data, fields)


def dymixop_expected(path: Path, data: np.ndarray, fields: tuple[str, ...]) -> Expected:
    ndim = data.ndim - 3
    return Expected(
        path,
        "DyMixOp",
        {name: data[:, :, i] for i, name in enumerate(fields)},
        splits=FIVE_SIXTHS,
        lengths=(1.0,) * ndim,
    )


def dymixop_ks(folder: Path) -> Expected:
    found = dymixop(folder, f"1dKS_13x{T}x1x6_dt1_t[100_107].mat", "uu", "nt1x", ("u",))
    found.times, found.lengths = np.array([0.0, *range(100, 108)]), (64 * np.pi,)
    return found


def dymixop_burgers(folder: Path) -> Expected:
    name = f"2dBurgers_13x{T}x2x6x10_dt0.0025_t[0_0.225]_nu0.005.mat"
    found = dymixop(folder, name, "uv", "nt2xy", ("velocity_x", "velocity_y"))
    found.times, found.parameters = 0.025 * np.arange(T), {"nu": 0.005}
    return found


def dymixop_ns_reversed(folder: Path) -> Expected:
    """MATLAB 7.3: a user block, and all axes reversed."""
    data = values("nt1xy").astype(np.float64)
    path = folder / "2dNS.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        stored = file.create_dataset("ws", data=data.T)
        stored.attrs["MATLAB_class"] = np.bytes_("double")
    found = dymixop_expected(path, data, ("vorticity",))
    found.lengths = (2 * np.pi, 2 * np.pi)
    return found


def dymixop_darcy(folder: Path) -> Expected:
    a, u = values("n11xy").astype(np.float64), values("n11xy", 1).astype(np.float64)
    path = folder / "2dDarcy_5keys_13x1x1x6x10.mat"
    scipy.io.savemat(path, {"coeff": a, "sol": u, "Kcoeff": a, "Kcoeff_x": a, "Kcoeff_y": a})
    return Expected(
        path,
        "DyMixOp",
        {"u": u[:, :, 0]},
        {"coefficient": a[:, 0, 0]},
        np.zeros(1),
        FIVE_SIXTHS,
        boundary="wall",
    )


def dymixop_euler(folder: Path) -> Expected:
    data = values("nt5xy")
    name = f"2dCE-CRP_13x{T}x5x6x10_dt0.05_t[0_0.4].nc"
    path = write(folder / name, {"data": data})
    found = dymixop_expected(path, data, (*FLOW, "energy"))
    found.times = 0.05 * np.arange(T)
    return found


def dymixop_brusselator(folder: Path) -> Expected:
    return dymixop(folder, "3dBrusselator.mat", "data", "nt1xyz", ("u",))


def dymixop_water(folder: Path) -> Expected:
    found = dymixop(folder, "3dShallowWater.mat", "data", "nt2xy", ("height", "vorticity"))
    found.boundary = "mixed"
    return found


def pdearena_smoke(folder: Path) -> Expected:
    fields = {k: values("ntxy", i) for i, k in enumerate(("tracer", "velocity_x", "velocity_y"))}
    arrays = {
        f"valid/{stored}": fields[name].astype(np.float64)
        for name, stored in (("tracer", "u"), ("velocity_x", "vx"), ("velocity_y", "vy"))
    }
    arrays |= {"valid/t": np.tile(TIMES, (N, 1)), "valid/dt": np.full(N, 0.25)}
    arrays |= {"valid/x": np.tile(2.0 * np.arange(X) / X, (N, 1)), "valid/dx": np.full(N, 2 / X)}
    arrays |= {"valid/y": np.tile(3.0 * np.arange(Y) / Y, (N, 1)), "valid/dy": np.full(N, 3 / Y)}
    arrays["valid/buo_y"] = buoyancy = 0.1 * np.arange(N)
    return Expected(
        write(folder / "NavierStokes2D_valid_1_0.5.h5", arrays),
        "PDEArena",
        fields,
        {},
        TIMES,
        {"valid": range(N)},
        {"buo_y": buoyancy},
        (2.0, 3.0),
        "wall",
    )


def pdearena_ks(folder: Path) -> Expected:
    u, dx, dt = values("ntx"), 0.2 + 0.01 * np.arange(N), 0.2 + 0.001 * np.arange(N)
    arrays = {
        f"train/pde_{T}-{X}": u.astype(np.float64),
        "train/x": dx[:, None] * np.arange(X),
        "train/t": dt[:, None] * np.arange(T),
        "train/dx": dx,
        "train/dt": dt,
        "train/v": np.ones(N),
    }
    return Expected(
        write(folder / "KS_train_2048.h5", arrays),
        "PDEArena",
        {"u": u},
        {},
        dt[0] * np.arange(T),
        {"train": range(N)},
        {"v": 1.0, "dx": dx},
        (1.0,),
    )


def pdearena_maxwell(folder: Path) -> Expected:
    d, h = values("ntxyz3"), values("ntxyz3", 1)
    path = write(folder / "Maxwell3D_test_3.h5", {"test/d_field": d, "test/h_field": h})
    fields = {f"electric_{axis}": d[..., i] for i, axis in enumerate("xyz")}
    fields |= {f"magnetic_{axis}": h[..., i] for i, axis in enumerate("xyz")}
    return Expected(path, "PDEArena", fields, splits={"test": range(N)}, lengths=(1.0, 1.0, 1.0))


DESCRIPTION = """\
axes: {state: [time, y, trajectory, channel, x], k: [y, x]}
fields: {velocity_x: "state[1]", density: "state[0]"}
constants: {depth: k}
time: {start: 0.5, step: 0.25}
boundary: wall
grid: {x: [-1, 1], y: y}
parameters: {nu: 0.5, speed: c}
splits: {train: 0.8, valid: 3}
units: {density: kg/m^3, time: s}
name: mine
"""


def described_arrays() -> dict[str, np.ndarray]:
    data = {"state": values("tyn2x"), "k": values("yx", 1), "c": np.arange(N) + 1.0}
    return {**data, "y": cells(Y, 3.0, -1.0)}


def described(folder: Path, save: Callable[[Path, dict[str, np.ndarray]], Path]) -> Expected:
    arrays = described_arrays()
    path = save(folder, arrays)
    (folder / "description.yaml").write_text(DESCRIPTION.replace("0.8", "10"))
    state = arrays["state"].transpose(2, 3, 0, 4, 1)
    return Expected(
        path,
        "described",
        {"velocity_x": state[:, 1], "density": state[:, 0]},
        {"depth": np.tile(arrays["k"].T, (N, 1, 1))},
        TIMES,
        {"train": range(10), "valid": range(10, N)},
        {"nu": 0.5, "speed": arrays["c"]},
        (2.0, 3.0),
        "wall",
    )


def described_groups(folder: Path) -> Expected:
    """A group for each trajectory, numbered without leading zeros."""
    data = values("ntx")
    write(folder / "runs.h5", {f"run{i}/out/u": rows for i, rows in enumerate(data)})
    text = 'axes: [time, x]\nfields: {u: "run*/u"}\ntime: {step: 1}\n'
    with h5py.File(folder / "runs.h5", "a") as file:
        for i in range(N):
            file.move(f"run{i}/out/u", f"run{i}/u")
    (folder / "description.yaml").write_text(text)
    path = folder / "runs.h5"
    return Expected(path, "described", {"u": data}, lengths=(1.0,), boundary="open")


def to_hdf5(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    return write(folder / "my data [1].dat", arrays)


def to_netcdf(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    path = folder / "classic.nc"
    with scipy.io.netcdf_file(path, "w") as file:
        for name, array in arrays.items():
            dims = [f"{name}_{i}" for i in range(array.ndim)]
            for dim, n in zip(dims, array.shape, strict=True):
                file.createDimension(dim, n)
            file.createVariable(name, array.dtype, dims)[:] = array
    return path


def to_matlab(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    scipy.io.savemat(folder / "v5.mat", arrays)
    return folder / "v5.mat"


def to_zarr(folder: Path, arrays: dict[str, np.ndarray], version: int = 3) -> Path:
    import zarr

    group = zarr.open_group(folder / "cube.zarr", mode="w", zarr_format=version)
    for name, array in arrays.items():
        group.create_array(name, data=array, chunks=tuple(max(1, n // 2) for n in array.shape))
    return folder / "cube.zarr"


def conventions(folder: Path, save: Callable[[xarray.Dataset], Path]) -> Expected:
    """What xarray writes, packed and with decreasing latitudes; no description."""
    data, land = values("ntyx"), values("yx", 1)
    axes = ("sample", "time", "lat", "lon")
    dataset = xarray.Dataset(
        {"u": (axes, data, {"units": "m s-1"}), "land": (axes[2:], land)},
        {"time": ("time", 0.25 * np.arange(T), {"units": "s"})}
        | {"lat": ("lat", np.linspace(2.5, -2.0, Y)), "lon": ("lon", 0.5 * np.arange(X))}
        | {"speed": ("sample", np.arange(N) + 0.5)},
    )
    dataset.u.encoding = {"dtype": "int16", "scale_factor": 1e-3, "_FillValue": -(2**15)}
    path = save(dataset)
    stored = np.round(data / 1e-3).astype(np.int16)
    u = (stored * np.float64(1e-3)).astype(np.float32)[:, :, ::-1]
    return Expected(
        path,
        "CF",
        {"u": u},
        {"land": np.tile(land[::-1], (N, 1, 1))},
        0.25 * np.arange(T),
        parameters={"speed": np.arange(N) + 0.5},
        lengths=(5.0, 3.0),
        boundary="open",
    )


def netcdf(folder: Path, dataset: xarray.Dataset, engine: Any) -> Path:
    dataset.to_netcdf(folder / "mine.nc", engine=engine)
    return folder / "mine.nc"


def zarr(folder: Path, dataset: xarray.Dataset, version: Any) -> Path:
    dataset.to_zarr(folder / "mine.zarr", zarr_format=version, consolidated=False)
    return folder / "mine.zarr"


FILES: dict[str, Callable[[Path], Expected]] = {
    "the well": well,
    "pdebench-advection": lambda f: pdebench_scalar(f, {"beta": 0.4}, "1D_Advection.hdf5"),
    "pdebench-burgers": lambda f: pdebench_scalar(f, {"Nu": 0.01}, "any name.h5"),
    "pdebench-reaction-1d": lambda f: pdebench_scalar(f, {"Nu": 0.5, "rho": 2.0}, "ReacDiff.hdf5"),
    "pdebench-flow-1d": lambda f: pdebench_flow(f, "x", "1D_CFD_Shock_trans_Train.hdf5", "open"),
    "pdebench-flow-2d": lambda f: pdebench_flow(f, "xy", "2D_CFD_Rand_periodic.hdf5", "periodic"),
    "pdebench-flow-3d": lambda f: pdebench_flow(f, "xyz", "Turb_M1.hdf5", "periodic"),
    "pdebench-darcy": pdebench_darcy,
    "pdebench-reaction-2d": pdebench_reaction,
    "pdebench-dam": pdebench_dam,
    "pdebench-sorption": pdebench_sorption,
    "pdebench-incompressible": pdebench_incompressible,
    "poseidon-incompressible": poseidon_incompressible,
    "poseidon-shear": poseidon_shear,
    "poseidon-tracer": poseidon_tracer,
    "poseidon-forced": poseidon_forced,
    "poseidon-euler": lambda f: poseidon_euler(f, "data", "CE-KH.nc"),
    "poseidon-richtmyer": lambda f: poseidon_euler(f, "solution", "CE-RM.nc"),
    "poseidon-gravity": poseidon_gravity,
    "poseidon-wave": poseidon_wave,
    "poseidon-allen-cahn": poseidon_allen_cahn,
    "poseidon-airfoil": poseidon_airfoil,
    "poseidon-poisson": poseidon_poisson,
    "poseidon-helmholtz": poseidon_helmholtz,
    "dymixop-ks": dymixop_ks,
    "dymixop-burgers": dymixop_burgers,
    "dymixop-ns-7.3": dymixop_ns_reversed,
    "dymixop-darcy": dymixop_darcy,
    "dymixop-euler": dymixop_euler,
    "dymixop-brusselator": dymixop_brusselator,
    "dymixop-water": dymixop_water,
    "pdearena-smoke": pdearena_smoke,
    "pdearena-ks": pdearena_ks,
    "pdearena-maxwell": pdearena_maxwell,
    "described-hdf5": lambda f: described(f, to_hdf5),
    "described-groups": described_groups,
    "described-netcdf": lambda f: described(f, to_netcdf),
    "described-matlab": lambda f: described(f, to_matlab),
    "described-zarr3": lambda f: described(f, to_zarr),
    "described-zarr2": lambda f: described(f, lambda g, a: to_zarr(g, a, 2)),
    "CF-netcdf4": lambda f: conventions(f, lambda d: netcdf(f, d, "h5netcdf")),
    "CF-classic": lambda f: conventions(f, lambda d: netcdf(f, d, "scipy")),
    "CF-zarr2": lambda f: conventions(f, lambda d: zarr(f, d, 2)),
    "CF-zarr3": lambda f: conventions(f, lambda d: zarr(f, d, 3)),
}
