"""Probes and figures: on the REST port beside the rest, and alone on a management port."""

import msgspec
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from service.health import Health, Verdict
from service.metrics import Metrics
from service.rest_api.envelope import Envelope, answer_errors
from service.scrape import Scraper

__all__ = ["PROBE_PATHS", "create_management_app", "management_router"]

PROBE_PATHS = frozenset(("/livez", "/readyz", "/startupz", "/health"))


def create_management_app(*, health: Health, metrics: Metrics) -> ASGIApp:
    """What a management port serves; without keys, so it belongs on a private address."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.include_router(management_router(health, metrics))
    answer_errors(app, log=None)
    return Envelope(app, health, metrics)


def management_router(health: Health, metrics: Metrics) -> APIRouter:
    """The routes of probes and scrapers."""
    scraper = Scraper(metrics)

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
        content_type, body = await scraper.scrape(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "vary": "accept"})

    router = APIRouter()
    for path, endpoint in (
        ("/livez", livez),
        ("/readyz", readyz),
        ("/startupz", startupz),
        ("/health", readyz),
        ("/metrics", scrape),
    ):
        router.add_api_route(path, endpoint, response_model=None, tags=["operation"])
    return router


def _probe(verdict: Verdict) -> Response:
    return Response(
        msgspec.json.encode({"status": verdict.status}),
        status_code=200 if verdict.is_ok else 503,
        media_type="application/json",
    )
