"""Large answers: made beside the event loop, and bounded for as long as they wait to be read."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from model.tokenizer import Tokenizer
from service.generation import TextPiece, TokenReport
from service.large_answers import (
    INLINE_ITEMS,
    SMALL_ANSWER_BYTES,
    AnswerMemory,
    build_answer,
)
from service.metrics import Metrics
from service.request_ids import Exchange
from service.request_log import RequestLog
from service.rest_api import delivery
from service.rest_api.tokenize_response import TokenizeResponse
from tests.service.route_calls import run, serve, served

BUNDLED = Path(__file__).resolve().parents[2] / "artifacts" / "fairytales" / "1"


def test_answers_that_are_read_slowly_leave_no_room_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H69: what is finished and not yet read is bounded; small answers are served all the same."""
    monkeypatch.setattr(delivery, "ANSWER_MEMORY", AnswerMemory(2 * SMALL_ANSWER_BYTES))
    models, log = served(Tokenizer.load(BUNDLED)), RequestLog(Metrics())
    large, small = ({"text": text} for text in ("a " * 2000, "a"))
    statuses: list[int] = []
    began = asyncio.Event()

    async def ask(body: object, reads: asyncio.Event) -> int:
        """The bytes that came."""
        num_bytes = 0

        async def send(message: Any) -> None:
            nonlocal num_bytes
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                began.set()
                return
            # The server's own send waits for the slice before.
            num_bytes += len(message["body"])
            await reads.wait()

        async def endpoint(request: Request) -> Response:
            return TokenizeResponse(models, log, exchange=Exchange())

        await serve(endpoint, json.dumps(body).encode(), send)
        return num_bytes

    async def body() -> None:
        reads, nobody_reads = asyncio.Event(), asyncio.Event()
        reads.set()
        slow = asyncio.create_task(ask(large, nobody_reads))
        await began.wait()
        assert log.num_open == 1
        await ask(small, reads)
        await ask(large, reads)
        assert statuses == [200, 200, 429]
        nobody_reads.set()
        assert await slow > SMALL_ANSWER_BYTES
        await ask(large, reads)
        assert statuses == [200, 200, 429, 200]
        assert log.num_open == 0

    run(body())


def test_large_answers_are_put_together_beside_the_event_loop() -> None:
    """H41: small ones on it, which costs them no wait behind large ones."""
    report = TokenReport(1, b"a", -1.0, 1, ((1, b"a", -1.0),) * 20)
    small = [TextPiece(0, "a", (1,), (report,))] * (INLINE_ITEMS // 23)
    large = [*small, small[0]]
    here = threading.get_ident()
    assert run(build_answer(small, threading.get_ident)) == here
    assert run(build_answer(large, threading.get_ident)) != here
