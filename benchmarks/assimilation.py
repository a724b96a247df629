"""The semilinear observer against the methods of data assimilation, on one set of observations.

    python benchmarks/assimilation.py ks --seed 0 --out results     # also kdv, ns
    python benchmarks/assimilation.py gains --seed 0     # Kuramoto–Sivashinsky, no training
    python benchmarks/assimilation.py table results
    python benchmarks/assimilation.py figure results docs/figures/assimilation.svg

Needs DAPPER (pip install dapper) for the local ensemble transform Kalman filter. All methods start
from the mean of the training data (ensembles: from training states), see the same warm-up of
measured steps, then the same measurements at a share α of the steps. Errors are RMSE over the
standard deviation of the field. Everything varies one at a time around 25 % of the points, noise of
5 % of the standard deviation, α = 0.3.

Budget: about two minutes of one core for a problem and a seed, so that training is short: 250 steps
of 6 windows to predict 4 frames, then 40 to assimilate along 12 (Navier–Stokes: 150 and 30 steps
of 3, along 10). 64 trajectories of training data (32), 3 for the test, 2 for tuning, 20 members.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pelagos.datasets import equations, metrics
from pelagos.datasets.fields import Context, Grid, Window
from pelagos.datasets.normalization import Statistics
from pelagos.operators import Description, Observation, Operator, create
from pelagos.pretrain.assimilation import AssimilationConfig, assimilation_loss
from pelagos.pretrain.linear import linear_part
from pelagos.pretrain.objective import loss_of

WARM_UP, STEPS, MEMBERS = 10, 50, 20
FORECAST = 150  # steps after the warm-up where α = 0
CENTRE = (0.25, 0.05, 0.3)
SETTINGS = [CENTRE]
SETTINGS += [(s, 0.05, 0.3) for s in (1.0, 0.1)]
SETTINGS += [(0.25, 0.2, 0.3)]
SETTINGS += [(0.25, 0.05, a) for a in (0.0, 1.0)]


@dataclass(frozen=True)
class Problem:
    """An equation in small: grid, time step, and what is trained on it.

    Attributes:
        train: trajectories and frames of training data.
        steps: of training, to predict and then to assimilate.
        batch, horizon: of training.
        network: of the operators.
        gain: modes of the correction.
        widths: candidate localisation radii, in points.
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
    widths: tuple[float, ...]
    parameters: dict


PROBLEMS = {
    "ks": Problem(
        "kuramoto_sivashinsky_1d", (128,), (64.0,), 0.5, 100.0, (64, 61), (250, 40), 6, 12,
        {"hidden": 24, "layers": 2, "modes": 28}, 24, (6.0, 10.0), {},
    ),
    "kdv": Problem(
        "korteweg_de_vries_1d", (128,), (64.0,), 0.1, 2.0, (64, 61), (250, 40), 6, 12,
        {"hidden": 24, "layers": 2, "modes": 24}, 24, (6.0, 10.0), {},
    ),
    "ns": Problem(
        "navier_stokes_forced_2d", (32, 32), (1.0, 1.0), 0.2, 4.0, (32, 41), (150, 30), 3, 10,
        {"hidden": 16, "layers": 2, "modes": 8, "coordinates": True}, 7, (2.0, 4.0),
        {"viscosity": 1e-3},
    ),
}  # fmt: skip


class Model:
    """The equation's own solver, one time step at a time."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.equation = equations.get(problem.equation).restricted(problem.parameters)
        self.grid = Grid(problem.resolution, problem.lengths, ("periodic",) * len(problem.lengths))

    def frames(self, states: Tensor, count: int, warm_up: float = 0.0) -> Tensor:
        """(B, count, C, *S) from states (B, C, *S)."""
        values = {
            name: torch.full((len(states),), p.low, dtype=torch.float64)
            for name, p in self.equation.parameters.items()
        }
        run = self.equation.solve(states, values, self.grid, self.problem.dt, warm_up=warm_up)
        return torch.stack([next(run) for _ in range(count)], 1)

    def __call__(self, states: Tensor) -> Tensor:
        return self.frames(states, 2)[:, 1]

    def draw(self, count: int, frames: int, seed: int) -> Tensor:
        """Trajectories after the transient, float32."""
        generator = torch.Generator().manual_seed(seed)
        assert self.equation.initial is not None
        states = torch.stack([self.equation.initial(generator, self.grid) for _ in range(count)])
        return self.frames(states, frames, self.problem.warm_up).float()


@dataclass(frozen=True)
class Feed:
    """What was measured: (T,) whether, and per step values and mask."""

    steps: list[bool]
    values: Tensor
    mask: Tensor
    noise: float


def feed(truth: Tensor, std: float, setting: tuple[float, float, float], seed: int) -> Feed:
    share, noise, alpha = setting
    rng = torch.Generator().manual_seed(1000 * seed + 7)
    count = truth[0, 0].numel()
    order = torch.rand(len(truth), 1, count, generator=rng).argsort(-1)
    mask = (order < max(1, round(share * count))).reshape(truth[:, 0].shape)
    draws = torch.rand(truth.shape[1], generator=rng)
    steps = [t < WARM_UP or bool(draws[t] < alpha) for t in range(truth.shape[1])]
    error = torch.randn(truth.shape, generator=rng)
    return Feed(steps, truth + noise * std * error, mask, noise * std)


def train(problem: Problem, model: Model, data: Tensor, kind: str, seed: int) -> Operator:
    """An observer: exponential, residual, learned (E), or predict (residual, no assimilation)."""
    dynamics = "exponential" if kind in ("exponential", "learned") else "residual"
    correction = {"modes": problem.gain, "hidden": 12}
    correction["observation"] = "learned" if kind == "learned" else "true"
    linear = linear_part(model.equation) if dynamics == "exponential" else ()
    normalizer = _normalizer(model, data)
    operator = create(
        "observer",
        description=Description(
            model.equation.fields, normalizer=normalizer, time_scale=problem.dt, grid=model.grid,
            time_steps=(problem.dt,),
        ),
        seed=seed, ndim=model.grid.ndim, dynamics=dynamics, linear=linear, correction=correction,
        **problem.network,
    )  # fmt: skip
    operator.correction.fit((data[:, ::10].flatten(0, 1) - data.mean()) / data.std())
    config = AssimilationConfig(warm_up=problem.horizon // 2, truncate=problem.horizon // 2)
    optimizer = torch.optim.AdamW([p for p in operator.parameters() if p.requires_grad], 5e-3)
    generator = torch.Generator().manual_seed(seed)
    first, total = problem.steps[0], sum(problem.steps)
    for step in range(total):
        for group in optimizer.param_groups:
            warm = min(1, (step + 1) / 20)
            group["lr"] = 5e-3 * warm * (0.5 + 0.5 * math.cos(math.pi * step / total))
        # The dynamics is learned on short windows before it is unrolled.
        horizon = 4 if step < first else problem.horizon
        starts = torch.randint(data.shape[1] - horizon, (problem.batch,), generator=generator)
        chosen = torch.randint(len(data), (problem.batch,), generator=generator)
        frames = torch.stack(
            [data[i, s : s + horizon + 1] for i, s in zip(chosen, starts, strict=True)]
        )
        window = _window(model, frames)
        if step < first or kind == "predict":
            loss = loss_of("vrmse", operator(window), window, normalizer)
        else:
            loss = assimilation_loss(
                operator, window, "vrmse", config, normalizer, 10**6 * seed + step
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(operator.parameters(), 1.0)
        optimizer.step()
    print(f"{kind}: last loss {loss.item():.3f}", flush=True)
    return operator.eval()


def _normalizer(model: Model, data: Tensor) -> Statistics:
    name = model.equation.fields[0]
    return Statistics({"*": {name: data.mean().item()}}, {"*": {name: data.std().item()}})


def _window(model: Model, frames: Tensor) -> Window:
    lead = model.problem.dt * torch.arange(1, frames.shape[1]).expand(len(frames), -1)
    context = Context(model.equation.fields, model.grid)
    return Window(frames[:, :1], frames[:, 1:], lead, context)


def observer(operator: Operator, model: Model, given: Feed, truth: Tensor) -> Tensor:
    """(B, T, C, *S) analyses."""
    context = Context(model.equation.fields, model.grid)
    state = operator.cold_start(context, len(truth))
    dt = torch.full((len(truth),), model.problem.dt)
    frames = []
    for t, measured in enumerate(given.steps):
        seen = None
        if measured:
            level = torch.full((1,) * truth[:, 0].ndim, given.noise)
            seen = Observation(given.values[:, t], given.mask, model.equation.fields, level)
        state, fields = operator.step(state, dt, seen)
        frames.append(fields)
    return torch.stack(frames, 1)


def inserted(step, first: Tensor, given: Feed) -> Tensor:
    """Direct insertion: what is measured replaces the forecast."""
    return nudged(step, first, given, 1.0, 0.0)


def nudged(step, first: Tensor, given: Feed, gain: float, width: float) -> Tensor:
    """û ← û + gain · kernel ∗ (mask (y − û)) / (kernel ∗ mask), a Gaussian kernel of `width`."""
    frames, u = [], first
    for t, measured in enumerate(given.steps):
        u = step(u)
        if measured:
            gap = torch.where(given.mask, given.values[:, t] - u, 0)
            if width:
                weight = _smooth(given.mask.float(), width)
                gap = _smooth(gap, width) / weight.clamp_min(1e-2)
            u = u + gain * gap
        frames.append(u)
    return torch.stack(frames, 1)


def _smooth(x: Tensor, width: float) -> Tensor:
    axes = tuple(range(2, x.ndim))
    kernel = torch.ones(())
    for axis in axes:
        f = torch.fft.fftfreq(x.shape[axis]) * 2 * math.pi * width
        kernel = kernel * torch.exp(-0.5 * f.square()).reshape(
            *(-1 if a == axis else 1 for a in axes)
        )
    return torch.fft.ifftn(torch.fft.fftn(x, dim=axes) * kernel, dim=axes).real


def filtered(
    step, pool: Tensor, given: Feed, radius: float, inflation: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Mean (B, T, C, *S) and members (T, M, C, *S) of the first, by DAPPER's LETKF."""
    from dapper.da_methods.ensemble import local_analyses
    from dapper.tools.localization import nd_Id_localization
    from dapper.tools.randvars import GaussRV

    rng = np.random.default_rng(seed)
    count, shape = len(given.values), tuple(pool.shape[1:])
    ensembles = [pool[rng.choice(len(pool), MEMBERS, replace=False)] for _ in range(count)]
    localisers, seen = [], []
    block = {1: (4,), 2: (4, 4)}[len(shape) - 1]
    for b in range(count):
        where = given.mask[b].flatten().nonzero().flatten().numpy()
        seen.append(where)
        localisers.append(nd_Id_localization(shape[1:], block, where)(radius, "x2y", "GC"))
    frames, kept = [], []
    for t, measured in enumerate(given.steps):
        forecast = step(torch.cat(ensembles)).split(MEMBERS)
        ensembles = []
        for b, members in enumerate(forecast):
            if measured and members.isfinite().all():
                flat = members.reshape(MEMBERS, -1).double().numpy()
                mean = flat.mean(0)
                flat = mean + inflation * (flat - mean)
                where = seen[b]
                values = given.values[b, t].flatten().numpy()[where].astype(float)
                noise = GaussRV(C=given.noise**2, M=len(where)).C
                batches, taper = localisers[b]
                flat, _ = local_analyses(flat, flat[:, where].copy(), noise, values, batches, taper)
                members = torch.from_numpy(flat).to(members).reshape(members.shape)
            ensembles.append(members)
        frames.append(torch.stack([e.mean(0) for e in ensembles]))
        kept.append(ensembles[0])
    return torch.stack(frames, 1), torch.stack(kept)


def learned_step(operator: Operator, model: Model):
    """The observer's forecast as a model for the other methods."""
    context = Context(model.equation.fields, model.grid)

    def step(u: Tensor) -> Tensor:
        dt = torch.full((len(u),), model.problem.dt)
        return operator.forecast(operator.init(u[:, None].float(), context), dt)[1]

    return step


def score(analyses: Tensor, truth: Tensor, std: float) -> list[float]:
    """RMSE over the standard deviation, by step, mean over trajectories; 10 at the most."""
    error = (analyses - truth).square().flatten(2).mean(2).sqrt().mean(0) / std
    return [min(10.0, v) if math.isfinite(v) else 10.0 for v in error.tolist()]


def valid_steps(analyses: Tensor, truth: Tensor, std: float) -> float:
    """Mean number of steps after the warm-up until the error exceeds 0.4 standard deviations."""
    error = (analyses - truth).square().flatten(2).mean(2).sqrt()[:, WARM_UP:] / std
    bad = ~(error < 0.4)
    first = torch.where(bad.any(1), bad.float().argmax(1), error.shape[1])
    return first.float().mean().item()


@torch.no_grad()
def gains(name: str, seed: int) -> None:
    """Filters alone, on the true model: the observer's gain before any training, and the others."""
    problem = PROBLEMS[name]
    model = Model(problem)
    data = model.draw(*problem.train, seed=1)
    test = model.draw(2, STEPS + 1, seed=2)[:, 1:]
    tune = model.draw(1, STEPS + 1, seed=3)[:, 1:]
    std, mean = data.std().item(), data.mean()
    given = feed(tune, std, CENTRE, seed)
    pool = data[:, -1]

    def start(u: Tensor) -> Tensor:
        return mean + torch.zeros_like(u[:, 0])

    nudge = _tune(
        lambda gain, width: nudged(model, start(tune), given, gain, width),
        [(g, w) for g in (0.3, 0.6, 0.9) for w in (1.0, 2.0, 4.0)],
        tune, std,
    )  # fmt: skip
    local = _tune(
        lambda radius, inflation: filtered(model, pool, given, radius, inflation, seed)[0],
        [(r, i) for r in problem.widths for i in (1.02, 1.15)],
        tune, std,
    )  # fmt: skip
    operator = create(
        "observer",
        description=Description(
            model.equation.fields, normalizer=_normalizer(model, data), time_scale=problem.dt
        ),
        ndim=model.grid.ndim, correction={"modes": problem.gain}, **problem.network,
    )  # fmt: skip
    operator.correction.fit((data[:, ::10].flatten(0, 1) - mean) / std)
    operator.forecast = lambda state, dt: _true_forecast(model, state, dt)
    methods = {
        "observer's gain, untrained": lambda g, u: observer(operator, model, g, u),
        "insertion": lambda g, u: inserted(model, start(u), g),
        "nudging": lambda g, u: nudged(model, start(u), g, *nudge),
        "LETKF": lambda g, u: filtered(model, pool, g, *local, seed)[0],
    }
    print(f"{name}, seed {seed}: nudging {nudge}, LETKF {local}")
    for setting in (
        CENTRE,
        (1.0, 0.05, 0.3),
        (0.1, 0.05, 0.3),
        (0.25, 0.2, 0.3),
        (0.25, 0.05, 1.0),
    ):
        given, shown = feed(test, std, setting, seed), {}
        for method, call in methods.items():
            began = time.process_time()
            error = np.mean(score(call(given, test), test, std)[WARM_UP:])
            cost = 1e3 * (time.process_time() - began) / (len(test) * STEPS)
            shown[method] = f"{error:.3f} ({cost:.1f} ms)"
        print(setting, shown, flush=True)


def _true_forecast(model: Model, state, dt: Tensor):
    fields = model(state.history[:, -1])
    return state.advance(fields, dt), fields


@torch.no_grad()
def run(name: str, seed: int, out: Path) -> None:
    problem = PROBLEMS[name]
    model = Model(problem)
    data = model.draw(*problem.train, seed=1)
    test = model.draw(3, WARM_UP + FORECAST + 1, seed=2)[:, 1:]
    tune = model.draw(2, STEPS + 1, seed=3)[:, 1:]
    std = data.std().item()
    began = time.process_time()
    with torch.enable_grad():
        kinds = ("exponential", "residual", "predict") + (("learned",) if name == "ks" else ())
        trained = {kind: train(problem, model, data, kind, seed) for kind in kinds}
    result: dict = {"problem": name, "seed": seed, "train_seconds": time.process_time() - began}
    result["lyapunov_time"] = model.equation.lyapunov_time
    pool, mean = data[:, -1], data.mean() + torch.zeros_like(test[:, 0])
    learned = learned_step(trained["exponential"], model)
    alone = learned_step(trained["predict"], model)
    methods = {
        "observer, exponential": lambda g, u: observer(trained["exponential"], model, g, u),
        "observer, residual": lambda g, u: observer(trained["residual"], model, g, u),
        "residual FNO + insertion": lambda g, u: inserted(alone, mean[: len(u)], g),
        "insertion, true model": lambda g, u: inserted(model, mean[: len(u)], g),
    }
    if "learned" in trained:
        methods["observer, learned E"] = lambda g, u: observer(trained["learned"], model, g, u)
    given = feed(tune, std, CENTRE, seed)
    best = _tune(
        lambda gain, width: nudged(model, mean[: len(tune)], given, gain, width),
        [(g, w) for g in (0.3, 0.6, 0.9) for w in (1.0, 2.0, 4.0)],
        tune, std,
    )  # fmt: skip
    methods["nudging, true model"] = lambda g, u: nudged(model, mean[: len(u)], g, *best)
    result["nudging"] = best
    for label, step in (("true", model), ("learned", learned)):
        choice = _tune(
            lambda radius, infl, step=step: filtered(step, pool, given, radius, infl, seed)[0],
            [(r, i) for r in problem.widths for i in (1.02, 1.15)],
            tune, std,
        )  # fmt: skip
        result[f"letkf {label}"] = choice
        methods[f"LETKF, {label} model"] = lambda g, u, step=step, choice=choice: filtered(
            step, pool, g, *choice, seed
        )[0]
    result["scores"] = {}
    for setting in SETTINGS:
        truth = test if setting[2] == 0 else test[:, :STEPS]
        given = feed(truth, std, setting, seed)
        for method, call in methods.items():
            start = time.process_time()
            analyses = call(given, truth)
            seconds = (time.process_time() - start) / (len(truth) * truth.shape[1])
            result["scores"].setdefault(method, []).append(
                {
                    "setting": setting,
                    "rmse": score(analyses[:, :STEPS], truth[:, :STEPS], std),
                    "valid": valid_steps(analyses, truth, std),
                    "seconds": seconds,
                }
            )
        print(
            setting, {m: round(_after(s[-1]), 3) for m, s in result["scores"].items()}, flush=True
        )
    result["ensembles"] = _ensembles(
        trained["exponential"], model, test[:, :STEPS], std, pool, result, seed
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}-{seed}.json").write_text(json.dumps(result))


def _ensembles(operator, model, test, std, pool, result, seed) -> dict:
    """CRPS and spread over error of ensembles, at the centre, of the first trajectory."""
    given = feed(test, std, CENTRE, seed)
    truth, mask = test[:1], given.mask[:1]
    context = Context(model.equation.fields, model.grid)
    generator = torch.Generator().manual_seed(seed)
    start = pool[torch.randperm(len(pool), generator=generator)[:MEMBERS]]
    state = operator.start(start[:, None], context, variance=1.0)
    dt, members = torch.full((MEMBERS,), model.problem.dt), []
    for t, measured in enumerate(given.steps):
        seen = None
        if measured:
            error = given.noise * torch.randn(start.shape, generator=generator)
            level = torch.full((1,) * start.ndim, given.noise)
            values = given.values[:1, t] + error
            seen = Observation(values, mask.expand_as(values), model.equation.fields, level)
        state, fields = operator.step(state, dt, seen)
        members.append(fields)
    sets = {
        "observer": torch.stack(members),
        "LETKF, true model": filtered(model, pool, given, *result["letkf true"], seed)[1],
    }
    found = {}
    for label, frames in sets.items():
        frames, target = frames[WARM_UP:], truth[0, WARM_UP:]
        crps = metrics.crps(frames.movedim(1, 0), target, model.grid.ndim).mean().item() / std
        spread = frames.var(1).mean().sqrt().item()
        error = (frames.mean(1) - target).square().mean().sqrt().item()
        found[label] = {"crps": crps, "spread_over_error": spread / error}
    return found


def _tune(call, candidates, truth: Tensor, std: float):
    scores = [np.mean(score(call(*c), truth, std)[WARM_UP:]) for c in candidates]
    return candidates[int(np.argmin(scores))]


def _after(entry: dict) -> float:
    return float(np.mean(entry["rmse"][WARM_UP:]))


def table(folder: Path) -> None:
    """Markdown: mean ± standard deviation over seeds of the mean error after the warm-up."""
    for name in PROBLEMS:
        runs = [json.loads(p.read_text()) for p in sorted(folder.glob(f"{name}-*.json"))]
        if not runs:
            continue
        labels = [f"{s:.0%}, {n:.0%}, {a:g}" for s, n, a in SETTINGS]
        print(f"\n{name}, seeds: {len(runs)}; columns: sensors, noise, α\n")
        print(f"| method | {' | '.join(labels)} | ms/step |\n|{'---|' * (len(labels) + 2)}")
        for method in runs[0]["scores"]:
            cells = []
            for i in range(len(SETTINGS)):
                values = [_after(r["scores"][method][i]) for r in runs]
                cells.append(_spread(values, 3))
            cost = np.median([e["seconds"] for r in runs for e in r["scores"][method]])
            print(f"| {method} | {' | '.join(cells)} | {1e3 * cost:.1f} |")
        _print_valid(name, runs)
        for label in runs[0]["ensembles"]:
            pairs = [r["ensembles"][label] for r in runs]
            crps, ratio = (np.mean([p[k] for p in pairs]) for k in ("crps", "spread_over_error"))
            print(f"- ensemble {label}: CRPS {crps:.4f}, spread / error {ratio:.2f}")
        chosen = [(r["nudging"], r["letkf true"], r["letkf learned"]) for r in runs]
        print(f"- tuned (nudging, LETKF true, LETKF learned): {chosen}")


def _spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation; the number itself where there is one seed."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values):.{digits}f}"


def _print_valid(name: str, runs: list[dict]) -> None:
    """How long forecasts after the warm-up hold, in Lyapunov times where these are known."""
    zero, unit, words = SETTINGS.index((0.25, 0.05, 0.0)), PROBLEMS[name].dt, "time units"
    if runs[0]["lyapunov_time"]:
        unit, words = unit / runs[0]["lyapunov_time"], "Lyapunov times"
    print(f"\nvalid time ({words}; at most {FORECAST * unit:.2f}):\n")
    for method in runs[0]["scores"]:
        values = [r["scores"][method][zero]["valid"] * unit for r in runs]
        print(f"- {method}: {_spread(values, 2)}")


def figure(folder: Path, path: Path) -> None:
    """Error over time at the centre, one panel per problem."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    names = [n for n in PROBLEMS if list(folder.glob(f"{n}-*.json"))]
    columns = min(4, 2 * len(names))
    size = (max(6, 4 * len(names)), 4 if columns < 4 else 3.4)
    drawing, panels = pyplot.subplots(1, len(names), figsize=size, squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        runs = [json.loads(p.read_text()) for p in sorted(folder.glob(f"{name}-*.json"))]
        for method in runs[0]["scores"]:
            curve = np.mean([r["scores"][method][0]["rmse"] for r in runs], 0)
            axes.semilogy(np.arange(1, STEPS + 1), curve, label=method, linewidth=1.2)
        axes.axvline(WARM_UP, color="grey", linewidth=0.6)
        axes.set(title=name, xlabel="step", ylim=(1e-3, 3))
    panels[0][0].set_ylabel("RMSE / standard deviation")
    handles, labels = panels[0][0].get_legend_handles_labels()
    drawing.legend(handles, labels, ncols=columns, loc="lower center", fontsize=7)
    drawing.tight_layout(rect=(0, 0.09 * 4 / columns, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=(*PROBLEMS, "gains", "table", "figure"))
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results"))
    given = parser.parse_args()
    if given.what in PROBLEMS:
        run(given.what, given.seed, given.out)
    elif given.what == "gains":
        gains("ks", given.seed)
    else:
        {"table": table, "figure": figure}[given.what](*given.paths)


if __name__ == "__main__":
    main()
