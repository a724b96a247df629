"""What a measurement says about fields on a grid: precision and weighted innovation.

With y = C u + ε, ε of standard deviation r, and an estimate û:

    precision  w = Cᵀ r⁻² 1,        information  b = Cᵀ r⁻² (y − C û).

C samples grid points (a mask), or interpolates (multi)linearly to sensors anywhere in the domain;
Cᵀ spreads back. On grid points Cᵀ r⁻² C is diagonal and w is its diagonal; for sensors between grid
points w is its row sum (lumping, as for mass matrices). Both are exactly zero where nothing is
measured, and b is exactly zero where y = C û.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...datasets.base.config import nearest
from ...datasets.fields.grid import Grid
from ...datasets.fields.window import Context
from ..core.observation import Observation, Sensors


@dataclass(frozen=True)
class NoiseModel:
    """Variance of a measurement of every field, (C,), in units of the field's scale squared.

    Attributes:
        unknown: stands for the square of a standard deviation that was not given.
        extra: added always: what the grid cannot represent.
    """

    unknown: Tensor
    extra: Tensor


@dataclass(frozen=True)
class Information:
    """What a measurement says, in units of the fields' scale.

    Attributes:
        precision: (B, C, *S) w.
        weighted: (B, C, *S) information b.
        count: (B, C) number of readings n: Σ b²/w is n on average where the estimate is exact.
    """

    precision: Tensor
    weighted: Tensor
    count: Tensor

    def rows(self, chosen: Int[Tensor, " N"]) -> Information:
        """Of these trajectories alone."""
        return Information(self.precision[chosen], self.weighted[chosen], self.count[chosen])


@dataclass(frozen=True)
class Innovations:
    """What was read beside what was expected, reading by reading, of one trajectory.

    Attributes:
        channel: (N,) number of the field that was measured.
        value: (N,) the reading, in physical units,
        gap: (N,) less what the forecast has there,
        variance: (N,) and what the square of that is on average, by spread and noise.
    """

    channel: Tensor
    value: Tensor
    gap: Tensor
    variance: Tensor


def innovations(
    observation: Observation | Sensors,
    forecast: Float[Tensor, "1 C *S"],
    spread: Float[Tensor, "1 C *S"],
    context: Context,
    scale: Float[Tensor, "#B C *ones"],
    model: NoiseModel,
) -> Innovations:
    """The readings of one measurement; `spread` is the forecast's variance, in physical units.

    Raises:
        ValueError: as `information`.
    """
    each, channels = scale.flatten(1)[:1], _channels(observation.fields, context.fields)
    index = torch.tensor(channels, device=forecast.device)
    if isinstance(observation, Sensors):
        values, channel = observation.values[0].to(forecast), index
        expected, known = (sample(x, observation, context)[0] for x in (forecast, spread))
        noise = observation.noise
        told = None if noise is None else noise.expand_as(observation.values)[0].to(forecast)
    else:
        mask = observation.mask[0].to(forecast.device)
        values = observation.values[0].to(forecast)[mask]
        channel = index.reshape(-1, *(1,) * (mask.ndim - 1)).expand_as(mask)[mask]
        expected, known = (x[0, index][mask] for x in (forecast, spread))
        noise = observation.noise
        told = None if noise is None else noise.expand_as(observation.values)[0].to(forecast)[mask]
    units = each[0, channel].square()
    variance = model.unknown[channel] * units
    if told is not None:
        variance = torch.where(told.isnan(), variance, told.square())
    return Innovations(channel, values, values - expected,
                       known + variance + model.extra[channel] * units)  # fmt: skip


def information(
    observation: Observation | Sensors,
    expected: Float[Tensor, "B C *S"],
    context: Context,
    scale: Float[Tensor, "#B C *ones"],
    model: NoiseModel,
) -> Information:
    """What `observation` says beyond the estimate; see the module's docstring.

    Args:
        observation: the measurement.
        expected: the fields that C samples, in physical units.
        context: names the fields and the grid.
        scale: physical units per scaled unit, per field.
        model: variance of measurements.

    Raises:
        ValueError: an unknown field, another grid or batch, or a sensor outside the domain.
    """
    if isinstance(observation, Sensors):
        return _from_sensors(observation, expected, context, scale, model)
    index = _channels(observation.fields, context.fields)
    batch, _, *space = observation.values.shape
    if (batch, *space) != (expected.shape[0], *expected.shape[2:]):
        raise ValueError(
            f"an observation on the grid needs the shape (B, C_obs, *S) with B = "
            f"{expected.shape[0]} and S = {tuple(expected.shape[2:])}; got "
            f"{tuple(observation.values.shape)}"
        )
    values = _place(observation.values, expected, index)
    mask = torch.zeros_like(expected, dtype=torch.bool)
    mask[:, index] = observation.mask.to(expected.device)
    shape = (-1, *(1,) * len(space))
    variance = model.unknown.reshape(shape)
    if observation.noise is not None:
        noise = observation.noise.expand_as(observation.values)
        told = (_place(noise, expected, index) / scale).square()
        variance = torch.where(told.isnan(), variance, told)
    precision = torch.where(mask, 1 / (variance + model.extra.reshape(shape)), 0)
    innovation = torch.where(mask, values - expected, 0) / scale
    return Information(precision, precision * innovation, mask.flatten(2).sum(2).to(expected))


def interpolation(
    grid: Grid, positions: Float[Tensor, "N D"]
) -> tuple[Int[Tensor, "N V"], Float[Tensor, "N V"]]:
    """Flat indices and weights of the 2^D grid points around every position; weights sum to 1.

    Beyond the last point of an axis that is not periodic, the last point counts alone.

    Raises:
        ValueError: a position lies outside the domain.
    """
    positions = positions.double().cpu()
    _check_inside(grid, positions)
    corners: list[tuple[Tensor, Tensor]] = []
    axes = [_along(grid, positions[:, axis], axis) for axis in range(grid.ndim)]
    for choice in product((0, 1), repeat=grid.ndim):
        flat = torch.zeros(len(positions), dtype=torch.long)
        weight = torch.ones(len(positions), dtype=torch.float64)
        for side, (low, high, fraction), n in zip(choice, axes, grid.shape, strict=True):
            flat = flat * n + (high if side else low)
            weight = weight * (fraction if side else 1 - fraction)
        corners.append((flat, weight))
    index, weights = zip(*corners, strict=True)
    return torch.stack(index, 1), torch.stack(weights, 1)


def sample(
    fields: Float[Tensor, "B C *S"], sensors: Sensors, context: Context
) -> Float[Tensor, "B N"]:
    """C u: every sensor's field, interpolated to its position.

    Raises:
        ValueError: an unknown field, or a sensor outside the domain.
    """
    index, weights = _flat(sensors, context, fields)
    return (fields.flatten(1)[:, index] * weights).sum(-1)


def _from_sensors(
    sensors: Sensors,
    expected: Float[Tensor, "B C *S"],
    context: Context,
    scale: Tensor,
    model: NoiseModel,
) -> Information:
    index, weights = _flat(sensors, context, expected)
    points = expected.flatten(1)
    channel = torch.tensor(_channels(sensors.fields, context.fields), device=expected.device)
    each = scale.flatten(1)[:, channel]
    variance = model.unknown[channel]
    if sensors.noise is not None:
        told = (sensors.noise.to(expected) / each).square()
        variance = torch.where(told.isnan(), variance, told)
    precision = (1 / (variance + model.extra[channel])).expand_as(sensors.values)
    measured = sensors.values.to(expected)
    innovation = (measured - (points[:, index] * weights).sum(-1)) / each
    found, b, variance = (
        torch.zeros_like(points)
        .index_add(1, index.flatten(), (values[..., None] * shares).flatten(1))
        .view_as(expected)
        for values, shares in (
            (precision, weights),
            (precision * innovation, weights),
            (precision, weights.square()),  # of b, by the noise alone
        )
    )
    count = torch.where(found > 0, variance / found, 0).flatten(2).sum(2)
    return Information(found, b, count)


def _flat(sensors: Sensors, context: Context, like: Tensor) -> tuple[Tensor, Tensor]:
    """Indices into the flattened (C, *S) and weights, on the device of `like`."""
    index, weights = interpolation(context.grid, sensors.positions)
    points = like[0, 0].numel()
    channel = torch.tensor(_channels(sensors.fields, context.fields))
    return (index + points * channel[:, None]).to(like.device), weights.to(like)


def _along(grid: Grid, x: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper neighbour along an axis, and the fraction of the way between them."""
    n = grid.shape[axis]
    place = (x - grid.origin[axis]) / grid.spacing[axis]
    # A sensor that sits on a point up to rounding sits on it.
    place = torch.where((place - place.round()).abs() < 1e-9 * n, place.round(), place)
    low = place.floor()
    fraction, low = place - low, low.long()
    if grid.boundary[axis] == "periodic":
        return low % n, (low + 1) % n, fraction
    return low.clamp(0, n - 1), (low + 1).clamp(0, n - 1), fraction


def _check_inside(grid: Grid, positions: Tensor) -> None:
    if positions.ndim != 2 or positions.shape[1] != grid.ndim:
        raise ValueError(f"sensor positions must be (N, {grid.ndim}); got {tuple(positions.shape)}")
    low = torch.tensor(grid.origin, dtype=torch.float64)
    high = low + torch.tensor(grid.lengths, dtype=torch.float64)
    margin = 1e-9 * (high - low)
    outside = ~((positions >= low - margin) & (positions <= high + margin)).all(1)
    for number in outside.nonzero().flatten().tolist():
        where = ", ".join(f"{x:g}" for x in positions[number].tolist())
        box = " × ".join(
            f"[{a:g}, {b:g}]" for a, b in zip(low.tolist(), high.tolist(), strict=True)
        )
        raise ValueError(f"sensor {number} at ({where}) lies outside the domain {box}")


def _channels(names: tuple[str, ...], fields: tuple[str, ...]) -> list[int]:
    for name in names:
        if name not in fields:
            raise ValueError(f"unknown observed field {name!r}{nearest(name, fields)}")
    return [fields.index(name) for name in names]


def _place(values: Tensor, expected: Tensor, index: list[int]) -> Tensor:
    """Observed channels among all of them; 1 elsewhere, where the mask is False."""
    placed = torch.ones_like(expected)
    placed[:, index] = values.to(expected)
    return placed
