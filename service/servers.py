"""Both transports on one event loop: all ports are taken, or none is."""

import asyncio
import contextlib
import socket

from service.grpc_api.server import GrpcServer
from service.health import Health
from service.metrics import Metrics
from service.request_log import RequestLog
from service.rest_api.server import HttpServer, create_app
from service.served_models import ServedModels
from service.settings import Settings
from service.text_generator import TextGenerator

__all__ = ["ServeError", "Servers"]


class ServeError(RuntimeError):
    """The server cannot start or go on; one line for the operator."""


class Servers:
    """REST and gRPC.

    Attributes:
        rest_port: The port of REST.
        grpc_port: The port of gRPC.

    Raises:
        ServeError: A port is taken, or the address is none of this machine.
    """

    def __init__(
        self,
        settings: Settings,
        generator: TextGenerator,
        models: ServedModels,
        *,
        health: Health,
        log: RequestLog,
        metrics: Metrics,
    ) -> None:
        with contextlib.ExitStack() as taken:
            listener = _listen(settings.host, settings.rest_port, "--rest-port")
            taken.callback(listener.close)
            app = create_app(generator, models, health=health, log=log, metrics=metrics)
            self._http = HttpServer(app, listener)
            self._grpc = _grpc_server(settings, generator, models, health, log)
            self.rest_port: int = listener.getsockname()[1]
            self.grpc_port = self._grpc.port
            taken.pop_all()
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer from now on."""
        self._serving = asyncio.create_task(self._http.run(), name="http")
        await self._grpc.start()

    async def wait_failed(self) -> None:
        """Return when one of them has ended by itself, and with it the use of the other."""
        assert self._serving is not None
        await asyncio.wait((self._serving,))

    async def stop(self) -> None:
        """End what is left of every connection, and return when the ports are free."""
        self._http.stop()
        await self._grpc.stop()
        if self._serving is not None:
            await asyncio.wait((self._serving,))


def _listen(host: str, port: int, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ServeError(f"cannot listen on --host {host} {flag} {port}: {error}") from None


def _grpc_server(
    settings: Settings,
    generator: TextGenerator,
    models: ServedModels,
    health: Health,
    log: RequestLog,
) -> GrpcServer:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        return GrpcServer(
            generator, models, readiness=health, log=log, address=f"{host}:{settings.grpc_port}"
        )
    except RuntimeError:
        raise ServeError(
            f"cannot listen on --host {settings.host} --grpc-port {settings.grpc_port}: "
            "is it taken?"
        ) from None
