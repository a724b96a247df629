"""What is published of Poseidon's data sets beside their files: splits, statistics, time constants.

Source: Herde et al., arXiv 2405.19101, and its code's constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..fields.normalization import Statistics

FLOW = ("density", "velocity_x", "velocity_y", "pressure")


@dataclass(frozen=True)
class Published:
    """What is published of one data set beside its file.

    Attributes:
        kind: the family whose layout the file has.
        valid, test: numbers of trajectories.
        statistics: field -> mean and standard deviation.
        time_constant: frames per unit of lead time.
        boundary: of both axes.
    """

    kind: str
    valid: int
    test: int
    statistics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    time_constant: float = 20.0
    boundary: str = "periodic"


def _flow(means: Sequence[float], stds: Sequence[float], **more: tuple[float, float]) -> dict:
    return {**dict(zip(FLOW, zip(means, stds, strict=True), strict=True)), **more}


FLUID = _flow([0.8, 0.0, 0.0, 0.0], [0.31, 0.391, 0.356, 0.185], tracer=(0.19586183, 0.37))


def _euler(pressure: float) -> Published:
    """The published pressure has a mean subtracted before it is normalised: here it is the mean."""
    return Published("euler", 120, 240, {**FLUID, "pressure": (pressure, 0.185)})


NS = Published("incompressible", 120, 240, FLUID)
PUBLISHED = {
    **dict.fromkeys(("NS-Sines", "NS-Gauss", "NS-PwC", "NS-SVS", "NS-BB", "NS-SL"), NS),
    "NS-Tracer-PwC": NS,
    "FNS-KF": Published(
        "forced",
        120,
        240,
        _flow(
            [0.8, -2.2424793e-13, 4.1510376e-12, 0.0],
            [0.31, 0.22017328, 0.22078253, 0.185],
            forcing=(-1.2996679288335145e-09, 0.0707106739282608),
        ),
    ),
    "CE-RP": _euler(0.215),
    "CE-CRP": _euler(0.553),
    "CE-KH": _euler(1.0),
    "CE-Gauss": _euler(2.513),
    "CE-RPUI": _euler(1.33),
    "CE-RM": Published(
        "euler solution",
        100,
        130,
        _flow(
            [1.1964245, -7.164812e-06, 2.8968952e-06, 1.5648036],
            [0.5543239, 0.24304213, 0.2430597, 0.89639103],
        ),
    ),
    "GCE-RT": Published(
        "gravity",
        100,
        130,
        _flow(
            [0.8970493, 4.0316996e-13, -1.3858967e-13, 0.7133829],
            [0.12857835, 0.014896976, 0.014896975, 0.21293919],
            potential=(-1.7055787, 0.40131348),
        ),
        time_constant=10.0,
        boundary="open",
    ),
    "Wave-Layer": Published(
        "wave",
        60,
        240,
        {
            "u": (0.03467443221585092, 0.10442421752963911),
            "wave_speed": (3498.5644380917424, 647.843958567462),
        },
        boundary="open",
    ),
    "Wave-Gauss": Published(
        "wave",
        60,
        240,
        {
            "u": (0.0334376316, 0.1171879068),
            "wave_speed": (2618.4593933, 601.51658913),
        },
        time_constant=15.0,
        boundary="open",
    ),
    "ACE": Published("scalar", 60, 240, {"u": (0.002484262, 0.65351176)}, time_constant=19.0),
    "SE-AF": Published(
        "airfoil",
        120,
        240,
        {"density": (0.92984116, 0.10864315), "obstacle": (0.0, 1.0)},
        time_constant=1.0,
        boundary="open",
    ),
    "Poisson-Gauss": Published(
        "poisson",
        120,
        240,
        {
            "source": (0.014822142414492256, 4.755138816607612),
            "u": (0.0005603458434937093, 0.02401226126952699),
        },
        time_constant=1.0,
        boundary="wall",
    ),
    "Helmholtz": Published(
        "helmholtz",
        128,
        512,
        {
            "coefficient": (1.0, 1.0),
            "boundary_value": (0.0, 1.0),
            "u": (0.11523915668552, 0.8279975746000605),
        },
        time_constant=1.0,
        boundary="wall",
    ),
}
# The data set that stands for a family where the file's name says nothing.
USUAL = {
    "incompressible": "NS-Sines",
    "forced": "FNS-KF",
    "euler": "CE-RP",
    "euler solution": "CE-RM",
    "gravity": "GCE-RT",
    "wave": "Wave-Layer",
    "scalar": "ACE",
    "airfoil": "SE-AF",
    "poisson": "Poisson-Gauss",
    "helmholtz": "Helmholtz",
}


def statistics(name: str, dataset: str = "") -> Statistics:
    """The published mean and standard deviation of a data set's fields, for the normaliser.

    Args:
        name: of the data set, as in Poseidon's paper.
        dataset: the store's name; the same as `name` by default.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in PUBLISHED:
        raise ValueError(f"no Poseidon data set {name!r}; known: {', '.join(PUBLISHED)}")
    table = PUBLISHED[name].statistics
    means = {key: float(mean) for key, (mean, _) in table.items()}
    stds = {key: std for key, (_, std) in table.items()}
    return Statistics({dataset or name: means}, {dataset or name: stds})
