"""Asks for an API key before anything is done for a request: of every path but a few named ones.

A route that is new is closed. The verdict is on the path that routes are matched by, whatever the
URL or the headers look like, and comes before the body is read.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api_keys import ApiKeys
from service.errors import RequestError
from service.request_ids import Exchange
from service.request_log import RequestLog
from service.rest_api.envelope import OTHER_ROUTE

__all__ = ["KeyGuard"]


class KeyGuard:
    """Stands inside the envelope, before the routes.

    Args:
        app: What is guarded.
        keys: Those that open it.
        open_paths: Served to everybody.
        log: Where refused requests are noted.
    """

    def __init__(
        self, app: ASGIApp, keys: ApiKeys, *, open_paths: frozenset[str], log: RequestLog
    ) -> None:
        self._app = app
        self._keys = keys
        self._open_paths = open_paths
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request pass.

        Raises:
            RequestError: It shows no key that is known.
        """
        assert scope["type"] == "http", "no other kind of connection is offered"
        exchange: Exchange = scope["state"]["exchange"]
        if scope["path"] not in self._open_paths:
            try:
                exchange.api_key = self._keys.demand(Headers(scope=scope).getlist("authorization"))
            except RequestError as error:
                self._log.refuse(error, protocol="rest", route=OTHER_ROUTE, exchange=exchange)
                raise
        await self._app(scope, receive, send)
