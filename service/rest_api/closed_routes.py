"""Routes that this server has but does not offer: each says so, instead of seeming unknown."""

from collections.abc import Collection

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.errors import not_offered
from service.request_log import RequestLog
from service.rest_api.envelope import OTHER_ROUTE

__all__ = ["closed_router"]


def closed_router(paths: Collection[str], log: RequestLog) -> APIRouter:
    """Refuses the paths of the glass box, whatever is asked of them."""
    router = APIRouter(include_in_schema=False)

    async def refuse(request: Request) -> Response:
        error = not_offered()
        exchange = request.state.exchange
        log.refuse(error, protocol="rest", route=OTHER_ROUTE, exchange=exchange)
        raise error

    for path in sorted(paths):
        router.add_api_route(path, refuse, methods=["GET", "HEAD", "POST"], response_model=None)
    return router
