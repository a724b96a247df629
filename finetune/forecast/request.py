"""What a forecast is asked for: the one list of what functions and the command line take.

Without torch, so that help is quick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["autoregressive", "direct"]
Errors = Literal["spectral", "own"]


@dataclass(frozen=True)
class Ensemble:
    """Several forecasts of each trajectory, from perturbed initial states.

    Attributes:
        members: how many; the first is not perturbed. 0: no ensemble.
        perturbation: its size, in standard deviations of each field over space.
        seed: of the perturbations.
        errors: how they are drawn: spectral, with the spectrum of each state; own, as the errors
            that an operator which assimilates has learned (the size in those of its scale).
    """

    members: int = 0
    perturbation: float = 0.01
    seed: int = 0
    errors: Errors = "spectral"

    def __post_init__(self) -> None:
        if self.members < 0:
            raise ValueError(f"members must not be negative; got {self.members}")
        if not 0 <= self.perturbation < float("inf"):
            raise ValueError(
                f"perturbation must be finite and not negative; got {self.perturbation:g}"
            )


@dataclass(frozen=True)
class Request:
    """What to predict of a store, and where to compute it; `make_plan` checks it against both.

    Attributes:
        trajectories: indices into the store, or the number of trajectories from the first; None
            for all.
        start: first frame of the history; not before the store's first.
        steps: frames to predict; None for as many as are stored in every chosen trajectory.
        lead_times: predict at these physical times after the last given frame instead of `steps`,
            for operators that are continuous in time.
        mode: "autoregressive": each frame from the prediction before; "direct": each from the given
            frames alone, for operators that are continuous in time.
        batch: trajectories computed at a time.
        device: where to compute: cpu, cuda, ….
        parameters: name -> value that takes the place of the store's, in all trajectories.
        prescribed: a file or dataset that has what is prescribed, by name and physical time, in
            place of the store.
        ensemble: members of every trajectory.
        noise: white noise that is added to the given frames, its deviation in standard deviations
            of each field over space.
        noise_seed: of that noise.
    """

    trajectories: int | Sequence[int] | None = None
    start: int = 0
    steps: int | None = None
    lead_times: Sequence[float] | None = None
    mode: Mode = "autoregressive"
    batch: int = 16
    device: str = "cpu"
    parameters: Mapping[str, float] = field(default_factory=dict)
    prescribed: str | None = None
    ensemble: Ensemble = field(default_factory=Ensemble)
    noise: float = 0.0
    noise_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"noise must be finite and not negative; got {self.noise:g}")
        for name, value in self.parameters.items():
            if not abs(value) < float("inf"):
                raise ValueError(f"parameter {name} must be a finite number; got {value:g}")
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1; got {self.batch}")
        if self.mode not in ("autoregressive", "direct"):
            raise ValueError(f"mode is autoregressive or direct; got {self.mode!r}")
