"""Components by name: one parser, of which losses, files and symmetries make use."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pelagos.datasets.fields.vocabulary import AXIAL, EVEN, ODD, component, tensors, vectors


@pytest.mark.parametrize(
    ("name", "axes", "orders", "expected"),
    [
        ("velocity_y", "xyz", (1, 2), ("velocity", (1,))),
        ("D_xy", "xy", (1, 2), ("D", (0, 1))),
        ("D_xy", "xy", (1,), ("D_xy", ())),
        ("velocity_x", "xy", (2,), ("velocity_x", ())),
        ("velocity_z", "xy", (1, 2), ("velocity_z", ())),
        ("magnetic_field_z", "xyz", (1, 2), ("magnetic_field", (2,))),
        ("diffusivity_u", "xyz", (1, 2), ("diffusivity_u", ())),
        ("u", "xyz", (1, 2), ("u", ())),
        ("x", "xyz", (1, 2), ("x", ())),
        ("_x", "xyz", (1, 2), ("_x", ())),
        ("u_", "xyz", (1, 2), ("u_", ())),
        ("u_t", "xyz", (1, 2), ("u_t", ())),
        ("velocity_theta", ("r", "theta"), (1, 2), ("velocity", (1,))),
        ("stress_rtheta", ("r", "theta"), (1, 2), ("stress", (0, 1))),
    ],
)
def test_a_component(
    name: str,
    axes: Sequence[str],
    orders: tuple[int, ...],
    expected: tuple[str, tuple[int, ...]],
) -> None:
    assert component(name, tuple(axes), orders) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("density", "velocity_x", "velocity_y", "pressure"), [[0], [1, 2], [3]]),
        (("u", "v", "index"), [[0], [1], [2]]),
        (("velocity_y", "u", "velocity_x"), [[0, 2], [1]]),
        (("D_xx", "D_xy", "x", "_x"), [[0], [1], [2], [3]]),
        ((), []),
    ],
)
def test_a_vector_is_one_group_whatever_is_missing(
    names: tuple[str, ...], expected: list[list[int]]
) -> None:
    assert vectors(names) == expected


@pytest.mark.parametrize(
    ("names", "ndim", "expected"),
    [
        (
            ["velocity_x", "u", "velocity_y"],
            2,
            {"u": (0, ["u"]), "velocity": (1, ["velocity_x", "velocity_y"])},
        ),
        (["velocity_x"], 2, {"velocity_x": (0, ["velocity_x"])}),
        (["velocity_x"], 1, {"velocity": (1, ["velocity_x"])}),
        (
            ["velocity_x", "velocity_y", "velocity"],  # the stem is taken
            2,
            {name: (0, [name]) for name in ("velocity_x", "velocity_y", "velocity")},
        ),
        (
            ["D_yy", "D_yx", "D_xy", "D_xx", "v_y", "v_x"],
            2,
            {"v": (1, ["v_x", "v_y"]), "D": (2, ["D_xx", "D_xy", "D_yx", "D_yy"])},
        ),
        (["D_xx", "D_xy", "D_yy"], 2, {name: (0, [name]) for name in ("D_xx", "D_xy", "D_yy")}),
        (["_x", "_y", "x", "y"], 2, {name: (0, [name]) for name in ("_x", "_y", "x", "y")}),
    ],
)
def test_only_complete_vectors_and_tensors_are_stored_as_such(
    names: list[str], ndim: int, expected: dict[str, tuple[int, list[str]]]
) -> None:
    found = tensors(names, ndim)
    assert found == expected
    assert [*found] == [*expected]


def test_no_scalar_is_even_and_odd() -> None:
    assert not EVEN & ODD
    assert ODD <= AXIAL  # of the vector with that name, in 3D
