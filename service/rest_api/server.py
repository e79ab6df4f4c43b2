"""The REST application, and the HTTP server that runs it on our own loop with our own signals."""

import contextlib
import logging
import socket
from collections.abc import Generator

import msgspec
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ErrorKind, RequestError
from service.health import Health, Stage, Verdict
from service.metrics import Metrics
from service.request_ids import clean_request_id
from service.request_log import RequestLog
from service.rest_api.errors import error_response
from service.rest_api.native_routes import native_router
from service.rest_api.openai_routes import openai_router
from service.served_models import ServedModels
from service.text_generator import TextGenerator

__all__ = ["HttpServer", "create_app"]

_logger = logging.getLogger(__name__)


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

    return _Envelope(app, health)


class HttpServer:
    """uvicorn without its own signals: `service.main` owns those.

    Args:
        app: What to serve.
        listener: A bound socket.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._listener = listener
        self._server = _QuietServer(
            uvicorn.Config(
                app,
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


class _Envelope:
    """What every answer has: a request id, our error body, and a farewell while draining."""

    def __init__(self, app: ASGIApp, health: Health) -> None:
        self._app = app
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = clean_request_id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                if self._health.stage is Stage.DRAINING:
                    headers["connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            _logger.exception("request %s failed", request_id)
            if has_started:
                # Half an answer cannot be taken back; the server closes the connection.
                raise
            error = RequestError(ErrorKind.INTERNAL_ERROR, "internal error")
            await error_response(error)(scope, receive, send_with_headers)


def _probe(verdict: Verdict) -> Response:
    return Response(
        msgspec.json.encode({"status": verdict.status}),
        status_code=200 if verdict.is_ok else 503,
        media_type="application/json",
    )
