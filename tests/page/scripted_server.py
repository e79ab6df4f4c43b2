"""A server of the page whose API answers what a test scripted: outputs no real model would make.

The page's own routes are the real ones; only /v1 is scripted, in the shapes of the native API.
Tokens are those of scripted_tokens.py.
"""

import json
import socket
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import cast

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from service.page.routes import page_router
from tests.page.scripted_tokens import Event, content_of, inspection, tokenized

WAIT_SECONDS = 60

DEFAULTS: Event = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "max_tokens": 256,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
}
MODEL: Event = {
    "id": "scripted",
    "kind": "transformer",
    "version": "3",
    "is_default": True,
    "is_ready": True,
    "context_tokens": 512,
    "num_parameters": 11_500_000,
    "default_parameters": DEFAULTS,
}


def event(text: str, *inspections: Event) -> Event:
    """One event of a stream."""
    views = [cast("Event", each["token"]) for each in inspections if not each["ends_text"]]
    ids = [each["id"] for each in views]
    return {"index": 0, "text": text, "token_ids": ids, "inspections": list(inspections)}


def ending(num_tokens: int, *, seed: int = 1234) -> Event:
    """The last event of a stream."""
    return {
        **event(""),
        "finish_reason": "length",
        "id": "gen-1",
        "model": "scripted",
        "model_version": "3",
        "usage": {
            "prompt_tokens": 4,
            "completion_tokens": num_tokens,
            "total_tokens": 4 + num_tokens,
        },
        "parameters": {**DEFAULTS, "seed": seed},
        "timings": {"queue_seconds": 0.001, "first_token_seconds": 0.01, "total_seconds": 0.5},
    }


@dataclass
class ScriptedServer:
    """What the next request is answered with, and what was asked.

    Attributes:
        events: Sent in order; a stream without an ending is cut off after them.
        is_ended: Whether the stream ends with [DONE].
        refusal: Answered instead of a stream: a status and an error body.
        key: What every call of the API must show, None where nobody is asked.
        told_later: What /v1/inspect tells instead, as another version of the model would.
        inspected: The requests to inspect so far.
        models_served: What /v1/models lists.
        bodies: The requests to generate so far.
        num_refused: Calls that did not show the key.
    """

    address: str = ""
    events: list[Event] = field(default_factory=list[Event])
    is_ended: bool = True
    refusal: tuple[int, Event] | None = None
    key: str | None = None
    told_later: Event | None = None
    inspected: list[Event] = field(default_factory=list[Event])
    models_served: list[Event] = field(default_factory=lambda: [MODEL])
    bodies: list[Event] = field(default_factory=list[Event])
    num_refused: int = 0

    def script(self, *events: Event, is_ended: bool = True) -> None:
        """Answer the next requests with these events."""
        self.events, self.is_ended, self.refusal = list(events), is_ended, None
        self.bodies.clear()
        self.key, self.num_refused = None, 0
        self.models_served, self.told_later = [MODEL], None
        self.inspected.clear()

    async def generate(self, request: Request) -> Response:
        """POST /v1/generate."""
        if (refused := self._refuse(request)) is not None:
            return refused
        self.bodies.append(json.loads(await request.body()))
        if self.refusal is not None:
            status, body = self.refusal
            return JSONResponse(body, status_code=status, headers={"x-request-id": "request-7"})
        return StreamingResponse(self._stream(request), media_type="text/event-stream")

    async def inspect(self, request: Request) -> Response:
        """POST /v1/inspect: what the stream already told, whatever the position."""
        if (refused := self._refuse(request)) is not None:
            return refused
        asked = json.loads(await request.body())
        self.inspected.append(asked)
        wanted = asked["ids"][asked["start"]]
        told = (each for event in self.events for each in self._placed(event, 0))
        # A reader may rest on a token of the prompt, or of a script before this one.
        found = next((each for each in told if self._token_id(each) == wanted), None)
        record = self.told_later or found or inspection(content_of(wanted))
        return JSONResponse({"inspections": [{**record, "position": asked["start"]}], "tokens": []})

    async def tokenize(self, request: Request) -> Response:
        """POST /v1/tokenize."""
        if (refused := self._refuse(request)) is not None:
            return refused
        tokens = tokenized(json.loads(await request.body())["text"])
        return JSONResponse({"count": len(tokens), "tokens": tokens})

    def _refuse(self, request: Request) -> Response | None:
        if self.key is None or request.headers.get("authorization") == f"Bearer {self.key}":
            return None
        self.num_refused += 1
        error = {"message": "the API key is not known here", "code": "invalid_api_key"}
        return JSONResponse({"error": error}, status_code=401)

    async def models(self, request: Request) -> Response:
        """GET /v1/models."""
        if (refused := self._refuse(request)) is not None:
            return refused
        return JSONResponse({"object": "list", "data": self.models_served})

    async def _stream(self, request: Request) -> AsyncGenerator[str]:
        yield ": ping\n\n"
        asked = self.bodies[-1]
        ids = asked.get("prompt_ids")
        prompt = cast("list[object]", ids) if ids else tokenized(str(asked["prompt"]))
        position = len(prompt)
        for each in self.events:
            placed = self._placed(each, position)
            position += len(placed)
            shown = {**each, "inspections": placed} if placed else each
            yield f"data: {json.dumps(shown)}\n\n"
        if self.is_ended:
            yield "data: [DONE]\n\n"

    @staticmethod
    def _placed(each: Event, position: int) -> list[Event]:
        told = cast("list[Event]", each.get("inspections", []))
        return [{**one, "position": position + place} for place, one in enumerate(told)]

    @staticmethod
    def _token_id(told: Event) -> object:
        return cast("Event", told["token"])["id"]

    def run(self) -> "uvicorn.Server":
        """Start serving in a thread of its own."""
        app = FastAPI()
        app.include_router(page_router())
        app.add_api_route("/v1/models", self.models, response_model=None)
        app.add_api_route("/v1/generate", self.generate, methods=["POST"], response_model=None)
        app.add_api_route("/v1/inspect", self.inspect, methods=["POST"], response_model=None)
        app.add_api_route("/v1/tokenize", self.tokenize, methods=["POST"], response_model=None)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        return server
