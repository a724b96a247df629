"""Steps as ONNX, opened without Pelagos."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from pelagos.datasets.fields.grid import Grid  # noqa: E402  (onnxruntime is optional)
from pelagos.datasets.fields.prescribed import Prescribed  # noqa: E402
from pelagos.datasets.fields.window import Context  # noqa: E402
from pelagos.finetune.cli.console import main  # noqa: E402
from pelagos.operators import Description, Operator, create, from_pretrained  # noqa: E402
from pelagos.operators.core.exporting import export_step  # noqa: E402

CHECKPOINTS = Path(__file__).parents[2] / "earlier" / "checkpoints"
# What PyTorch's exporter says of its own versions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.slow  # one step is in the tests below
def test_a_loop_over_the_program_is_the_rollout(tmp_path, capsys):
    path = tmp_path / "step.onnx"
    main(["export", str(CHECKPOINTS / "dymixop"), str(path), "--format", "onnx", "--batch", "2"])
    assert "onnxruntime.InferenceSession" in capsys.readouterr().out
    step = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(step.get_modelmeta().custom_metadata_map["pelagos.json"])
    assert about["fields"] == ["u"]
    assert about["names"] == ["history", "first", "dt"]
    first = np.random.default_rng(0).standard_normal((2, 2, 1, 32)).astype(np.float32)
    operator = from_pretrained(CHECKPOINTS / "dymixop")
    expected = operator.rollout(torch.from_numpy(first), dt=0.02, steps=3)
    names, history = {one.name for one in step.get_inputs()}, first
    for frame in expected:
        given = {"history": history, "first": first, "dt": np.array(0.02, np.float32)}
        (fields,) = step.run(None, {k: v for k, v in given.items() if k in names})
        np.testing.assert_allclose(fields, frame.numpy(), rtol=1e-4, atol=1e-5)
        history = np.concatenate((history[:, 1:], fields[:, None]), 1)


def loop(path, history, dt, conditions, steps):
    """What a user without Pelagos writes."""
    step = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names, first = {one.name for one in step.get_inputs()}, history
    for _ in range(steps):
        given = {"history": history, "first": first, "dt": np.array(dt, np.float32), **conditions}
        (fields,) = step.run(None, {k: v for k, v in given.items() if k in names})
        yield fields
        history = np.concatenate((history[:, 1:], fields[:, None]), 1)


def test_what_is_prescribed_is_an_input_as_onnx(tmp_path):
    grid = Grid((16,), (2.0,), ("periodic",))
    about = Description(("u",), time_steps=(0.25,), grid=grid, prescribed=("wind",))
    operator = create("dymixop", description=about, ndim=1, hidden=4, layers=1, modes=3).eval()
    says = export_step(operator, tmp_path / "step.onnx", onnx=True)
    assert says["names"] == ["history", "first", "dt", "prescribed"]
    generator = torch.Generator().manual_seed(3)
    driving = torch.randn(1, 4, 1, 16, generator=generator)
    history = torch.randn(1, operator.history, 1, 16, generator=generator)
    given = Prescribed(("wind",), 0.25 * torch.arange(4.0)[None], driving)
    context = Context(("u",), grid, prescribed=given)
    expected = operator.rollout(history, context, dt=0.25, steps=3)
    frames = history.numpy()
    for k, frame in enumerate(expected):
        ends = {"prescribed": driving[:, k : k + 2].numpy()}
        (fields,) = loop(tmp_path / "step.onnx", frames, 0.25, ends, 1)
        np.testing.assert_allclose(fields, frame.numpy(), rtol=1e-4, atol=1e-5)
        frames = np.concatenate((frames[:, 1:], fields[:, None]), 1)


@pytest.mark.slow
def test_windows_of_tokens_as_onnx(tmp_path):
    operator = from_pretrained(CHECKPOINTS / "multiscale")
    (dt, *_), points = operator.description.time_steps, operator.description.grid.shape
    export_step(operator, tmp_path / "step.onnx", batch=2, onnx=True)
    first = np.random.default_rng(1).standard_normal((2, 1, 2, *points)).astype(np.float32)
    expected = operator.rollout(torch.from_numpy(first), dt=dt, steps=3)
    for found, frame in zip(loop(tmp_path / "step.onnx", first, dt, {}, 3), expected, strict=True):
        np.testing.assert_allclose(found, frame.numpy(), rtol=1e-4, atol=1e-4)


LINEAR = [{"coefficient": 0.01, "orders": [2], "parameter": "viscosity"},
          {"coefficient": -0.3, "orders": [1]}, {"coefficient": -1e-6, "orders": [4]}]  # fmt: skip


@pytest.mark.parametrize("config", [
    {"dynamics": "residual"},
    pytest.param(
        {"dynamics": "exponential", "order": 2, "linear": LINEAR, "learn_linear": True},
        marks=pytest.mark.slow,
    ),
])  # fmt: skip
def test_exponentials_of_a_linear_part_as_onnx(config, tmp_path):
    """Real numbers in place of complex ones; an even axis, whose odd derivatives lack a mode."""
    grid = Grid((24,), (3.0,), ("periodic",))
    about = Description(("u", "v"), time_steps=(0.25,), grid=grid)
    operator = create("observer", description=about, ndim=1, modes=5, hidden=6, layers=1, **config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in (operator.even, operator.odd):
            if parameter is not None:
                parameter.copy_(0.2 * torch.rand(parameter.shape, generator=generator))
    says = export_step(operator.eval(), tmp_path / "step.onnx", batch=2, onnx=True)
    viscosity = np.array([[0.5], [2.0]], np.float32)
    conditions = {"parameters": viscosity} if "linear" in config else {}
    assert list(says["parameters"]) == (["viscosity"] if conditions else [])
    first = torch.randn(2, 1, 2, 24, generator=generator)
    context = Context(("u", "v"), grid, parameters=torch.from_numpy(viscosity),
                      parameter_names=("viscosity",))  # fmt: skip
    expected = operator.rollout(first, context, dt=0.25, steps=4)
    found = loop(tmp_path / "step.onnx", first.numpy(), 0.25, conditions, 4)
    for fields, frame in zip(found, expected, strict=True):
        np.testing.assert_allclose(fields, frame.numpy(), rtol=1e-4, atol=1e-5)


@dataclass(frozen=True)
class TurningConfig:
    ndim: int = 1
    history: int = 1


class Turning(Operator):
    """Rotates in the complex plane."""

    name, Config = "turning", TurningConfig

    def reset(self, generator):
        pass

    def step(self, state, dt, observation=None):
        fields = (1j * state.history[:, -1]).exp().real
        return state.advance(fields, dt), fields


def test_what_onnx_has_no_operation_for_is_refused_by_name(tmp_path):
    about = Description(("u",), grid=Grid.unit((8,)))
    with pytest.raises(
        ValueError, match=r"this turning has operations .* --format export"
    ) as error:
        export_step(Turning(TurningConfig(), about), tmp_path / "step.onnx", onnx=True)
    assert len(str(error.value).splitlines()) == 1
    assert not any(tmp_path.iterdir())
