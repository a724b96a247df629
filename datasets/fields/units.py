"""Units as files write them, compared and converted by pint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

_WORD = re.compile(r"[A-Za-z]{4,}")  # no symbol: those have a case
POWER = re.compile(r"(?<=[A-Za-z])(?:\^|\*\*)?([-+]?\d+)")
# Degrees that pint would take for angles times coulombs, Boltzmann's constant or farads.
_DEGREES = re.compile(
    r"(?<![A-Za-z])(?:(?:deg|degree|degrees)\.?[\s_]*|[°º]\s*)"
    r"(?:(?P<degC>c|celsius|centigrade)|(?P<kelvin>k|kelvins?)|(?P<degF>f|fahrenheit))(?![A-Za-z])",
    re.IGNORECASE,
)
# Spellings of CF and of old programs that pint does not know, or takes for other units.
SPELLINGS = {
    **dict.fromkeys(
        [
            f"degree{plural}_{side}"
            for plural in ("", "s")
            for side in ("north", "south", "east", "west", "n", "s", "e", "w")
        ],
        "degree",
    ),
    **dict.fromkeys(("", "1", "-", "dimensionless", "none", "unitless"), "dimensionless"),
    **dict.fromkeys(("mb", "mbar", "millibars"), "millibar"),
    "m/s": "m/s",  # also M/S, which is no molarity
    "g/kg": "g/kg",
    "psu": "psu",  # no unit of pint's: compared as text
}


def same(one: str, other: str) -> bool:
    """Whether two texts mean one unit; texts that are no units are compared as text."""
    if one == other:
        return True
    return conversion(one, other) == (1.0, 0.0)


def conversion(given: str, wanted: str) -> tuple[float, float] | None:
    """Scale and offset from one unit to another; None where there are none, or one is no unit."""
    if given == wanted:
        return 1.0, 0.0
    one, other = _unit(given), _unit(wanted)
    if one is None or other is None or one.dimensionality != other.dimensionality:
        return None
    make = _registry().Quantity
    low, high = (float(make(value, one).to(other).magnitude) for value in (0.0, 1.0))
    return (high, 0.0) if low == 0 else (round(high - low, 12), low)


def unit_of(attributes: Mapping[Any, Any]) -> str:
    """The unit that attributes say; "" where they say none."""
    unit = attributes.get("units")
    return "" if unit is None else str(unit)


def is_unit(text: str) -> bool:
    """Whether a text is a unit that is known."""
    return _unit(text) is not None


def unlike(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The names of both whose units differ in meaning."""
    return [name for name, unit in one.items() if name in other and not same(unit, other[name])]


def check_units(
    one: str, units: Mapping[str, str], other: str, others: Mapping[str, str], names: Iterable[str]
) -> None:
    """Refuse two sides that mean different units by one name.

    Lengths are compared where both are lengths: a latitude is no metre, and a grid may have
    either. "1" fits everything.

    Args:
        one, units: whose units of fields, "time" and "length" hold, and those.
        other, others: what is compared with it.
        names: what both share.

    Raises:
        ValueError: a unit differs; both are named.
    """
    for name in unlike(units, others):
        found = conversion(others[name], units[name])
        unknown = "1" in (units[name], others[name])  # of simulated data, which have no units
        if name not in names or unknown or (name == "length" and found is None):
            continue
        remedy = (
            f"convert it: units: {{{name}: {units[name]}}} in its description.yaml or a recipe's "
            f"data, --units {name}={units[name]} on the command line"
            if found
            else "which cannot be converted into each other: give one of them another name"
        )
        raise ValueError(
            f"{one} has {name!r} in {units[name]!r}, {other} in {others[name]!r}; {remedy}"
        )


@lru_cache
def _registry() -> Any:
    import pint  # on use: it takes longer to load than the rest

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)


@lru_cache(maxsize=1024)
def _unit(text: str) -> Any:
    plain = SPELLINGS.get(" ".join(text.lower().split()))
    if plain is None:
        plain = _DEGREES.sub(lambda found: str(found.lastgroup), text.strip().replace("·", "*"))
        plain = POWER.sub(r"**\1", plain)
    for spelled in (plain, _WORD.sub(_lower, plain)):
        try:
            return _registry().Unit(spelled)
        except Exception:  # whatever pint makes of texts from anywhere
            continue
    return None


def _lower(word: re.Match[str]) -> str:
    """A word in small letters; what begins with M may mean mega or milli, and stays as it is."""
    text = word[0]
    mega = text.startswith("M") and len(text) > 2 and _unit(text[1:].lower()) is not None
    return text if mega else text.lower()
