"""Large answers: made beside the event loop, and bounded for as long as they wait to be read."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from model.tokenizer import Tokenizer
from service import large_answers
from service.errors import ErrorKind, RequestError
from service.generation import TextPiece, TokenReport
from service.glass_box.glass_box_values import Resampled
from service.glass_box.inspection import CandidateInspection, TokenInspection, TokenView
from service.large_answers import (
    BYTES_PER_CANDIDATE,
    INLINE_ITEMS,
    SMALL_ANSWER_BYTES,
    AnswerMemory,
    build_answer,
    encode_answer,
)
from service.metrics import Metrics
from service.request_ids import Exchange
from service.request_log import RequestLog
from service.rest_api import delivery
from service.rest_api.tokenize_response import TokenizeResponse
from tests.service.route_calls import PATIENCE_SECONDS, run, serve, served

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


def inspections(num_candidates: int) -> tuple[TokenInspection, ...]:
    token = TokenView(id=1, text="a", bytes=b"a", is_control=False)
    candidate = CandidateInspection(
        token=token,
        logit=0.0,
        changed_logit=0.0,
        probabilities=(1.0,) * 7,
        removed_by=None,
        line_start=0.0,
        line_end=1.0,
    )
    inspection = TokenInspection(
        position=1,
        token=token,
        byte_start=0,
        byte_end=1,
        ends_text=False,
        stages=(),
        candidates=(candidate,) * num_candidates,
        random_word=0,
        drawn_token=token,
        rank=1,
        surprise_bits=0.0,
        chosen_probability=1.0,
    )
    return (inspection,)


@pytest.mark.parametrize("is_generated", [True, False])
def test_inspections_that_wait_to_be_written_leave_no_room_for_more(
    monkeypatch: pytest.MonkeyPatch, is_generated: bool
) -> None:
    """H69: they are many times as large as the answer that they become."""
    num_many = 2 * SMALL_ANSWER_BYTES // BYTES_PER_CANDIDATE
    monkeypatch.setattr(large_answers, "ANSWER_MEMORY", AnswerMemory(3 * SMALL_ANSWER_BYTES))
    may_end, has_begun = threading.Event(), threading.Event()

    def wait() -> bytes:
        has_begun.set()
        assert may_end.wait(PATIENCE_SECONDS)
        return b"{}"

    async def write(num_candidates: int, encode: Callable[[], bytes]) -> bytes:
        told = inspections(num_candidates)
        if is_generated:
            # So many tokens that also few candidates are written beside the event loop.
            piece = TextPiece(0, "a", (1,) * INLINE_ITEMS, inspections=told)
            return await build_answer([piece], encode)
        answer = Resampled(model="m", model_version="1", inspections=told, parameters=())
        return await encode_answer(answer, encode)

    async def body() -> None:
        first = asyncio.create_task(write(num_many, wait))
        assert await asyncio.to_thread(has_begun.wait, PATIENCE_SECONDS)
        assert await write(1, bytes) == b""
        with pytest.raises(RequestError, match="wait for their readers") as caught:
            await write(num_many, bytes)
        assert caught.value.kind is ErrorKind.SERVER_OVERLOADED
        may_end.set()
        assert await first == b"{}"
        assert await write(num_many, bytes) == b""

    run(body())


def test_large_answers_are_put_together_beside_the_event_loop() -> None:
    """H41: small ones on it, which costs them no wait behind large ones."""
    report = TokenReport(1, b"a", -1.0, 1, ((1, b"a", -1.0),) * 20)
    small = [TextPiece(0, "a", (1,), (report,))] * (INLINE_ITEMS // 23)
    large = [*small, small[0]]
    here = threading.get_ident()
    assert run(build_answer(small, threading.get_ident)) == here
    assert run(build_answer(large, threading.get_ident)) != here
