"""Both transports and the management port on one event loop: all ports are taken, or none is."""

import asyncio
import contextlib
import socket

from service.api_keys import ApiKeys
from service.glass_box.glass_box import GlassBox
from service.grpc_api.server import GrpcServer
from service.health import Health
from service.metrics import Metrics
from service.models.served_models import ServedModels
from service.request_log import RequestLog
from service.rest_api.management import create_management_app
from service.rest_api.server import HttpServer, create_app
from service.settings import Settings
from service.text_generator import TextGenerator
from service.tls import Tls
from service.transport_limits import TransportLimits

__all__ = ["ServeError", "Servers"]


class ServeError(RuntimeError):
    """The server cannot start or go on; one line for the operator."""


class Servers:
    """REST, gRPC and, where it is asked for, a port for health and metrics.

    Args:
        keys: What clients of REST and gRPC must show; None asks nobody for a key.
        glass_box: Answers how words are chosen; None shows nothing of it.
        tls: What REST and gRPC show and are encrypted with; None leaves them in the clear.

    Attributes:
        has_glass_box: Whether they show how words are chosen.
        rest_port: The port of REST.
        grpc_port: The port of gRPC.
        management_port: The port for health and metrics alone, None where there is none.

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
        keys: ApiKeys | None = None,
        glass_box: GlassBox | None = None,
        tls: Tls | None = None,
    ) -> None:
        limits = TransportLimits(
            max_connections=settings.max_connections,
            max_open_requests=settings.max_open_requests,
            receive_timeout_seconds=settings.receive_timeout,
            idle_timeout_seconds=settings.idle_timeout,
            ping_seconds=settings.ping_interval,
            max_connection_age_seconds=settings.max_connection_age,
            max_connection_age_grace_seconds=settings.max_connection_age_grace,
        )
        on_refusal = metrics.note_refusal
        self.has_glass_box = glass_box is not None
        with contextlib.ExitStack() as taken:
            listener = _listen(settings.host, settings.rest_port, "--rest-port")
            taken.callback(listener.close)
            app = create_app(
                generator,
                models,
                health=health,
                log=log,
                metrics=metrics,
                limits=limits,
                keys=keys,
                glass_box=glass_box,
                cors_origins=settings.cors_origin,
            )
            self._http = HttpServer(
                app,
                listener,
                limits=limits,
                on_refusal=on_refusal,
                tls=None if tls is None else tls.context,
            )
            self.rest_port: int = listener.getsockname()[1]
            self.management_port: int | None = None
            self._management: HttpServer | None = None
            if settings.management_port >= 0:
                listener = _listen(settings.host, settings.management_port, "--management-port")
                taken.callback(listener.close)
                app = create_management_app(health=health, metrics=metrics)
                self._management = HttpServer(app, listener, limits=limits, on_refusal=on_refusal)
                self.management_port = listener.getsockname()[1]
            self._grpc = _grpc_server(
                settings,
                generator,
                models,
                health=health,
                log=log,
                metrics=metrics,
                limits=limits,
                keys=keys,
                glass_box=glass_box,
                tls=tls,
            )
            self.grpc_port = self._grpc.port
            taken.pop_all()
        self._keys, self._metrics = keys, metrics
        self._serving: list[asyncio.Task[None]] = []
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer from now on."""
        self._serving.append(asyncio.create_task(self._http.run(), name="http"))
        if self._management is not None:
            self._serving.append(asyncio.create_task(self._management.run(), name="management"))
        if self._keys is not None:
            following = self._keys.follow(self._metrics.note_key_change)
            self._following = asyncio.create_task(following, name="keys")
        await self._grpc.start()

    async def wait_failed(self) -> None:
        """Return when one of them has ended by itself, and with it the use of the others."""
        await asyncio.wait(self._serving, return_when=asyncio.FIRST_COMPLETED)

    async def wait_delivered(self) -> None:
        """Return when every answer has been handed to the kernel, which goes on sending it."""
        await asyncio.gather(self._http.wait_delivered(), self._grpc.wait_delivered())

    async def stop(self) -> None:
        """End what is left of every connection, and return when the ports are free.

        Probes are answered to the end: the management port closes last.
        """
        if self._following is not None:
            self._following.cancel()
        self._http.stop()
        await self._grpc.stop()
        if self._serving:
            await asyncio.wait(self._serving[:1])
        if self._management is not None:
            self._management.stop()
            await asyncio.wait(self._serving)


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
    *,
    health: Health,
    log: RequestLog,
    metrics: Metrics,
    limits: TransportLimits,
    keys: ApiKeys | None,
    glass_box: GlassBox | None,
    tls: Tls | None,
) -> GrpcServer:
    return GrpcServer(
        generator,
        models,
        readiness=health,
        log=log,
        metrics=metrics,
        limits=limits,
        keys=keys,
        glass_box=glass_box,
        listener=_listen(settings.host, settings.grpc_port, "--grpc-port"),
        tls=None if tls is None else tls.grpc_context,
    )
