"""OpenAI's routes; its routes for models are the native ones, one body for both."""

from collections.abc import Callable, Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.models.served_models import ServedModels
from service.request_log import RequestLog
from service.rest_api.generation_response import GenerationResponse
from service.rest_api.openai_answer import ChatWords, CompletionWords, OpenAIAnswer
from service.rest_api.openai_chat import read_chat_body
from service.rest_api.openai_completions import read_completion_body
from service.rest_api.openai_embeddings import EMBEDDINGS_PATH, EmbeddingsResponse
from service.text_generator import TextGenerator

__all__ = ["embeddings_router", "openai_router"]


def openai_router(generator: TextGenerator, log: RequestLog) -> APIRouter:
    """The generating routes that speak as OpenAI's do."""
    router = APIRouter()

    def add(path: str, read: Callable[[Mapping[str, object]], OpenAIAnswer]) -> None:
        async def endpoint(request: Request) -> Response:
            return GenerationResponse(
                generator, log, route=path, exchange=request.state.exchange, read=read
            )

        router.add_api_route(path, endpoint, methods=["POST"], response_model=None)

    add("/v1/completions", _read_completion)
    add("/v1/chat/completions", _read_chat)
    return router


def embeddings_router(generator: TextGenerator, models: ServedModels, log: RequestLog) -> APIRouter:
    """OpenAI's route for vectors of texts."""
    router = APIRouter()

    @router.post(EMBEDDINGS_PATH, response_model=None)
    async def embeddings(request: Request) -> Response:
        """A vector for each text."""
        return EmbeddingsResponse(generator, models, log, exchange=request.state.exchange)

    return router


def _read_completion(values: Mapping[str, object]) -> OpenAIAnswer:
    return OpenAIAnswer(read_completion_body(values), CompletionWords())


def _read_chat(values: Mapping[str, object]) -> OpenAIAnswer:
    return OpenAIAnswer(read_chat_body(values), ChatWords())
