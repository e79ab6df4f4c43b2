"""The REST application, and the HTTP server that runs it on our own loop with our own signals."""

import contextlib
import functools
import socket
from collections.abc import Callable, Generator
from typing import cast

import msgspec
import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from service.errors import ErrorKind, RequestError
from service.health import Health, Verdict
from service.metrics import Metrics
from service.request_log import RequestLog
from service.rest_api.connections import Connections
from service.rest_api.envelope import Envelope
from service.rest_api.errors import error_response
from service.rest_api.http_protocol import HttpProtocol
from service.rest_api.native_routes import native_router
from service.rest_api.openai_routes import openai_router
from service.served_models import ServedModels
from service.text_generator import TextGenerator
from service.transport_limits import TransportLimits

__all__ = ["HttpServer", "create_app"]


def create_app(
    generator: TextGenerator,
    models: ServedModels,
    *,
    health: Health,
    log: RequestLog,
    metrics: Metrics,
) -> ASGIApp:
    """The whole REST surface."""
    app = FastAPI(openapi_url=None)
    app.include_router(native_router(generator, models, log))
    app.include_router(openai_router(generator, log))

    async def livez(request: Request) -> Response:
        """200 while waiting makes sense; restart the server when it is not."""
        return _probe(health.live())

    async def readyz(request: Request) -> Response:
        """200 while new requests are taken."""
        return _probe(health.ready())

    async def startupz(request: Request) -> Response:
        """200 once loading has ended."""
        return _probe(health.started())

    async def scrape(request: Request) -> Response:
        """Figures for Prometheus."""
        content_type, body = metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    for path, endpoint in (
        ("/livez", livez),
        ("/readyz", readyz),
        ("/startupz", startupz),
        ("/health", readyz),
        ("/metrics", scrape),
    ):
        app.add_api_route(path, endpoint, response_model=None, tags=["operation"])

    @app.exception_handler(RequestError)
    async def on_request_error(request: Request, error: RequestError) -> Response:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        kind = ErrorKind.METHOD_NOT_ALLOWED if error.status_code == 405 else ErrorKind.UNKNOWN_URL
        message = (
            f"{request.method} is not offered here" if error.status_code == 405 else "no such path"
        )
        return error_response(RequestError(kind, message), headers=error.headers)

    return Envelope(app, health)


def _ignore(reason: str) -> None:
    del reason


class HttpServer:
    """uvicorn without its own signals: `service.main` owns those.

    Args:
        app: What to serve.
        listener: A bound socket.
        limits: What a connection may cost.
        on_refusal: Called with the reason of each refusal that no application sees.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        limits: TransportLimits | None = None,
        on_refusal: Callable[[str], None] = _ignore,
    ) -> None:
        limits = limits or TransportLimits()
        self._listener = listener
        protocol = functools.partial(
            HttpProtocol,
            limits=limits,
            connections=Connections(limits.max_connections),
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
            )
        )

    async def run(self) -> None:
        """Serve until stopped."""
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Take no new connections, give open ones a second, return from `run`."""
        self._server.should_exit = True


class _QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _probe(verdict: Verdict) -> Response:
    return Response(
        msgspec.json.encode({"status": verdict.status}),
        status_code=200 if verdict.is_ok else 503,
        media_type="application/json",
    )
