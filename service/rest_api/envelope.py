"""What every answer of REST has: a request id, our error body, and a farewell while draining.

Pure ASGI: a middleware that wraps responses would hide from handlers that their client has left.
"""

import logging
import time
from typing import cast

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ErrorKind, RequestError
from service.health import Health, Stage
from service.metrics import Metrics
from service.request_ids import Exchange, clean_request_id, trace_id_of
from service.request_log import RequestLog
from service.rest_api.errors import error_response
from service.rest_api.request_head import Receipt
from service.transport_limits import TransportLimits

__all__ = ["OTHER_ROUTE", "Envelope", "answer_errors", "route_of"]

_logger = logging.getLogger(__name__)

OTHER_ROUTE = "other"
_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY")
)


class Envelope:
    """Around the whole application.

    Args:
        app: What answers.
        health: Says when the server is leaving.
        metrics: Where every request is timed.
        limits: Handed on to the routes as ``request.state.limits``.
    """

    def __init__(
        self,
        app: ASGIApp,
        health: Health,
        metrics: Metrics,
        limits: TransportLimits | None = None,
    ) -> None:
        self._app = app
        self._limits = limits or TransportLimits()
        self._health = health
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        given = Headers(scope=scope)
        exchange = Exchange(
            clean_request_id(given.get("x-request-id")), trace_id_of(given.get("traceparent"))
        )
        state = scope.setdefault("state", {})
        state["exchange"] = exchange
        state["limits"] = self._limits
        state["request_id"] = exchange.request_id
        # A caller in this process has no connection to end.
        state.setdefault("cut_off", _end_nothing)
        receipt = cast("Receipt", state.get("receipt") or Receipt())
        status: int | None = None
        is_complete = False

        async def receive_in_time() -> Message:
            message = await receive()
            if receipt.failure is not None and message["type"] == "http.request":
                raise receipt.failure
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status, is_complete
            if message["type"] == "http.response.body":
                is_complete = not message.get("more_body", False)
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = exchange.request_id
                if self._health.stage is Stage.DRAINING:
                    headers["connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive_in_time, send_with_headers)
        except RequestError as error:
            exchange.outcome = error.kind.code
            if status is not None:
                # Half an answer cannot be taken back; the server closes the connection.
                raise
            await error_response(error)(scope, receive, send_with_headers)
        except Exception:
            _logger.exception("request %s failed", exchange.request_id)
            exchange.outcome = ErrorKind.INTERNAL_ERROR.code
            if status is None:
                await error_response(_internal_error())(scope, receive, send_with_headers)
            elif not is_complete:
                # Half an answer cannot be taken back; the server closes the connection.
                raise
        finally:
            self._count(scope, exchange, status, began)

    def _count(self, scope: Scope, exchange: Exchange, status: int | None, began: float) -> None:
        error = exchange.outcome or "ok"
        if status is None:
            # Nobody was there any more to be answered.
            status, error = ErrorKind.CANCELLED.http_status, ErrorKind.CANCELLED.code
        elif error == "ok" and status >= 400:
            error = str(status)
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        self._metrics.http_seconds.labels(
            method, route_of(scope), str(status), "" if error == "ok" else error
        ).observe(time.perf_counter() - began)


def _end_nothing() -> None:
    pass


def _internal_error() -> RequestError:
    return RequestError(ErrorKind.INTERNAL_ERROR, "internal error")


def route_of(scope: Scope) -> str:
    """The template of the route that took a request; "other" where none did."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else OTHER_ROUTE


def answer_errors(app: FastAPI, *, log: RequestLog | None) -> None:
    """Give every error of routes and router the one body.

    Args:
        app: Whose errors.
        log: Where requests that no route took are noted; None on a management port.
    """

    @app.exception_handler(Exception)
    async def on_fault(request: Request, fault: Exception) -> Response:
        # Without this the library answers in plain text; it raises again, for the envelope to log.
        return error_response(_internal_error())

    @app.exception_handler(RequestError)
    async def on_request_error(request: Request, error: RequestError) -> Response:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, http: HTTPException) -> Response:
        error = RequestError(ErrorKind.UNKNOWN_URL, "no such path")
        if http.status_code == ErrorKind.METHOD_NOT_ALLOWED.http_status:
            method = request.method if request.method in _METHODS else "this method"
            error = RequestError(ErrorKind.METHOD_NOT_ALLOWED, f"{method} is not offered here")
        if log is not None:
            exchange: Exchange = request.state.exchange
            log.refuse(error, protocol="rest", route=OTHER_ROUTE, exchange=exchange)
        return error_response(error, headers=http.headers)
