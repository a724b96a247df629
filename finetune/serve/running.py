"""Runs the server until it is told to end."""

from __future__ import annotations

import socket
from collections.abc import Callable

from .served import Served


def serve(
    served: Served,
    host: str = "127.0.0.1",
    port: int = 8765,
    *,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        served: what is offered, and its limits.
        host: address to listen at.
        port: 0: any that is free.
        ready: told the server's address when it listens.

    Raises:
        ValueError: the libraries for it are missing, or the port is taken.
    """
    try:
        import uvicorn

        from .app import application
    except ImportError as error:
        raise ValueError(
            f"the server needs FastAPI and uvicorn ({error.name} is missing): "
            "pip install 'pelagos[serve]'"
        ) from None
    listening = _listen(host, port)
    config = uvicorn.Config(
        application(served, host),
        log_level="warning",
        lifespan="on",
        limit_concurrency=1000,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
    )
    shown = f"[{host}]" if ":" in host else host
    ready(f"http://{shown}:{listening.getsockname()[1]}")
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise ValueError(f"--port must be between 0 and {2**16 - 1}; got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ValueError(
            f"cannot listen at {host}:{port} ({error.strerror}); choose another --port, or 0 for "
            "any that is free"
        ) from None
    return listening
