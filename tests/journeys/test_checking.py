"""All tests check calls against annotations (`tests/support/checking.py`): checks can fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import jaxtyping
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from checking import checked
from jaxtyping import Float
from torch import Tensor

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.metrics import rmse

if TYPE_CHECKING:
    from nowhere import Unknown


@checked(typechecker=None)
def product(a: Float[Tensor, "n k"], b: Float[Tensor, "k m"]) -> Float[Tensor, "n m"]:
    return a @ b


@checked(typechecker=None)
def transposed(a: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    return a.T


@checked(typechecker=None)
def rows(of: Float[Tensor, "n k"], *, first: int = 0) -> Iterator[Float[Tensor, "k"]]:
    yield from of[first:]


@checked(typechecker=None)
def all_rows(of: Float[Tensor, "k n"]) -> list[Float[Tensor, "n"]]:
    return [*rows(of)]


@checked(typechecker=None)
def of_any(thing: Unknown, *, number: int = 0) -> Unknown:
    return thing


def test_axes_of_one_name_have_one_length():
    assert product(torch.ones(2, 3), torch.ones(3, 4)).shape == (2, 4)
    with pytest.raises(BeartypeCallHintViolation, match="dimension k is 2"):
        product(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(BeartypeCallHintViolation, match="return"):
        transposed(torch.ones(2, 3))


def test_lengths_are_those_of_one_call():
    for n in (1, 2):
        assert product(torch.ones(n, n), torch.ones(n, n)).shape == (n, n)


def test_names_for_type_checkers_alone_are_anything():
    assert of_any("thing", number=1) == "thing"
    with pytest.raises(BeartypeCallHintViolation, match="number"):
        of_any("thing", number="1")


def test_generators_are_checked_when_they_are_called():
    assert [row.sum().item() for row in rows(torch.ones(3, 2), first=1)] == [2.0, 2.0]
    assert len(all_rows(torch.ones(3, 2))) == 3  # k is another length in there
    with pytest.raises(BeartypeCallHintViolation, match="first"):
        rows(torch.ones(3, 2), first="1")


def test_functions_and_dataclasses_of_pelagos_are_checked():
    with pytest.raises(BeartypeCallHintViolation, match="prediction"):
        rmse(torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8), 1)
    with pytest.raises(BeartypeCallHintViolation, match="lengths"):
        Grid((4,), 1.0, ("periodic",))


def test_the_check_can_be_switched_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert transposed(torch.ones(2, 3)).shape == (3, 2)
