"""Units as files write them."""

from __future__ import annotations

import pytest

from pelagos.datasets.fields.units import check_units, conversion, same, unlike


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("m s-1", "m/s"),
        ("M/S", "m/s"),
        ("kg m-2 s-1", "kg/m^2/s"),
        ("m**2/s**2", "m2 s-2"),
        ("Deg C", "degC"),
        ("degree_Celsius", "celsius"),
        ("degrees_north", "degrees"),
        ("hour", "hours"),
        ("1", ""),
        ("who knows", "who knows"),
        ("MB", "hPa"),
        ("Kelvin", "K"),
        ("degrees K", "K"),
        ("degrees Celsius", "degC"),
        ("deg. C", "degC"),
        ("ºC", "degC"),
        ("degrees K/day", "K day-1"),
        ("Meters per Second", "m/s"),
    ],
)
def test_spellings_of_one_unit(one: str, other: str) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("m/s", "mm/s"), ("K", "degC"), ("hours", "days"), ("m", "s"), ("a?", "b?")]
)
def test_other_units(one: str, other: str) -> None:
    assert not same(one, other)
    assert unlike({"u": one}, {"u": other, "v": "m"}) == ["u"]


@pytest.mark.parametrize(
    ("given", "wanted", "value", "expected"),
    [
        ("degC", "K", 20.0, 293.15),
        ("degF", "degC", 212.0, 100.0),
        ("degrees Celsius", "K", 20.0, 293.15),
        ("Degrees F", "degC", 212.0, 100.0),
        ("mm/day", "m/s", 86400.0, 1e-3),
        ("hPa", "Pa", 1013.25, 101325.0),
        ("hours", "s", 1.5, 5400.0),
    ],
)
def test_conversion(given: str, wanted: str, value: float, expected: float) -> None:
    found = conversion(given, wanted)
    assert found is not None
    assert value * found[0] + found[1] == pytest.approx(expected, rel=1e-9)


def test_units_that_do_not_agree_are_both_named() -> None:
    assert conversion("m/s", "kg") is None
    with pytest.raises(ValueError, match=r"a has 'u' in 'm/s', b in 'mm/day'; .*units: \{u: m/s\}"):
        check_units("a", {"u": "m/s"}, "b", {"u": "mm/day"}, ["u"])
    with pytest.raises(ValueError, match="'psu', b in 'g/kg'; which cannot be converted"):
        check_units("a", {"s": "psu"}, "b", {"s": "g/kg"}, ["s"])
    check_units("a", {"u": "m/s"}, "b", {"u": "mm/day"}, ["v"])
    check_units("a", {"length": "m"}, "b", {"length": "degrees"}, ["length"])
