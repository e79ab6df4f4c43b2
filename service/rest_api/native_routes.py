"""The native routes: generate, tokenize, detokenize, models, and the page that lists all routes."""

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.errors import invalid_value
from service.models.model_facts import facts_of
from service.models.served_models import ServedModels
from service.request_log import RequestLog
from service.rest_api.bodies import JsonFields, read_json_object
from service.rest_api.generation_response import GenerationResponse
from service.rest_api.messages import read_generate_body
from service.rest_api.model_messages import detailed_model_object, model_object
from service.rest_api.openapi import openapi_page
from service.rest_api.tokenize_response import TokenizeResponse
from service.text_generator import TextGenerator
from service.tokenization import detokenize

__all__ = ["OPENAPI_PATH", "native_router", "openapi_router"]

OPENAPI_PATH = "/openapi.json"


def native_router(generator: TextGenerator, models: ServedModels, log: RequestLog) -> APIRouter:
    """The routes under /v1 of our own making."""
    router = APIRouter()

    @router.post("/v1/generate", response_model=None)
    async def generate(request: Request) -> Response:
        """Continue a text, whole or as server-sent events."""
        return GenerationResponse(
            generator,
            log,
            route="/v1/generate",
            exchange=request.state.exchange,
            read=read_generate_body,
        )

    @router.post("/v1/tokenize", response_model=None)
    async def tokens(request: Request) -> Response:
        """The tokens of a text."""
        return TokenizeResponse(models, log, exchange=request.state.exchange)

    @router.post("/v1/detokenize", response_model=None)
    async def text(request: Request) -> Response:
        """The text of token ids."""
        with log.request(
            protocol="rest", route="/v1/detokenize", exchange=request.state.exchange
        ) as record:
            fields = JsonFields(await read_json_object(request))
            model, ids = models.find(fields.string("model")), fields.integers("ids")
            fields.finish()
            record.model, record.model_version = model.folder.name, model.folder.version
            if ids is None:
                raise invalid_value("ids", "must be given")
            return _json({"text": await detokenize(model, ids)})

    @router.get("/v1/models", response_model=None)
    async def list_models(request: Request) -> Response:
        """The served models, the default one first."""
        with log.request(protocol="rest", route="/v1/models", exchange=request.state.exchange):
            data = [model_object(facts_of(model, models)) for model in models.all]
            return _json({"object": "list", "data": data})

    @router.get("/v1/models/{model_id}", response_model=None)
    async def get_model(request: Request, model_id: str) -> Response:
        """One model, with its card."""
        with log.request(
            protocol="rest", route="/v1/models/{model_id}", exchange=request.state.exchange
        ):
            model = models.find(model_id)
            return _json(detailed_model_object(facts_of(model, models), card=model.folder.card))

    return router


def openapi_router(*, needs_key: bool = False) -> APIRouter:
    """What OpenAPI says of all routes."""
    router = APIRouter()

    @router.get(OPENAPI_PATH, response_model=None)
    async def page(request: Request) -> Response:
        """What this server offers, for tools."""
        return _json(openapi_page(needs_key=needs_key))

    return router


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
