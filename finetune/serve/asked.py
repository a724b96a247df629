"""What a request asks for: the keys of its JSON, checked as those of a recipe are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ...datasets.base.annotations import Count, NotNegative, Positive

Format = Literal["json", "netcdf", "zarr"]
Encoding = Literal["lists", "base64"]


@dataclass(frozen=True)
class Sample:
    """A stored state.

    Attributes:
        dataset: name of a dataset that is served.
        trajectory: which of its trajectories, from 0.
        frame: last given frame, from 0 (default: the first that leaves a whole history).
    """

    dataset: str
    trajectory: Annotated[int, NotNegative] = 0
    frame: Annotated[int, NotNegative] | None = None


@dataclass(frozen=True)
class Box:
    """The grid on which given fields lie, where it is not the training grid.

    Attributes:
        lengths: extent of the domain per axis.
        boundary: per axis periodic, wall or open (default: as in training).
        origin: coordinate of the first point per axis (default: 0).
    """

    lengths: tuple[float, ...]
    boundary: tuple[str, ...] | None = None
    origin: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Along:
    """What is prescribed along a forecast, for checkpoints that take something.

    Attributes:
        times: after the last given frame, increasing, from 0 on until the last lead time.
        fields: name -> numbers (T) of what is the same at all points, or (T, *S), in the
            checkpoint's units.
    """

    times: tuple[float, ...]
    fields: dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """How an answer is given.

    Attributes:
        format: json, netcdf or zarr (zipped).
        encoding: of numbers in JSON: nested lists, or {shape, float32: little-endian base64}.
        compare: add what was given, the stored truth, scores and spectra; of an ensemble mean and
            spread instead of all members.
    """

    format: Format = "json"
    encoding: Encoding = "lists"
    compare: bool = False


@dataclass(frozen=True)
class Forecast:
    """How far to predict, and how.

    Attributes:
        steps: frames to predict (default: as many as are stored).
        times: predict at these lead times instead.
        mode: autoregressive, or direct from the given frames.
        members: of an ensemble of perturbed initial states.
        perturbation: their size, in standard deviations of each field over space.
        seed: of the perturbations.
        parameters: values of parameters, in place of those of the data.
        strict: refuse what is outside of what was trained.
    """

    steps: Annotated[int, Count] | None = None
    times: tuple[float, ...] | None = None
    mode: Literal["autoregressive", "direct"] = "autoregressive"
    members: Annotated[int, Count] | None = None
    perturbation: Annotated[float, NotNegative] = 0.01
    seed: Annotated[int, NotNegative] = 0
    parameters: dict[str, float] = field(default_factory=dict)
    strict: bool = False


@dataclass(frozen=True)
class Predict:
    """A forecast from a stored sample, from given fields, or from a sample with other fields.

    Attributes:
        checkpoint: name of a checkpoint that is served.
        sample: where to start.
        fields: name -> numbers (*S) or (T, *S) of the given frames, constant fields among them;
            with a sample, in place of its own.
        spacing: time between given frames, where there are several (default: the time step).
        box: grid of the fields.
        prescribed: what is prescribed; with a sample, in place of its own.
        forecast: how far, and how.
        answer: how it is given.
    """

    checkpoint: str
    sample: Sample | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    spacing: Annotated[float, Positive] | None = None
    box: Box | None = None
    prescribed: Along | None = None
    forecast: Forecast = field(default_factory=Forecast)
    answer: Wanted = field(default_factory=Wanted)


@dataclass(frozen=True)
class Network:
    """Sensors that read the truth of a stored trajectory.

    Attributes:
        positions: coordinates of each sensor.
        fields: what each measures (default: all of the operator).
        times: so many readings after the start.
        every: frames from one reading to the next.
        noise: standard deviation of their error, in standard deviations of each field over space.
    """

    positions: tuple[tuple[float, ...], ...]
    fields: tuple[str, ...] | None = None
    times: Annotated[int, Count] = 10
    every: Annotated[int, Count] = 1
    noise: Annotated[float, NotNegative] = 0.05


@dataclass(frozen=True)
class Assimilate:
    """An estimate from observations, and a forecast from there.

    Attributes:
        checkpoint: name of one that assimilates.
        sample: the state at the start, and the truth that scores it; without, the start is the mean
            of the training data on the training grid.
        cold: with a sample: take grid, parameters and truth from it, and start from the mean.
        observations: readings {time, x[, y, z], field, value[, std]} in order of time.
        network: sensors that read the sample's later frames, instead of observations.
        members: of an ensemble, whose covariance is then the gain.
        forecast: frames after the last reading.
        seed: of an ensemble's perturbations and of the network's errors.
        parameters: of a start without sample.
        prescribed: what is prescribed, its times counted from the start; with a sample, in place of
            its own.
        answer: how it is given.
    """

    checkpoint: str
    sample: Sample | None = None
    cold: bool = False
    observations: tuple[dict[str, float | str], ...] = ()
    network: Network | None = None
    members: Annotated[int, Count] = 1
    forecast: Annotated[int, NotNegative] = 10
    seed: Annotated[int, NotNegative] = 0
    parameters: dict[str, float] = field(default_factory=dict)
    prescribed: Along | None = None
    answer: Wanted = field(default_factory=Wanted)
