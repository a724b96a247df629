"""The semilinear observer against the methods of data assimilation, on one set of observations.

    python benchmarks/assimilation.py ks --seed 0 --out results     # also kdv, ns; restartable
    python benchmarks/assimilation.py table results
    python benchmarks/assimilation.py figure results docs/figures/assimilation.svg

Needs DAPPER (pip install dapper) for the local ensemble transform Kalman filter. All methods start
from the mean of the training data (the observer's ensemble with errors of their spectrum, DAPPER's
from training states), see the same warm-up of measured steps, then the same measurements at a share
α of the steps. Errors are RMSE over the standard deviation of the field. Everything varies one at a
time around 25 % of the points, noise of 5 % of the standard deviation, α = 0.3. Every finished row
is written at once, and a run that was interrupted goes on with the next.

Budget: `PROBLEMS` below says how long is trained: first to predict 4 frames, then the gain
alone to assimilate.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from assimilation_methods import (
    WARM_UP,
    Feed,
    ensemble,
    feed,
    filtered,
    inserted,
    nudged,
    observer,
)
from torch import Tensor

from pelagos.datasets import equations
from pelagos.datasets.equations import equation as solving
from pelagos.datasets.fields import metrics
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators import Description, EnsembleGain, Operator, create, from_pretrained
from pelagos.pretrain.known_linear import linear_part
from pelagos.pretrain.objectives.assimilation import (
    Assimilation,
    AssimilationConfig,
    AssimilationObjectiveConfig,
)
from pelagos.pretrain.objectives.losses import loss_of

STEPS = 50
FORECAST = 150  # steps after the warm-up where α = 0
Setting = tuple[float, float, float]  # sensors, noise, α
CENTRE: Setting = (0.25, 0.05, 0.3)
SETTINGS: list[Setting] = [CENTRE]
SETTINGS += [(s, 0.05, 0.3) for s in (1.0, 0.1, 0.05)]
SETTINGS += [(0.25, n, 0.3) for n in (0.01, 0.2)]
SETTINGS += [(0.25, 0.05, a) for a in (0.0, 0.1, 1.0)]
LABELS = {"ks": "Kuramoto–Sivashinsky", "kdv": "Korteweg–de Vries", "ns": "Navier–Stokes"}


@dataclass(frozen=True)
class Problem:
    """An equation in small: grid, time step, and what is trained on it.

    Attributes:
        train: trajectories and frames of training data.
        steps: of training, to predict and then to assimilate.
        batch, horizon: of training.
        network: of the operators.
        gain: modes of the correction.
        radii: candidate localisation radii of DAPPER's filter, in points.
        test: trajectories of the test.
        fixed: values of the equation's parameters.
    """

    equation: str
    resolution: tuple[int, ...]
    lengths: tuple[float, ...]
    dt: float
    warm_up: float
    train: tuple[int, int]
    steps: tuple[int, int]
    batch: int
    horizon: int
    network: dict
    gain: int
    radii: tuple[float, ...]
    test: int
    fixed: dict


PROBLEMS = {
    "ks": Problem(
        "kuramoto_sivashinsky_1d", (128,), (64.0,), 0.5, 100.0, (64, 61), (500, 100), 6, 12,
        {"hidden": 24, "layers": 2, "modes": 28}, 24, (6.0, 10.0), 6, {},
    ),
    "kdv": Problem(
        "korteweg_de_vries_1d", (128,), (64.0,), 0.1, 2.0, (64, 61), (500, 100), 6, 12,
        {"hidden": 24, "layers": 2, "modes": 40}, 24, (6.0, 10.0), 6, {},
    ),
    "ns": Problem(
        "navier_stokes_forced_2d", (32, 32), (1.0, 1.0), 0.2, 4.0, (32, 41), (200, 40), 3, 10,
        {"hidden": 16, "layers": 2, "modes": 8, "coordinates": True}, 6, (4.0, 8.0), 2,
        {"viscosity": 1e-3},
    ),
}  # fmt: skip


class Model:
    """The equation's own solver, one time step at a time."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.equation = equations.get(problem.equation).restricted(problem.fixed)
        grid = Grid(problem.resolution, problem.lengths, ("periodic",) * len(problem.lengths))
        self.context = Context(self.equation.fields, grid)

    def frames(self, states: Tensor, count: int, warm_up: float = 0.0) -> Tensor:
        """(B, count, C, *S) from states (B, C, *S)."""
        values = {
            name: torch.full((len(states),), p.low, dtype=torch.float64)
            for name, p in self.equation.parameters.items()
        }
        run = solving.frames(
            self.equation,
            solving.Problem(states, values, self.context.grid, self.problem.dt, warm_up=warm_up),
        )
        return torch.stack([next(run) for _ in range(count)], 1)

    def __call__(self, states: Tensor) -> Tensor:
        return self.frames(states, 2)[:, 1]

    def draw(self, count: int, frames: int, seed: int) -> Tensor:
        """Trajectories after the transient, float32."""
        generator, initial = torch.Generator().manual_seed(seed), self.equation.initial
        assert initial is not None
        states = torch.stack([initial(generator, self.context.grid) for _ in range(count)])
        return self.frames(states, frames, self.problem.warm_up).float()


def fresh(problem: Problem, model: Model, data: Tensor, kind: str, seed: int) -> Operator:
    """An observer: exponential, residual, learned (E), or predict (residual, no assimilation)."""
    dynamics = "exponential" if kind in ("exponential", "learned") else "residual"
    name, grid = model.equation.fields[0], model.context.grid
    normalizer = Statistics({"*": {name: data.mean().item()}}, {"*": {name: data.std().item()}})
    correction = {"modes": problem.gain, "hidden": 12}
    correction["observation"] = "learned" if kind == "learned" else "true"
    operator = create(
        "observer",
        description=Description(
            model.equation.fields, normalizer=normalizer, time_scale=problem.dt, grid=grid,
            time_steps=(problem.dt,),
        ),
        seed=seed, ndim=grid.ndim, dynamics=dynamics, correction=correction,
        linear=linear_part(model.equation) if dynamics == "exponential" else (),
        **problem.network,
    )  # fmt: skip
    operator.fit(data.flatten(0, 1))
    return operator


def train(problem: Problem, model: Model, data: Tensor, kind: str, seed: int) -> Operator:
    """The observer of this kind, trained."""
    operator = fresh(problem, model, data, kind, seed)
    normalizer = operator.description.normalizer
    config = AssimilationConfig(warm_up=problem.horizon // 2, truncate=problem.horizon // 2)
    objective = Assimilation(AssimilationObjectiveConfig(assimilation=config))
    optimizer = torch.optim.AdamW(operator.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(seed)
    first, total = problem.steps[0], sum(problem.steps)
    for step in range(total):
        for group in optimizer.param_groups:
            warm = min(1, (step + 1) / 20)
            group["lr"] = 5e-3 * warm * (0.5 + 0.5 * math.cos(math.pi * step / total))
        # The dynamics is learned on short windows before it is unrolled.
        horizon = 4 if step < first else problem.horizon
        if step == first and kind != "predict":  # a gain in training spoils the forecast
            operator.tendency.requires_grad_(False)
        starts = torch.randint(data.shape[1] - horizon, (problem.batch,), generator=generator)
        chosen = torch.randint(len(data), (problem.batch,), generator=generator)
        frames = torch.stack(
            [data[i, s : s + horizon + 1] for i, s in zip(chosen, starts, strict=True)]
        )
        lead = problem.dt * torch.arange(1, horizon + 1).expand(len(frames), -1)
        window = Window(frames[:, :1], frames[:, 1:], lead, model.context)
        if step < first or kind == "predict":
            loss = loss_of("vrmse", operator(window), window, normalizer)
        else:
            draws = 10**6 * seed + step
            loss = objective.loss(operator, window, normalizer, draws)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(operator.parameters(), 1.0)
        optimizer.step()
    print(f"{kind}: last loss {loss.item():.3f}", flush=True)
    return operator.eval()


def forecast_of(operator: Operator, model: Model) -> Callable[[Tensor], Tensor]:
    """The observer's forecast as a model for the other methods."""

    def step(u: Tensor) -> Tensor:
        dt = torch.full((len(u),), model.problem.dt)
        return operator.forecast(operator.init(u[:, None].float(), model.context), dt)[1]

    return step


class Case:
    """One problem and one seed: data, trained operators, tuned methods."""

    def __init__(self, name: str, seed: int, out: Path) -> None:
        self.problem, self.seed = PROBLEMS[name], seed
        self.model = model = Model(self.problem)
        self.data = model.draw(*self.problem.train, seed=1)
        self.test = model.draw(self.problem.test, WARM_UP + FORECAST + 1, seed=2)[:, 1:]
        self.tune = model.draw(2, STEPS + 1, seed=3)[:, 1:]
        self.std, self.mean = self.data.std().item(), self.data.mean()
        kinds = ("exponential", "residual", "predict") + (("learned",) if name == "ks" else ())
        self.trained = {kind: self._trained(kind, out / f"{name}-{seed}-{kind}") for kind in kinds}

    def _trained(self, kind: str, folder: Path) -> Operator:
        if not folder.exists():
            with torch.enable_grad():
                train(self.problem, self.model, self.data, kind, self.seed).save_pretrained(folder)
        return from_pretrained(folder).eval()

    def methods(self) -> dict[str, Callable[[Feed], Tensor]]:
        """Method of a feed, by name; those with settings are tuned at the centre."""
        model, seed, dt = self.model, self.seed, self.problem.dt
        pool = self.data[:, -1]

        def start(g: Feed) -> Tensor:
            return self.mean + torch.zeros_like(g.values[:, 0])

        models = {"true": model, "learned": forecast_of(self.trained["exponential"], model)}
        alone = forecast_of(self.trained["predict"], model)
        found: dict[str, Callable[[Feed], Tensor]] = {}
        for kind, operator in self.trained.items():
            if kind == "predict":
                continue
            label = "observer, learned E" if kind == "learned" else f"observer, {kind}"
            found[label] = lambda g, o=operator: observer(o, model.context, dt, g)
            if kind == "learned":
                continue
            found[f"{label}, ensemble"] = lambda g, o=operator: ensemble(
                o, model.context, dt, g, EnsembleGain(), seed
            )
        found["residual FNO + insertion"] = lambda g: inserted(alone, start(g), g)
        found["insertion, true model"] = lambda g: inserted(model, start(g), g)
        found["nudging, true model"] = self.tuned(
            lambda g, gain, width: nudged(model, start(g), g, gain, width),
            [(gain, width) for gain in (0.3, 0.6, 0.9) for width in (1.0, 2.0, 4.0)],
        )
        for label, step in models.items():
            found[f"LETKF, {label} model"] = self.tuned(
                lambda g, radius, inflation, step=step: filtered(
                    step, pool, g, radius, inflation, seed
                ),
                [(r, i) for r in self.problem.radii for i in (1.02, 1.15)],
            )
        return found

    def tuned(self, call: Callable[..., Tensor], candidates: list) -> Callable[[Feed], Tensor]:
        """The method with the settings that do best at the centre, on trajectories of their own.

        They are looked for when the method is first used.
        """
        best: list = []

        def run(g: Feed) -> Tensor:
            if not best:
                given = feed(self.tune, self.std, CENTRE, self.seed)
                errors = [
                    np.mean(rmse(call(given, *c), self.tune, self.std)[WARM_UP:])
                    for c in candidates
                ]
                best.append(candidates[int(np.argmin(errors))])
                print(f"tuned: {best[0]}", flush=True)
            return call(g, *best[0])

        return run


def mean_of(analyses: Tensor, truth: Tensor) -> Tensor:
    """Of an ensemble; the analyses themselves where there is one."""
    return analyses.mean(2) if analyses.ndim > truth.ndim else analyses


def rmse(analyses: Tensor, truth: Tensor, std: float) -> list[float]:
    """RMSE over the standard deviation, by step, mean over trajectories; 10 at the most."""
    gap = mean_of(analyses, truth) - truth
    error = gap.square().flatten(2).mean(2).sqrt().mean(0) / std
    return [min(10.0, v) if math.isfinite(v) else 10.0 for v in error.tolist()]


def valid_steps(analyses: Tensor, truth: Tensor, std: float) -> float:
    """Mean number of steps after the warm-up until the error exceeds 0.4 standard deviations."""
    gap = mean_of(analyses, truth) - truth
    error = gap.square().flatten(2).mean(2).sqrt()[:, WARM_UP:] / std
    bad = ~(error < 0.4)
    first = torch.where(bad.any(1), bad.float().argmax(1), error.shape[1])
    return first.float().mean().item()


def ensemble_scores(analyses: Tensor, truth: Tensor, std: float) -> dict[str, float]:
    """CRPS over the standard deviation, and spread over error, after the warm-up."""
    if analyses.ndim == truth.ndim:
        return {}
    members, target = analyses[:, WARM_UP:], truth[:, WARM_UP:]
    each = members.movedim(2, 0).flatten(1, 2)
    crps = metrics.crps(each, target.flatten(0, 1), truth.ndim - 3).mean().item() / std
    spread = members.var(2).mean().sqrt()
    error = (members.mean(2) - target).square().mean().sqrt()
    return {"crps": crps, "spread": (spread / error).item()}


@torch.no_grad()
def run(name: str, seed: int, out: Path) -> None:
    """Write one row per method and setting, leaving out those that are there."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}-{seed}.jsonl"
    done = {(row["method"], tuple(row["setting"])) for row in rows_of(path)}
    case = Case(name, seed, out)
    for method, call in case.methods().items():
        left = [setting for setting in SETTINGS if (method, setting) not in done]
        for setting in left:
            truth = case.test if setting[2] == 0 else case.test[:, :STEPS]
            given = feed(truth, case.std, setting, seed)
            if setting == left[0]:
                call(given)  # tunes, which is not timed
            began = time.process_time()
            analyses = call(given)
            seconds = (time.process_time() - began) / (len(truth) * truth.shape[1])
            short = (analyses[:, :STEPS], truth[:, :STEPS], case.std)
            row = {"method": method, "setting": setting, "seconds": seconds, "rmse": rmse(*short)}
            row["valid"] = valid_steps(analyses, truth, case.std) * case.problem.dt
            row |= ensemble_scores(*short)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{method} {setting}: {after(row):.3f}, {1e3 * seconds:.1f} ms", flush=True)


def rows_of(path: Path) -> list[dict]:
    """The finished rows of a problem and a seed."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def after(row: dict) -> float:
    """Mean error after the warm-up."""
    return float(np.mean(row["rmse"][WARM_UP:]))


def gathered(folder: Path, name: str) -> dict[str, dict[Setting, list[dict]]]:
    """Rows of all seeds by method and setting."""
    found: dict[str, dict[Setting, list[dict]]] = {}
    for path in sorted(folder.glob(f"{name}-*.jsonl")):
        for row in rows_of(path):
            settings = found.setdefault(row["method"], {})
            settings.setdefault(tuple(row["setting"]), []).append(row)
    return found


def table(folder: Path) -> None:
    """Markdown: mean ± standard deviation over seeds of the mean error after the warm-up."""
    labels = [f"{s:.0%}, {n:.0%}, {a:g}" for s, n, a in SETTINGS]
    zero = (0.25, 0.05, 0.0)
    for name, title in LABELS.items():
        found = gathered(folder, name)
        if not found:
            continue
        lyapunov = equations.get(PROBLEMS[name].equation).lyapunov_time
        unit = "Lyapunov times" if lyapunov else "time units"
        print(f"\n{title}; columns: sensors, noise, α; valid time in {unit}\n")
        extra = ["ms/step", "valid time", "CRPS", "spread / error"]
        print(f"| method | {' | '.join(labels + extra)} |\n|{'---|' * (len(labels) + 5)}")
        for method, settings in found.items():
            cells = [spread([after(r) for r in settings.get(s, [])], 3) for s in SETTINGS]
            every = [r["seconds"] for rows in settings.values() for r in rows]
            cells.append(f"{1e3 * np.median(every):.1f}")
            valid = [r["valid"] / (lyapunov or 1.0) for r in settings.get(zero, [])]
            cells.append(spread(valid, 2))
            centre = [r for r in settings.get(CENTRE, []) if "crps" in r]
            cells += [spread([r[k] for r in centre], d) for k, d in (("crps", 4), ("spread", 2))]
            print(f"| {method} | {' | '.join(cells)} |")


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation; the number itself where there is one."""
    if not values:
        return ""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values):.{digits}f}"


def figure(folder: Path, path: Path) -> None:
    """Error over time at the centre, one panel per problem."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    names = [name for name in LABELS if gathered(folder, name)]
    methods = list(dict.fromkeys(m for name in names for m in gathered(folder, name)))
    curves = {}
    size = (max(6, 4 * len(names)), 4.6)
    drawing, panels = pyplot.subplots(1, len(names), figsize=size, squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        for method, settings in gathered(folder, name).items():
            curve = np.mean([row["rmse"] for row in settings[CENTRE]], 0)
            style = "--" if "LETKF" in method else "-"
            style += f"C{methods.index(method)}"  # one colour in all panels
            curves[method] = axes.semilogy(np.arange(1, STEPS + 1), curve, style, linewidth=1.2)[0]
        axes.axvline(WARM_UP, color="grey", linewidth=0.6)
        axes.set(title=LABELS[name], xlabel="step", ylim=(1e-3, 3))
    panels[0][0].set_ylabel("RMSE / standard deviation")
    columns = min(4, 2 * len(names))
    drawing.legend(curves.values(), curves, ncols=columns, loc="lower center", fontsize=7)
    drawing.tight_layout(rect=(0, 0.5 / columns, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=(*PROBLEMS, "table", "figure"))
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results"))
    given = parser.parse_args()
    if given.what in PROBLEMS:
        run(given.what, given.seed, given.out)
    else:
        {"table": table, "figure": figure}[given.what](*given.paths)


if __name__ == "__main__":
    main()
