"""Lets pages of other origins ask from a browser (CORS, as in the Fetch standard), in pure ASGI.

Never with credentials: no cookie opens anything here, and a key is a header that the page's own
program must have. What an origin that is not named gets is the same as without the setting.
"""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.origins import ANY_ORIGIN

__all__ = ["CrossOrigin", "Preflights"]

_ALLOW_ORIGIN = "access-control-allow-origin"
_EXPOSED = "x-request-id, retry-after, x-ignored-parameters, x-should-retry"
_PREFLIGHT_HEADERS = {
    "access-control-allow-methods": "GET, POST",
    # OpenAI's client sends a dozen of its own; the star is all but the first.
    "access-control-allow-headers": "authorization, content-type, x-request-id, *",
    # So long browsers need not ask again; Chromium takes at most two hours.
    "access-control-max-age": "7200",
}


class CrossOrigin:
    """Around everything, so that pages can read errors too.

    Args:
        app: What answers.
        origins: Those whose pages may read the answers; the star is all.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        allowed = _allowed_origin(scope, self._origins)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if ANY_ORIGIN not in self._origins:
                    # A cache must not give one origin's answer to another.
                    headers.add_vary_header("Origin")
                if allowed is not None:
                    headers[_ALLOW_ORIGIN] = allowed
                    headers["access-control-expose-headers"] = _EXPOSED
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Preflights:
    """Answers what a browser asks before a page's request: without a key, and without the routes.

    Args:
        app: What answers everything else.
        origins: Those that are told yes; the star is all.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_preflight = (
            scope["method"] == "OPTIONS"
            and "access-control-request-method" in Headers(scope=scope)
            and _allowed_origin(scope, self._origins) is not None
        )
        answer = Response(status_code=204, headers=_PREFLIGHT_HEADERS) if is_preflight else None
        await (answer or self._app)(scope, receive, send)


def _allowed_origin(scope: Scope, origins: Collection[str]) -> str | None:
    """What the answer's header says; None for a request of no origin, or of another one."""
    origin = Headers(scope=scope).get("origin")
    if origin is None:
        return None
    if ANY_ORIGIN in origins:
        return ANY_ORIGIN
    return origin if origin in origins else None
