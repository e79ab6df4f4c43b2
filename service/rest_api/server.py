"""The REST application, and the HTTP server that runs it on our own loop with our own signals."""

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Callable, Collection, Generator
from typing import cast

import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from service.api_keys import ApiKeys
from service.glass_box.glass_box import GlassBox
from service.health import Health
from service.metrics import Metrics
from service.models.served_models import ServedModels
from service.page.routes import page_paths, page_router
from service.request_log import RequestLog
from service.rest_api.closed_routes import closed_router
from service.rest_api.connections import Connections
from service.rest_api.cross_origin import CrossOrigin, Preflights
from service.rest_api.envelope import Envelope, answer_errors
from service.rest_api.glass_box_routes import GLASS_BOX_PATHS, glass_box_router
from service.rest_api.http_protocol import HttpProtocol
from service.rest_api.key_guard import KeyGuard
from service.rest_api.management import PROBE_PATHS, management_router
from service.rest_api.native_routes import OPENAPI_PATH, native_router, openapi_router
from service.rest_api.openai_embeddings import EMBEDDINGS_PATH
from service.rest_api.openai_routes import embeddings_router, openai_router
from service.text_generator import TextGenerator
from service.transport_limits import TransportLimits

__all__ = ["HttpServer", "create_app", "create_routers"]


def create_app(
    generator: TextGenerator,
    models: ServedModels,
    *,
    health: Health,
    log: RequestLog,
    metrics: Metrics,
    limits: TransportLimits | None = None,
    keys: ApiKeys | None = None,
    glass_box: GlassBox | None = None,
    cors_origins: Collection[str] = (),
) -> ASGIApp:
    """The whole REST surface; with keys, only probes and the page's own files are open."""
    # A path with a slash too many is no path of ours; a redirect would say otherwise.
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    for router in create_routers(
        generator,
        models,
        health=health,
        log=log,
        metrics=metrics,
        needs_key=keys is not None,
        glass_box=glass_box,
    ):
        app.include_router(router)
    answer_errors(app, log=log)
    guarded: ASGIApp = app
    if keys is not None:
        guarded = KeyGuard(app, keys, open_paths=page_paths() | PROBE_PATHS, log=log)
    if not cors_origins:
        return Envelope(guarded, health, metrics, limits)
    enveloped = Envelope(Preflights(guarded, cors_origins), health, metrics, limits)
    return CrossOrigin(enveloped, cors_origins)


def create_routers(
    generator: TextGenerator,
    models: ServedModels,
    *,
    health: Health,
    log: RequestLog,
    metrics: Metrics,
    needs_key: bool,
    glass_box: GlassBox | None,
) -> tuple[APIRouter, ...]:
    """Every route that there is; without a glass box those of it say that they are not offered."""
    shown = (
        (closed_router({*GLASS_BOX_PATHS, *page_paths(), OPENAPI_PATH, EMBEDDINGS_PATH}, log),)
        if glass_box is None
        else (
            glass_box_router(glass_box, log),
            embeddings_router(generator, models, log),
            openapi_router(needs_key=needs_key),
            page_router(),
        )
    )
    return (
        native_router(generator, models, log),
        openai_router(generator, log),
        *shown,
        management_router(health, metrics),
    )


def _ignore(reason: str) -> None:
    del reason


class HttpServer:
    """uvicorn without its own signals: `service.main` owns those.

    Args:
        app: What to serve.
        listener: A bound socket.
        limits: What a connection may cost.
        on_refusal: Called with the reason of each refusal that no application sees.
        tls: Encrypts every connection; None leaves them in the clear.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        limits: TransportLimits | None = None,
        on_refusal: Callable[[str], None] = _ignore,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        limits = limits or TransportLimits()
        self._listener = listener
        self._connections = Connections(limits.max_connections)
        protocol = functools.partial(
            HttpProtocol,
            limits=limits,
            connections=self._connections,
            on_refusal=on_refusal,
        )
        self._server = _QuietServer(
            uvicorn.Config(
                app,
                # uvicorn only ever calls it.
                http=cast("type[HttpProtocol]", protocol),
                ws="none",
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=1,
            ),
            tls=tls,
            handshake_seconds=limits.receive_timeout_seconds,
        )

    async def run(self) -> None:
        """Serve until stopped."""
        await self._server.serve(sockets=[self._listener])

    async def wait_delivered(self) -> None:
        """Return when every answer has left our buffers."""
        await self._connections.wait_delivered()

    def stop(self) -> None:
        """Take no new connections, give open ones a second, return from `run`."""
        self._server.should_exit = True


class _QuietServer(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, *, tls: ssl.SSLContext | None, handshake_seconds: float
    ) -> None:
        super().__init__(config)
        self._tls = tls
        self._handshake_seconds = handshake_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._tls is None:
            await super().startup(sockets)
            return
        # As there, but for the time that a client has to encrypt its connection: before that there
        # is no protocol of ours that could end it.
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                self._new_protocol,
                sock=each,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds,
                backlog=self.config.backlog,
            )
            for each in sockets or ()
        ]
        self.started = True

    def _new_protocol(self) -> asyncio.Protocol:
        # uvicorn's annotation is of the class; ours is a partial that is called as it is there.
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
