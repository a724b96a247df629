"""What the names and attributes of a file's dimensions say that they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..fields.units import conversion
from ..files.conventions import texts
from .arrays import TIME, TRAJECTORY

CHANNEL = "channel"
SINCE = " since "
# What other projects call the axes that are not space.
SYNONYMS = {
    **dict.fromkeys(("sample", "samples", "batch", "traj", "trajectories", "run"), TRAJECTORY),
    **dict.fromkeys(("t", "times", "timestep", "frame", "frames", "step"), TIME),
    **dict.fromkeys(("channels", "component", "components", "variable"), CHANNEL),
}
# What dimensions are by name, where their attributes do not say it.
NAMES = {
    **SYNONYMS,
    **{name: name for name in (TRAJECTORY, TIME, CHANNEL)},
    **dict.fromkeys(("member", "realization", "ensemble", "number", "runs"), TRAJECTORY),
    **dict.fromkeys(("valid_time", "datetime", "date"), TIME),
    **dict.fromkeys(("x", "lon", "longitude", "xc", "nx", "rlon", "nlon"), "x"),
    **dict.fromkeys(("y", "lat", "latitude", "yc", "ny", "rlat", "nlat"), "y"),
    **dict.fromkeys(("z", "lev", "level", "depth", "height", "altitude", "plev", "zc", "nz"), "z"),
}
# Forecasts: when they were made tells trajectories apart, how far they reach is their time.
FORECASTS = {
    **dict.fromkeys(("init_time", "reference_time", "forecast_reference_time"), TRAJECTORY),
    **dict.fromkeys(("initial_time", "initialization_time", "base_time", "init"), TRAJECTORY),
    **dict.fromkeys(("lead_time", "leadtime", "lead", "forecast_period"), TIME),
    **dict.fromkeys(("prediction_timedelta", "forecast_hour", "fhour"), TIME),
}
STANDARD = {
    "time": TIME,
    "realization": TRAJECTORY,
    "forecast_reference_time": TRAJECTORY,
    "forecast_period": TIME,
    **dict.fromkeys(("longitude", "grid_longitude", "projection_x_coordinate"), "x"),
    **dict.fromkeys(("latitude", "grid_latitude", "projection_y_coordinate"), "y"),
    **dict.fromkeys(("height", "depth", "altitude", "air_pressure", "model_level_number"), "z"),
}
LETTERS = {"T": TIME, "X": "x", "Y": "y", "Z": "z", "E": TRAJECTORY}


def role(name: str, attributes: Mapping[str, Any]) -> str:
    """`trajectory`, `time`, `channel`, `x` (or longitude), `y` (latitude), `z`; "" if unknown.

    Args:
        name: of the dimension, or of an axis.
        attributes: of the coordinate of this name; {} where there is none.
    """
    said = texts(attributes)
    found = LETTERS.get(said.get("axis", "").upper()) or STANDARD.get(said.get("standard_name", ""))
    if found:
        return found
    if name.lower() in FORECASTS:
        return FORECASTS[name.lower()]
    units = said.get("units", "").lower()
    if SINCE in units:
        return TIME
    for letter, sides in (("y", ("_north", "_n")), ("x", ("_east", "_e"))):
        if units.startswith("degree") and units.endswith(sides):
            return letter
    known = NAMES.get(name.lower(), "z" if "positive" in said else "")
    return known or (TIME if units and conversion(units, "s") else "")


def forecasts(
    names: Sequence[str], attributes: Callable[[str], Mapping[str, Any]]
) -> tuple[str, ...]:
    """Names of dimensions, `trajectory` in place of the time when a forecast was made.

    Of two times that is the one that counts from a date; the other is how far the forecast reaches.

    Args:
        names: of an array's dimensions.
        attributes: those of the coordinate of a dimension; {} where there is none.
    """
    times = [name for name in names if name and role(name, attributes(name)) == TIME]
    dated = [name for name in times if SINCE in texts(attributes(name)).get("units", "").lower()]
    if len(times) != 2 or len(dated) != 1:
        return tuple(names)
    return tuple(TRAJECTORY if name == dated[0] else name for name in names)


def contradiction(
    axes: Sequence[str], names: Sequence[str], role_of: Callable[[str], str]
) -> str | None:
    """The first axis of a description that the file's own names of dimensions contradict.

    Args:
        axes: of an array, as the description says.
        names: of its dimensions, as the file says; "" where it does not.
        role_of: what a dimension is.
    """
    lower = [axis.lower() for axis in axes]
    own = [name.lower() for name in names]
    for axis, name in zip(lower, own, strict=True):
        if not name or axis == name:
            continue
        one, other = role(axis, {}), role_of(names[own.index(name)])
        free = CHANNEL in (one, other) and {one, other} & {"z", ""}  # levels may be channels
        if axis in own or name in lower or (one and other and one != other and not free):
            return axes[lower.index(axis)]
    return None
