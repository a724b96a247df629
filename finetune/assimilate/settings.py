"""How a file of observations is assimilated, and what is written. Without torch: help is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...datasets.base.appearing import refuse_existing
from ...datasets.base.paths import require_netcdf

if TYPE_CHECKING:
    from ...operators.assimilation.ensemble import EnsembleGain

MOST_MEMBERS = 10_000
_OF_AN_ENSEMBLE = ("radius", "relaxation", "model_error")


@dataclass(frozen=True)
class Settings:
    """How observations become analyses, and how far the forecast goes.

    Attributes:
        members: of an ensemble, whose covariance is then the gain; 20 is usual. 1: none, and the
            trained gain.
        radius: with members: half of the distance at which a measurement counts no more; by default
            from the spectrum of the training data.
        relaxation: with members: share of the spread lost to a measurement that is given back; by
            default 0.3.
        model_error: with members: added to their variance at a measurement, in units of the fields'
            variance; by default what the innovations call for.
        variance: of the error of the start, in units of the fields' variance; by default 0 for a
            history (exact), 1 without.
        seed: of the ensemble's perturbations.
        forecast: frames after the last measurement.
        every: time between them; by default the operator's time step.
        skip_invalid: leave wrong rows of the file out and say so.
        strict: refuse what the verdict says is outside of what was trained, or does not agree with
            the readings, instead of a warning.
    """

    members: int = 1
    radius: float | None = None
    relaxation: float | None = None
    model_error: float | None = None
    variance: float | None = None
    seed: int = 0
    forecast: int = 10
    every: float | None = None
    skip_invalid: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError(f"members must be at least 1; got {self.members}")
        if self.members > MOST_MEMBERS:
            raise ValueError(f"members must be at most {MOST_MEMBERS:,}; got {self.members:,}")
        if self._given and self.members == 1:
            option = next(iter(self._given)).replace("_", "-")
            raise ValueError(
                f"--{option} is a setting of an ensemble; ask for one: --members 20 "
                "(in Python members=20)"
            )

    def gain(self) -> EnsembleGain | None:
        """How the covariance of the ensemble is used; None: as is usual.

        Raises:
            ValueError: a setting of the ensemble is impossible.
        """
        from ...operators.assimilation.ensemble import EnsembleGain  # needs torch

        return EnsembleGain(**self._given) if self._given else None

    @property
    def _given(self) -> dict[str, float]:
        """The settings of the ensemble that differ from the usual ones."""
        values = {name: getattr(self, name) for name in _OF_AN_ENSEMBLE}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Outputs:
    """What is written.

    Attributes:
        out: NetCDF file of estimates and their spread.
        figure: an .svg or .png to draw; None: no figure.
        overwrite: replace existing files.
    """

    out: Path = Path("analysis.nc")
    figure: Path | None = None
    overwrite: bool = False

    def require_free(self) -> None:
        """Refuse, before any work, what cannot be written.

        Raises:
            ValueError: a file exists and `overwrite` is not set, or cannot be written; `out` does
                not end as NetCDF does, or the figure is of a kind that cannot be drawn.
        """
        if self.figure is not None and self.figure.suffix.lower() not in (".svg", ".png"):
            raise ValueError(f"a figure is an .svg or a .png file; got {self.figure.name!r}")
        require_netcdf(self.out)
        for path in (self.out, *([] if self.figure is None else [self.figure])):
            refuse_existing(path, self.overwrite)
