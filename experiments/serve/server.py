"""The service on a port, until a signal ends it."""

import signal
import socket
import sys

import uvicorn
from starlette.types import ASGIApp

GRACE = 60
"""Seconds that requests under way have when the service ends."""
_CONNECTIONS = 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
      OSError: the port is taken or not allowed, or there is no such host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_CONNECTIONS)
    except OSError as error:
        raise OSError(f"{host}:{port} is not to be had: {error.strerror or error}; give another --port or --host") from None


def make_server(app: ASGIApp) -> uvicorn.Server:
    """The server of an application."""
    known = {"lifespan": "on", "log_level": "warning", "access_log": False, "server_header": False}
    return uvicorn.Server(
        uvicorn.Config(app, **known, limit_concurrency=_CONNECTIONS, timeout_graceful_shutdown=GRACE, ws="none")
    )


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Answers requests until SIGTERM or SIGINT comes; those under way are finished then."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: sys.exit(0))  # the server takes it over, and raises it again at its end
    make_server(app).run([listener])


def address(listener: socket.socket) -> str:
    """What a browser on this machine is given."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"
