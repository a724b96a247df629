"""The data of the pretraining mixtures, and of problems that these never see.

    OMP_NUM_THREADS=1 python benchmarks/mixtures.py 1d          # for the recipe mixture_1d
    OMP_NUM_THREADS=1 python benchmarks/mixtures.py 2d          # for mixture_2d and others
    OMP_NUM_THREADS=1 python benchmarks/mixtures.py 3d          # for mixture_3d
    OMP_NUM_THREADS=1 python benchmarks/mixtures.py steady      # for mixture_steady_2d
    OMP_NUM_THREADS=1 python benchmarks/mixtures.py wide        # for mixture_1d_wide and 2d_wide
    OMP_NUM_THREADS=1 python benchmarks/mixtures.py held_out

Simulates into `data/`, one dataset after the other; what exists is left alone, and an interrupted
simulation goes on where it stopped. `--share 0/2` makes a part of the files, beside another call
with 1/2.
"""

import argparse
import subprocess

ONE = {"train": 1024, "valid": 32, "test": 32, "resolution": 128, "frames": 41}
TWO = {"train": 512, "valid": 32, "test": 32, "resolution": 32, "frames": 21}
THREE = {"train": 256, "valid": 16, "test": 16, "resolution": 16, "subsample": 2, "frames": 21}
STEADY = {"train": 2048, "valid": 64, "test": 32, "resolution": 25}
NEW = {"train": 128, "valid": 32, "test": 64}
HELD_3D = THREE | {"train": 64, "test": 32, "dt": 0.25}
WAVES = ["speed=0.5:1.5", "mass_squared=0:1", "coupling=0"]

SETS = {
    "1d": {
        "advection_1d": ONE | {"dt": 0.02},
        "heat_1d": ONE | {"dt": 0.02},
        "burgers_1d": ONE | {"dt": 0.02},
        "fisher_1d": ONE | {"dt": 0.02},
        "klein_gordon_1d": ONE | {"dt": 0.2},
        "kuramoto_sivashinsky_1d": ONE | {"dt": 1.0},
        "euler_1d": ONE | {"dt": 0.01},
        "diffusion_sorption_1d": ONE | {"dt": 10},
    },
    "2d": {
        "advection_diffusion_2d": TWO | {"dt": 0.04},
        "burgers_2d": TWO | {"dt": 0.04},
        "brusselator_2d": TWO | {"dt": 0.1},
        "fitzhugh_nagumo_2d": TWO | {"dt": 0.2, "subsample": 2},
        "navier_stokes_sines_2d": TWO | {"dt": 0.05},
        "navier_stokes_forced_2d": TWO | {"dt": 0.4},
        "klein_gordon_2d": TWO | {"dt": 0.4},
        "shallow_water_2d": TWO | {"dt": 0.05},
        "euler_gaussians_2d": TWO | {"train": 256, "dt": 0.05},
        "euler_riemann_2d": TWO | {"train": 256, "dt": 0.05},
    },
    "3d": {
        "advection_diffusion_3d": THREE | {"dt": 0.04},
        "burgers_3d": THREE | {"dt": 0.04, "solver-step": 0.02},
        "brusselator_3d": THREE | {"dt": 0.1},
        "fisher_3d": THREE | {"dt": 0.04},
        "klein_gordon_3d": THREE | {"dt": 0.4},
    },
    "steady": {
        "poisson_2d": STEADY,
        "helmholtz_2d": STEADY | {"parameter": "boundary_value=0.5"},
    },
    "wide": {
        "wave_1d": ONE | {"equation": "klein_gordon_1d", "dt": 0.2, "parameter": WAVES},
        "klein_gordon_long_1d": ONE | {"equation": "klein_gordon_1d", "length": 40, "dt": 0.4},
        "fisher_2d": TWO | {"dt": 0.04},
        "heat_2d": TWO | {"dt": 0.04},
    },
    "held_out": {
        "korteweg_de_vries_1d": NEW | {"resolution": 128, "frames": 41, "dt": 0.2},
        "allen_cahn_1d": NEW | {"resolution": 128, "frames": 41, "dt": 0.25},
        "sine_gordon_1d": NEW | {"resolution": 128, "frames": 41, "dt": 0.4},
        "allen_cahn_2d": NEW | {"resolution": 32, "frames": 21, "dt": 0.5, "subsample": 3},
        "allen_cahn_3d": HELD_3D,
        "kolmogorov_2d": NEW | {"resolution": 32, "frames": 21, "dt": 0.2},
        "navier_stokes_tracer_2d": NEW | {"resolution": 32, "frames": 21, "dt": 0.05},
        "rotating_shallow_water_2d": NEW | {"resolution": "48,24", "frames": 21},
        "gray_scott_2d": NEW | {"resolution": 64, "frames": 21, "dt": 100},
        "wave_layers_2d": NEW | {"resolution": 32, "frames": 21},
        "richtmyer_meshkov_2d": NEW | {"resolution": 32, "frames": 21},
        "darcy_2d": NEW | {"resolution": 25, "train": 256},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", choices=list(SETS))
    parser.add_argument("--out", default="data")
    parser.add_argument("--share", default="all")
    arguments = parser.parse_args()
    for chosen in arguments.sets:
        for name, options in SETS[chosen].items():
            equation, *words = words_of(name, **options)
            where = ["--name", name, "--out", arguments.out, "--share", arguments.share]
            subprocess.run(["pelagos", "data", "simulate", equation, *words, *where], check=True)


def words_of(name: str, equation: str = "", **options: object) -> list[str]:
    """The equation of a dataset, which has its name if none is given, and the options."""
    each = [(key, v) for key, value in options.items() for v in listed(value)]
    return [equation or name, *(f"--{key}={value}" for key, value in each)]


def listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    main()
