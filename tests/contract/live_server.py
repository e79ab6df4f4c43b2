"""A running `nextword-serve`, as the tests see it."""

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from grpc_health.v1.health_pb2_grpc import HealthStub

from campaigns.live.server_process import SECONDS
from campaigns.live.server_process import ServerProcess as Server

__all__ = [
    "PATIENCE_SECONDS",
    "START_SECONDS",
    "Server",
    "StartServer",
    "health_stub",
    "is_gone",
    "raw_request",
    "wait_until",
]

START_SECONDS = SECONDS
# Bounds of waiting, far above what is usual.
PATIENCE_SECONDS = 40.0
FIRST_PAUSE_SECONDS = 0.02
LAST_PAUSE_SECONDS = 0.2


def health_stub(channel: grpc.Channel) -> Any:
    """The health service's stub, whose calls its type stubs leave out."""
    return HealthStub(channel)


StartServer: TypeAlias = Callable[..., Server]


def wait_until(is_true: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll until something holds; fail when it does not in a long time."""
    end, pause = time.monotonic() + seconds, FIRST_PAUSE_SECONDS
    while not is_true():
        assert time.monotonic() < end
        threading.Event().wait(pause)
        # Each look takes from the cores what is waited for: after a while they become rare.
        pause = min(1.3 * pause, LAST_PAUSE_SECONDS)


def is_gone(process_id: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text("ascii")
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def raw_request(server: Server, body: Mapping[str, object]) -> socket.socket:
    """An open connection with a request on it, so that it can be cut off abruptly."""
    host, _, port = server.rest.removeprefix("http://").partition(":")
    connection = socket.socket()
    # Before it connects, so that the window is small from the start.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    connection.connect((host, int(port)))
    content = json.dumps(body).encode()
    head = f"POST /v1/generate HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection
