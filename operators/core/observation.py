"""Measurements of fields: on grid points, or anywhere in the domain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """A measurement on grid points at one time.

    Attributes:
        values: (B, C_obs, *S) measured values in physical units; ignored where `mask` is False.
        mask: (B, C_obs, *S) bool, True where something was measured.
        fields: the C_obs field names.
        noise: standard deviation of the measurement error, same shape or broadcastable; NaN where
            it is unknown, None if it is everywhere.
    """

    values: Tensor
    mask: Tensor
    fields: tuple[str, ...]
    noise: Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise ValueError(f"an observation's mask must be bool; got {self.mask.dtype}: mask > 0")
        if self.values.shape != self.mask.shape or self.values.shape[1] != len(self.fields):
            raise ValueError(
                f"observation values {tuple(self.values.shape)} and mask "
                f"{tuple(self.mask.shape)} must be (B, {len(self.fields)}, *S)"
            )
        _check_noise(self.noise, self.mask)

    @property
    def measured(self) -> Tensor:
        """(N,) the values that were measured."""
        return self.values[self.mask]

    def to(self, device: torch.device | str) -> Observation:
        """The same observation on `device`."""
        noise = None if self.noise is None else self.noise.to(device)
        return replace(self, values=self.values.to(device), mask=self.mask.to(device), noise=noise)


@dataclass(frozen=True)
class Sensors:
    """Measurements at points anywhere in the domain, at one time.

    Attributes:
        values: (B, N) measured values in physical units.
        positions: (N, D) coordinates in physical units.
        fields: name of the field that each sensor measures.
        noise: (B, N) or broadcastable standard deviation of the measurement error; NaN where it is
            unknown, None if it is everywhere.
    """

    values: Tensor
    positions: Tensor
    fields: tuple[str, ...]
    noise: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.fields)
        if self.values.ndim != 2 or self.values.shape[1] != count or len(self.positions) != count:
            raise ValueError(
                f"sensors need values (B, N), positions (N, D) and N field names; got "
                f"{tuple(self.values.shape)}, {tuple(self.positions.shape)} and {count}"
            )
        _check_noise(self.noise, torch.ones_like(self.values, dtype=torch.bool))

    @property
    def measured(self) -> Tensor:
        """(B, N) the values that were measured: all."""
        return self.values

    def to(self, device: torch.device | str) -> Sensors:
        """The same measurements on `device`."""
        noise = None if self.noise is None else self.noise.to(device)
        return replace(self, values=self.values.to(device), noise=noise)


def _check_noise(noise: Tensor | None, mask: Tensor) -> None:
    """Refuse a standard deviation that is not positive; on the host only, which waits for none."""
    if noise is None or noise.device.type != "cpu":
        return
    if bool((mask & (noise <= 0)).any()):
        raise ValueError("the noise of an observation is a standard deviation and must be positive")
