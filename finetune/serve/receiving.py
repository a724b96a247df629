"""What comes in: whose it is, and how large it may be, before anything is done with it."""

from __future__ import annotations

import asyncio
import ipaddress
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Request

from .refusals import Foreign, SentSlowly, TooLarge
from .served import Limits

BODY = "request.body"


def require_own(request: Request, host: str) -> None:
    """Refuse what pages of other sites send, or reach this server by another name than its own.

    A browser lets any page send requests to this machine; what it says of their origin, and the
    name by which it came here, tell them apart.

    Args:
        request: what came.
        host: where the server listens.

    Raises:
        Foreign: it is another site's.
    """
    named = request.headers.get("host", "")
    if _is_local(host) and not _is_local(urlsplit(f"//{named}").hostname or ""):
        raise Foreign("this server answers on localhost alone")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != named:
        raise Foreign("this request comes from a page of another site")


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@asynccontextmanager
async def received(request: Request, limits: Limits) -> AsyncIterator[Path]:
    """The body of a request as a file in a folder of its own, for as long as it is needed.

    Raises:
        Refused: it is too large, or takes too long to come.
    """
    _check_declared(request, limits)
    with tempfile.TemporaryDirectory(prefix="pelagos-serve-") as folder:
        path = Path(folder) / BODY
        try:
            async with asyncio.timeout(limits.seconds):
                await _write(request, path, limits)
        except TimeoutError:
            raise SentSlowly(f"the body took longer than {limits.seconds:g} s to come") from None
        yield path


def _check_declared(request: Request, limits: Limits) -> None:
    declared = request.headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit() or int(declared) > limits.upload:
        raise TooLarge(f"a request may have {limits.megabytes:g} MiB; this one declares more")


async def _write(request: Request, path: Path, limits: Limits) -> None:
    count = 0
    with path.open("wb") as file:
        async for block in request.stream():
            count += len(block)
            if count > limits.upload:
                raise TooLarge(f"a request may have {limits.megabytes:g} MiB; this one has more")
            file.write(block)
