"""The peer computes what its library computes, and is trained and kept like our operators."""

import warnings

import pytest
import torch

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context
from pelagos.finetune.study.peer import Fno, FnoConfig, register
from pelagos.operators import Description, create, from_pretrained
from pelagos.operators.core.registry import OPERATORS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    models = pytest.importorskip("neuralop.models")

SIZES = {"ndim": 2, "history": 2, "hidden": 6, "layers": 2, "modes": 3}
GRID = Grid.unit((12, 12))


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPERATORS, "added", dict(OPERATORS.added))
    register()
    register()  # once more does no harm


def frames() -> torch.Tensor:
    return torch.randn(2, 2, 2, 12, 12, generator=torch.Generator().manual_seed(1))


def after(operator) -> torch.Tensor:
    context = Context(("u", "v"), GRID, dt=0.5)
    return next(operator.rollout(frames(), context, dt=0.5, steps=1))


def test_it_is_the_librarys_network():
    operator = create("fno", fields=("u", "v"), seed=3, **SIZES)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        theirs = models.FNO((6, 6), 4, 2, 6, n_layers=2)
    with torch.no_grad():
        assert torch.equal(after(operator), theirs(frames().flatten(1, 2)))
    ours = sum(p.numel() for p in operator.parameters())
    assert ours == sum(p.numel() * (1 + p.is_complex()) for p in theirs.parameters())


def test_it_is_real_and_every_weight_is_trained():
    operator = create("fno", fields=("u", "v"), **SIZES)
    assert not any(value.is_complex() for value in operator.state_dict().values())
    state = operator.init(frames(), Context(("u", "v"), GRID, dt=0.5))
    _, fields = operator.step(state, torch.full((2,), 0.5))
    fields.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in operator.parameters())


def test_its_checkpoint_opens(tmp_path):
    operator = Fno(FnoConfig(**SIZES), Description(fields=("u", "v")))
    operator.reset(torch.Generator().manual_seed(5))
    operator.save_pretrained(tmp_path / "fno")
    assert torch.equal(after(from_pretrained(tmp_path / "fno")), after(operator))
