"""OpenAI's route for completions; its routes for models are the native ones, one body for both."""

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.request_log import RequestLog
from service.rest_api.completion_answer import CompletionAnswer
from service.rest_api.completion_messages import read_completion_body
from service.rest_api.generation_response import GenerationResponse
from service.text_generator import TextGenerator

__all__ = ["openai_router"]


def openai_router(generator: TextGenerator, log: RequestLog) -> APIRouter:
    """The routes that speak as OpenAI's do."""
    router = APIRouter()

    @router.post("/v1/completions", response_model=None)
    async def completions(request: Request) -> Response:
        """Continue texts, as OpenAI's older API does."""
        return GenerationResponse(
            generator,
            log,
            route="/v1/completions",
            exchange=request.state.exchange,
            read=_read,
        )

    return router


def _read(values: Mapping[str, object]) -> CompletionAnswer:
    return CompletionAnswer(read_completion_body(values))
