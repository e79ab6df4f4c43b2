"""Routes called without a server: what they look at of a model, and a client that stays."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from service.request_ids import Exchange
from service.transport_limits import TransportLimits

PATIENCE_SECONDS = 60.0

T = TypeVar("T")


def served(tokenizer: object) -> Any:
    """As much of a served model as the routes look at, and the models that find it."""
    folder = SimpleNamespace(
        tokenizer=tokenizer, name="m", version="1", max_token_bytes=1, vocabulary_size=9
    )
    model = SimpleNamespace(folder=folder, context_tokens=2**21)

    def find(name: str | None) -> object:
        return model

    return SimpleNamespace(find=find, model=model)


def run(work: Awaitable[T]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(work, PATIENCE_SECONDS)

    return asyncio.run(bounded())


async def serve(
    endpoint: Callable[[Request], Awaitable[Response]],
    body: bytes,
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """Run a route for a client that stays."""
    messages: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    headers = [(b"content-type", b"application/json")]
    scope: Any = {"type": "http", "method": "POST", "headers": headers}
    scope["state"] = {
        "exchange": Exchange(),
        "limits": TransportLimits(),
        "cut_off": lambda: None,
    }
    response = await endpoint(Request(scope, receive))
    await response(scope, receive, send)
