"""Whether an equation's solver can follow data along what they prescribe."""

from __future__ import annotations

from collections.abc import Sequence

from .equation import Equation


def require_driven(equation: Equation, of: str, given: Sequence[str], remedy: str) -> None:
    """Refuse data whose frames the solver cannot follow.

    Args:
        equation: that is solved.
        of: name of the data.
        given: what they prescribe.
        remedy: the end of the message.

    Raises:
        ValueError: that is not just what drives the equation, or its solver takes no values.
    """
    others = [name for name in given if name not in equation.prescribed]
    absent = [name for name in equation.prescribed if name not in given]
    if others:
        raise ValueError(
            f"{of!r} is driven by {', '.join(others)}, of which {equation.name} knows nothing, so "
            f"that its solver would not follow; {remedy}"
        )
    if absent:
        raise ValueError(
            f"{equation.name} is driven by {', '.join(absent)}, which {of!r} does not have as "
            f"prescribed (data[i].prescribed, --prescribed {absent[0]}); {remedy}"
        )
    if given and not equation.driven:
        raise ValueError(
            f"the solver of {equation.name} draws {', '.join(given)} itself and does not go on "
            f"with given values; {remedy}"
        )
