"""The semilinear observer: exact linear dynamics, orders of convergence, what it refuses."""

import itertools
import math

import pytest
import torch
from torch import nn

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics
from pelagos.datasets.fields.window import Context
from pelagos.datasets.solvers.etdrk import Spectral
from pelagos.operators import Description, Observation, create, from_pretrained
from pelagos.operators.assimilation.exponential import Derivative, phi
from pelagos.operators.assimilation.observer import ObserverConfig
from pelagos.pretrain.known_linear import linear_part, resolve_linear

torch.manual_seed(0)


class Known(nn.Module):
    """The nonlinear term of an equation in place of the network."""

    def __init__(self, equation, grid):
        super().__init__()
        self.spectral = Spectral(grid.shape, grid.lengths, dealias=True)
        self.term = equation.nonlinear(self.spectral, {})
        self.mask = self.spectral.resolved

    def forward(self, u):
        rate = self.mask * self.term(self.spectral.forward(u.double()) * self.mask)
        return self.spectral.inverse(rate).to(u)


class Zero(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x[:, :1])


def exact(equation, tendency, grid, *, parameters=None, correction_modes=3, **config):
    """An observer in double precision with the equation's own A and a given G."""
    description = Description(fields=equation.fields, grid=grid)
    operator = create(
        "observer",
        description=description,
        ndim=grid.ndim,
        hidden=2,
        layers=1,
        modes=2,
        linear=linear_part(equation, parameters),
        correction={"modes": correction_modes, "hidden": 2},
        **config,
    ).double()
    operator.tendency = tendency
    return operator


def smooth(grid, batch=2, seed=0, modes=4):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 1, 1, *grid.shape)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    spectrum = torch.fft.fftn(noise, dim=tuple(range(3, noise.ndim)))
    for axis, n in enumerate(grid.shape):
        k = torch.fft.fftfreq(n, 1 / n).abs()
        keep = (k <= modes).double().reshape(*(-1 if i == axis else 1 for i in range(grid.ndim)))
        spectrum = spectrum * keep
    u = torch.fft.ifftn(spectrum, dim=tuple(range(3, noise.ndim))).real
    return u / u.std()


def test_phi_functions_and_their_gradients():
    z = torch.tensor([0, 1e-9, 1e-4, 0.5, 1, 2, -3, 30, -200, 3j, 1e-5j], dtype=torch.complex128)
    phi1, phi2 = phi(z)
    big = z.abs() > 1e-3
    torch.testing.assert_close(phi1[big], ((z.exp() - 1) / z)[big])
    torch.testing.assert_close(phi2[big], ((z.exp() - 1 - z) / z**2)[big])
    torch.testing.assert_close(phi1[~big], (1 + z / 2 + z**2 / 6)[~big])
    torch.testing.assert_close(phi2[~big], (0.5 + z / 6 + z**2 / 24)[~big])
    real = torch.tensor([0.0, 1e-6, 0.3, 0.999, 1.001, -5.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(phi, (real.requires_grad_(),))


LINEAR = {
    "heat_1d": {"diffusivity": 0.01},
    "advection_1d": {"speed": -0.7},
    "kuramoto_sivashinsky_1d": {},
    "korteweg_de_vries_1d": {},
    "heat_2d": {"diffusivity": 0.005},
    "advection_diffusion_3d": {"diffusivity": 0.1, "speed_x": 0.4, "speed_y": -0.9, "speed_z": 0.2},
}


@pytest.mark.parametrize("name", LINEAR)
def test_the_linear_part_is_exact_at_any_irregular_dt(name):
    """û e^{λ t} to 1e-10, one step or many, dt different in every sample; KS grows."""
    equation, values = equations.get(name), LINEAR[name]
    grid = equation.grid((48 if equation.ndim < 3 else 12,) * equation.ndim)
    operator = exact(equation, Zero(), grid, parameters=values)
    u = smooth(grid)
    steps = [(0.013, 0.4), (0.9, 0.07), (0.31, 1.3)]
    state = operator.init(u, Context(equation.fields, grid))
    for step in steps:
        state, fields = operator.step(state, torch.tensor(step, dtype=torch.float64))
    total = torch.tensor(steps, dtype=torch.float64).sum(0)
    parameters = {k: torch.tensor([v], dtype=torch.float64) for k, v in values.items()}
    symbol = equation.symbol(grid, parameters)
    axes = tuple(range(2, fields.ndim))
    factor = torch.exp(symbol * total.reshape(2, *(1,) * (fields.ndim - 1)))
    expected = torch.fft.irfftn(torch.fft.rfftn(u[:, 0], dim=axes) * factor, s=grid.shape, dim=axes)
    torch.testing.assert_close(fields, expected, rtol=1e-10, atol=1e-10)
    state = operator.init(u, Context(equation.fields, grid))
    _, once = operator.step(state, total)
    torch.testing.assert_close(once, fields, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state.time + total, total)


def test_kuramoto_sivashinsky_stays_unstable():
    equation = equations.get("kuramoto_sivashinsky_1d")
    operator = exact(equation, Zero(), equation.grid())
    rate = operator.symbol(Context(("u",), equation.grid())).real.max().item()
    assert rate == pytest.approx(0.25, rel=0.01)  # κ² − κ⁴ at κ² = 1/2


def test_a_parameter_of_the_data_is_the_coefficient():
    equation = equations.get("heat_1d")
    grid = equation.grid((32,))
    operator = exact(equation, Zero(), grid)
    viscosity = torch.tensor([[0.01], [0.03]], dtype=torch.float64)
    context = Context(("u",), grid, parameters=viscosity, parameter_names=("diffusivity",))
    x = torch.arange(32, dtype=torch.float64) / 32
    wave = torch.sin(2 * math.pi * 3 * x).expand(2, 1, 1, 32)
    _, fields = operator.step(operator.init(wave, context), torch.tensor([0.2, 0.2]))
    decay = torch.exp(-viscosity * (6 * math.pi) ** 2 * 0.2)
    torch.testing.assert_close(fields[:, 0], decay * wave[:, 0, 0], rtol=1e-6, atol=1e-9)
    state = operator.init(wave, Context(("u",), grid))
    with pytest.raises(ValueError, match="needs the parameter 'diffusivity'; the data have none"):
        operator.step(state, torch.tensor([0.2, 0.2]))


@pytest.mark.parametrize("order", [1, 2])
def test_order_of_convergence_with_the_true_nonlinear_term(order):
    equation = equations.get("kuramoto_sivashinsky_1d")
    grid = equation.grid((64,), (32.0,))
    operator = exact(equation, Known(equation, grid), grid, order=order)
    u = smooth(grid, batch=1)
    truth = frames(equation, Problem(u[:, 0], {}, grid, 0.4, solver_step=0.01))
    next(truth)
    target = next(truth)
    errors = []
    for count in (8, 16, 32):
        *_, last = operator.rollout(u, Context(("u",), grid), dt=0.4 / count, steps=count)
        errors.append((last - target).norm().item())
    rates = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert rates == pytest.approx([order, order], abs=0.25)


@pytest.mark.parametrize("dynamics", ["exponential", "residual"])
def test_a_shift_of_the_normaliser_changes_nothing_that_the_network_does_not_see(dynamics):
    """A acts on physical values: with the network at zero, statistics do not matter."""
    grid = Grid.unit((32,))
    linear = (Derivative(-0.3, (0,)), Derivative(0.01, (2,))) if dynamics == "exponential" else ()
    u = smooth(grid)
    results = []
    for mean, std in ((0.0, 1.0), (5.0, 20.0)):
        normalizer = Statistics({"*": {"u": mean}}, {"*": {"u": std}})
        description = Description(("u",), normalizer=normalizer)
        operator = create(
            "observer",
            description=description,
            ndim=1,
            dynamics=dynamics,
            linear=linear,
            modes=3,
            correction={"modes": 3},
        ).double()
        nn.init.zeros_(operator.tendency.project.weight)
        nn.init.zeros_(operator.tendency.project.bias)
        results.append(next(operator.rollout(u, Context(("u",), grid), dt=0.5, steps=1)))
    torch.testing.assert_close(*results)


def test_a_learned_linear_part_finds_the_symbol():
    """Advection–diffusion from pairs of frames: the known coefficients come back."""
    equation = equations.get("heat_1d")
    grid = Grid((32,), (2.0,), ("periodic",))
    description = Description(("u",), grid=grid, time_scale=0.1)
    operator = create(
        "observer",
        description=description,
        ndim=1,
        learn_linear=True,
        linear=(Derivative(0.5, (1,)),),
        modes=4,
        hidden=2,
        layers=1,
        correction={"modes": 3},
    ).double()
    operator.tendency = Zero()
    truth = exact(equation, Zero(), grid, parameters={"diffusivity": 0.02})
    u, context = smooth(grid, batch=8), Context(("u",), grid)
    target = next(truth.rollout(u, context, dt=0.1, steps=1, gradients=True))
    optimizer = torch.optim.LBFGS(
        [operator.even, operator.odd], max_iter=60, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        found = next(operator.rollout(u, context, dt=0.1, steps=1, gradients=True))
        error = 1e4 * (found - target).square().mean()
        error.backward()
        return error

    optimizer.step(loss)
    modes = slice(0, 5)  # those that the data hold
    expected = truth.symbol(context)[0, 0, modes]
    torch.testing.assert_close(operator.symbol(context)[0, 0, modes], expected, rtol=0, atol=1e-3)


def test_known_terms_come_from_an_equation_and_stay_in_the_checkpoint(tmp_path):
    values = resolve_linear(
        {
            "ndim": 2,
            "modes": 3,
            "linear": {"equation": "kolmogorov_2d", "parameters": {"drag": 0.2}},
        }
    )
    operator = create("observer", fields=("vorticity",), **values, correction={"modes": 3})
    assert Derivative(-0.2, (0, 0)) in operator.config.linear
    assert Derivative(1.0, (2, 0), parameter="viscosity") in operator.config.linear
    opened = from_pretrained(operator.save_pretrained(tmp_path / "checkpoint"))
    assert opened.config == operator.config


def test_what_the_network_sees_beside_the_fields():
    description = Description(("u",), constant_fields=("force",), parameters=("viscosity",))
    operator = create(
        "observer",
        description=description,
        ndim=2,
        modes=3,
        coordinates=True,
        correction={"modes": 3},
    )
    grid = Grid.unit((8, 10))
    known = {"constant_fields": ("force",), "parameter_names": ("viscosity",)}
    history, force = torch.randn(2, 1, 1, 8, 10), torch.randn(2, 1, 8, 10)
    dt = torch.tensor([0.1, 0.2])

    def step(force, viscosity):
        context = Context(("u",), grid, constants=force, parameters=viscosity, **known)
        return operator.step(operator.init(history, context), dt)[1]

    first = step(force, torch.ones(2, 1))
    assert not torch.equal(first, step(2 * force, torch.ones(2, 1)))
    assert not torch.equal(first, step(force, 2 * torch.ones(2, 1)))
    with pytest.raises(ValueError, match=r"takes the constant field\(s\) force"):
        operator.init(history, Context(("u",), grid))


def test_a_steady_problem_has_nothing_to_assimilate_along():
    with pytest.raises(ValueError, match="takes no steady problem"):
        create("observer", description=Description(("u",), inputs=("source",)), ndim=1)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"ndim": 4}, "ndim must be 1, 2 or 3"),
        ({"ndim": 1, "kernel_size": 2}, "kernel_size must be odd"),
        ({"ndim": 2, "linear": (Derivative(1.0, (1,)),)}, "needs 2 orders per term"),
        ({"ndim": 1, "dynamics": "residual", "order": 2}, "residual dynamics has no linear part"),
    ],
)
def test_impossible_configs(config, match):
    with pytest.raises(ValueError, match=match):
        ObserverConfig(**config)


@pytest.mark.parametrize(
    ("linear", "match"),
    [
        ({"equation": "kuramoto_1d"}, "unknown equation 'kuramoto_1d'; did you mean"),
        ({"equation": "heat_1d", "parameters": {"nu": 1.0}}, "has no parameter 'nu'"),
        ({"equatoin": "heat_1d"}, "unknown key 'equatoin'"),
    ],
)
def test_unknown_equations(linear, match):
    with pytest.raises(ValueError, match=match):
        resolve_linear({"linear": linear})


def test_a_field_that_the_operator_does_not_map():
    with pytest.raises(ValueError, match="acts on the field"):
        create("observer", fields=("u",), ndim=1, linear=(Derivative(1.0, (1,), field="v"),))


def test_two_initial_states_converge_under_the_same_observations():
    """Kuramoto–Sivashinsky, chaotic, a quarter of the points: one truth, two first guesses."""
    equation = equations.get("kuramoto_sivashinsky_1d")
    grid = equation.grid((64,), (32.0,))
    operator = exact(equation, Known(equation, grid), grid, order=2, correction_modes=16)
    context = Context(("u",), grid)
    solved = frames(equation, Problem(smooth(grid, batch=3)[:, 0], {}, grid, 0.25, warm_up=50.0))
    states = next(solved)
    truth = states[:1]
    guesses = [operator.start(states[i : i + 1, None], context, variance=1.0) for i in (1, 2)]
    free = [operator.init(states[i : i + 1, None], context) for i in (1, 2)]
    mask = torch.zeros_like(truth, dtype=torch.bool)
    mask[..., ::4] = True
    dt, noise = torch.tensor([0.25], dtype=torch.float64), torch.tensor([[[0.01]]])
    truths = frames(equation, Problem(truth, {}, grid, 0.25))
    next(truths)
    start = (guesses[0].history - guesses[1].history).norm().item()
    for _ in range(120):
        truth = next(truths)
        seen = Observation(truth, mask, ("u",), noise.double())
        guesses = [operator.step(state, dt, seen)[0] for state in guesses]
        free = [operator.step(state, dt)[0] for state in free]
    between = (guesses[0].history - guesses[1].history).norm().item()
    apart = (free[0].history - free[1].history).norm().item()
    error = (guesses[0].history[:, 0] - truth).norm().item() / truth.norm().item()
    assert between < 0.01 * start
    assert apart > 0.3 * start
    assert error < 0.05
    assert error == pytest.approx(
        (guesses[1].history[:, 0] - truth).norm().item() / truth.norm().item(), rel=0.5
    )
