"""`pelagos calibrate`: error bands for the predictions of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cyclopts import Parameter

from ...datasets.base.options import Count, Device, File, Positive, Source, named_device
from .reading import HeldOut


@Parameter(name="*")
@dataclass(frozen=True)
class Bands:
    """Error bands as they are asked for.

    Attributes:
        coverage: the stated probability.
        steps: calibrate so many frames (default: as many as are stored).
        check: say how often the bands hold on this split of the data; none: do not.
        batch: trajectories computed at a time.
        device: where to compute: cpu, cuda, …; auto: a GPU if there is one.
    """

    coverage: Positive = 0.9
    steps: Count | None = None
    check: str | None = "test"
    batch: Count = 16
    device: Device = "auto"


def calibrate(
    checkpoint: File,
    data: Source,
    /,
    *,
    reading: HeldOut = HeldOut(),  # noqa: B008  frozen, as all defaults here
    bands: Bands = Bands(),
    no_verify: bool = False,
) -> None:
    """Give a checkpoint error bands by lead time: with the stated probability, that share of the
    points of a new trajectory of the same kind is within them. Predictions carry them from then on.

    Args:
        checkpoint: a checkpoint directory, or a run directory (then its checkpoint).
        data: trajectories that training never saw.
        no_verify: open the checkpoint without checking its SHA-256.

    Examples:
        pelagos calibrate runs/mine data/burgers_1d
        pelagos calibrate runs/mine data/burgers_1d --coverage 0.8 --steps 20
    """
    from ...operators.core.checkpoint import from_pretrained, locate
    from ...operators.core.redescribing import redescribe
    from ..forecast.calibrate import calibrate as run
    from ..forecast.calibrate import held
    from ..forecast.request import Request
    from ..report.comparison import number

    directory = locate(checkpoint)
    store = reading.open(data)
    operator = from_pretrained(directory, verify=not no_verify)
    request = Request(steps=bands.steps, batch=bands.batch, device=named_device(bands.device))
    found = run(operator, store, bands.coverage, request, progress=True)
    operator.description = replace(operator.description, calibration=found)
    redescribe(directory, operator.description)
    for name, widths in found.bands.items():
        unit = store.units.get(name, "")
        ends = " to ".join(f"± {number(value, unit)}" for value in (widths[0], widths[-1]))
        said = f"at coverage {bands.coverage:g}, by {found.trajectories} trajectories"
        print(f"{name}: {ends} {said}")
    others = None if bands.check in (None, "none", reading.split) else bands.check
    if others is not None and _has(data, replace(reading, split=others)):
        shares = held(found, operator, replace(reading, split=others).open(data), request)
        for name, share in shares.items():
            print(f"{name}: held in {share.mean():.3g} of the {others} trajectories")
    print(f"calibrated: {directory}")


def _has(data: str, reading: HeldOut) -> bool:
    """Whether the data have this split."""
    try:
        reading.open(data)
    except ValueError:
        return False
    return True
