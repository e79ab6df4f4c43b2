"""Listeners of a process that may open no more files: what is open is served, and it passes.

The clients' sockets are made before, since they are of the same process; connecting takes none.
"""

import asyncio
import contextlib
import socket
from collections.abc import Generator

from tests.service.descriptors import few_descriptors
from tests.service.grpc_connections import PREFACE, WAIT, RunningGrpcServer, frame, play_grpc
from tests.service.http_connections import (
    GET,
    PATIENCE_SECONDS,
    Connection,
    RunningServer,
    Stage,
    hello,
)
from tests.service.raw_http2 import PING, call_frames, check_others_are_served, connected

NUM_CLIENTS = 20


@contextlib.contextmanager
def client_sockets() -> Generator[list[socket.socket]]:
    """Sockets to connect with."""
    clients = [socket.socket() for _ in range(NUM_CLIENTS)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


async def first_byte(client: socket.socket) -> bytes:
    """What comes first on a connection; nothing where the server has closed it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            return await asyncio.get_running_loop().sock_recv(client, 1)
        except ConnectionError:
            return b""


def connect(clients: list[socket.socket], port: int) -> None:
    """The kernel takes them in at once, whoever listens."""
    for client in clients:
        client.connect(("127.0.0.1", port))
        client.setblocking(False)


def test_rest_serves_whom_it_has_and_listens_on() -> None:
    """H92: new clients are turned away at once, none hangs, and no loop of errors takes the CPU."""

    async def scenario(server: RunningServer) -> None:
        known = await server.connect()
        await served(known)
        with client_sockets() as clients:
            with few_descriptors(0):
                connect(clients, server.port)
                await asyncio.gather(*(turned_away(client) for client in clients))
                await served(known)
            await hello(server)
        await served(known)

    stage = Stage()
    stage.play(scenario)
    stage.close()


async def served(connection: Connection) -> None:
    await connection.send(GET)
    assert (await connection.answer())[2] == b"hello"


async def turned_away(client: socket.socket, start: bytes = GET) -> None:
    with contextlib.suppress(ConnectionError):
        client.send(start)
    assert await first_byte(client) == b""


def test_grpc_turns_new_clients_away_and_listens_on() -> None:
    """H92: they are told at once, and try again; what is open is served."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as known:
            known.send(frame(PING, 0, 0, bytes(8)))
            await known.until(PING)
            with client_sockets() as clients, few_descriptors(0):
                connect(clients, server.port)
                await asyncio.gather(*(turned_away(client, PREFACE) for client in clients))
                known.send(call_frames(1, WAIT.SerializeToString()))
                await server.core.wait_until(lambda: server.core.num_started == 1)
            await check_others_are_served(server)

    play_grpc(scenario)
