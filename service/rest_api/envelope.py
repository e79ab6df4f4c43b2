"""What every answer of REST has: a request id, our error body, and a farewell while draining.

Pure ASGI: a middleware that wraps responses would hide from handlers that their client has left.
"""

import logging
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ErrorKind, RequestError
from service.health import Health, Stage
from service.request_ids import clean_request_id
from service.rest_api.errors import error_response
from service.rest_api.http_protocol import Receipt

__all__ = ["Envelope"]

_logger = logging.getLogger(__name__)


class Envelope:
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
        receipt = cast("Receipt", scope["state"].get("receipt") or Receipt())
        has_started = False

        async def receive_in_time() -> Message:
            message = await receive()
            if receipt.failure is not None and message["type"] == "http.request":
                raise receipt.failure
            return message

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
            await self._app(scope, receive_in_time, send_with_headers)
        except RequestError as error:
            if has_started:
                raise
            await error_response(error)(scope, receive, send_with_headers)
        except Exception:
            _logger.exception("request %s failed", request_id)
            if has_started:
                # Half an answer cannot be taken back; the server closes the connection.
                raise
            error = RequestError(ErrorKind.INTERNAL_ERROR, "internal error")
            await error_response(error)(scope, receive, send_with_headers)
