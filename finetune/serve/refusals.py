"""Answers that refuse, each with its HTTP status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...datasets.fields.prescribed import NotGiven


class Refused(ValueError):
    """A request that cannot be answered.

    Attributes:
        status: HTTP status of the answer.
    """

    status = 400


class Unknown(Refused):
    """It names what is not served."""

    status = 404


class TooSlow(Refused):
    """It has taken too long."""

    status = 504


class TooLarge(Refused):
    """It has, or asks for, more than is allowed."""

    status = 413


class SentSlowly(Refused):
    """Its body has taken too long to come."""

    status = 408


class Foreign(Refused):
    """A page of another site has sent it."""

    status = 403


class Busy(Refused):
    """Too many others are being answered."""

    status = 503


class Broken(Refused):
    """The process that answered it has ended."""

    status = 422


@contextmanager
def told(remedy: str) -> Iterator[None]:
    """Say how to give what is prescribed in a request, where it is missing.

    Raises:
        Refused: it is.
    """
    try:
        yield
    except NotGiven as error:
        raise Refused(f"{error.reason}: {remedy}") from None
