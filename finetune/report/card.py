"""The model card of a checkpoint: what it is, what it was trained on, how good, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...operators.core.operator import Operator
from ...pretrain.run import Run
from .comparison import number, score


@dataclass(frozen=True)
class Score:
    """How a checkpoint does on the validation part of a dataset, as mean VRMSE.

    Attributes:
        dataset: its name.
        windows: rollouts.
        frames: of each.
        first: of the first frame alone.
        all: of all frames.
        persistence: of the last known frame, at all frames (of zero, in a steady problem).
    """

    dataset: str
    windows: int
    frames: int
    first: float
    all: float
    persistence: float


@dataclass(frozen=True)
class Card:
    """What a model card is about.

    Attributes:
        name: the checkpoint's.
        operator: the operator.
        run: that made it.
        scores: per dataset.
        size: bytes of the weights.
        error: of half precision, over the prediction; None: weights are in single precision.
        note: a sentence of whoever shares it.
    """

    name: str
    operator: Operator
    run: Run
    scores: Sequence[Score]
    size: int
    error: float | None
    note: str


def card(about: Card) -> str:
    """The card as Markdown, with the front matter that model hubs read."""
    return "\n".join([*_front(about), *_head(about), *_data(about), *_limits(about), ""])


def _front(about: Card) -> Iterator[str]:
    yield from ("---", "library_name: pelagos", "tags: [pde, neural-operator]")
    if about.operator.description.license:
        yield f"license_name: {about.operator.description.license!r}"
    yield "---"


def _head(about: Card) -> Iterator[str]:
    operator, fields = about.operator, about.operator.description.fields
    count = sum(parameter.numel() for parameter in operator.parameters())
    yield f"# {about.name}\n"
    yield (
        f"{operator.name} in {operator.ndim}D, {_counted(count)} parameters, trained on "
        f"{len(about.scores)} dataset(s); fields {', '.join(fields)}; {about.size / 1e6:.1f} MB."
    )
    if about.note:
        yield f"\n{about.note}"
    yield f"\n```sh\npelagos finetune pelagos:{about.name} --data DATASET\n```\n"
    yield "## Budget\n"
    recipe, run = about.run.recipe, about.run
    seconds = "" if run.seconds is None else f", in {number(run.seconds, 's')}"
    samples = "" if run.samples is None else f" ({run.samples:,} windows)"
    done, wanted = run.train[-1]["step"] if run.train else 0, recipe.get("steps")
    steps = f"{wanted}" if done == wanted else f"{done} of {wanted}"
    yield f"{steps} steps of {recipe.get('batch')} windows{samples}{seconds}."
    if about.error is not None:
        yield (
            f"\nLarge tensors are stored in half precision and read into single precision: first "
            f"predictions change by at most {about.error:.1e} of themselves."
        )


def _data(about: Card) -> Iterator[str]:
    yield "\n## Data and scores\n"
    yield (
        "Mean VRMSE over rollouts of the validation part: the first frame, all frames, and "
        "persistence (the last known frame repeated) at all frames.\n"
    )
    if about.operator.direct:
        yield "Every frame is predicted directly from the history; nothing is fed back.\n"
    yield "| dataset | rollouts | frames | first frame | all frames | persistence |"
    yield "|---|---|---|---|---|---|"
    for s in about.scores:
        values = " | ".join(map(score, (s.first, s.all, s.persistence)))
        yield f"| {s.dataset} | {s.windows} | {s.frames} | {values} |"


def _limits(about: Card) -> Iterator[str]:
    operator, known = about.operator, about.operator.description
    yield "\n## What it knows, and limits\n"
    told = {"1": "dimensionless", "": "no stated unit"}
    units = {name: known.units.get(name, "") for name in known.fields}
    units = {name: told.get(unit, unit) for name, unit in units.items()}
    yield f"- fields: {', '.join(f'{name} ({unit})' for name, unit in units.items())}"
    if known.inputs:
        yield f"- inputs of a steady problem: {', '.join(known.inputs)}"
    if known.conditions:
        yield f"- conditions: {', '.join(known.conditions)}"
    if known.prescribed:
        yield f"- prescribed at all times of a forecast: {', '.join(known.prescribed)}"
    if known.time_steps and not known.inputs:
        least, most = (number(t) for t in (min(known.time_steps), max(known.time_steps)))
        any_step = "any time step is taken" if operator.continuous else "only these are taken"
        yield f"- time steps: {least} to {most} in training; {any_step}"
    if known.time_scales and operator.sees_time:
        scales = (f"{name} {number(scale)}" for name, scale in known.time_scales.items())
        yield f"- time that the network sees as 1: {', '.join(scales)}"
        yield "- data of another name have no such time; fine-tuning sets theirs"
    if known.grid is not None:
        shape = "×".join(map(str, known.grid.shape))
        yield f"- grid: {shape} points, {', '.join(known.grid.boundary)}"
    yield f"- history: {operator.history} frame(s); normaliser: {known.normalizer.name}"
    yield f"- licence of the weights: {known.license or 'not stated'}"
    yield "- other equations, parameters, boundaries and times than these want fine-tuning"


def _counted(count: int) -> str:
    return f"{count / 1e6:.1f} million" if count >= 1e6 else f"{count:,}"
