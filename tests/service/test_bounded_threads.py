"""Long texts and large answers are worked on a few at a time, and never on the event loop."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from nextword.v1 import text_generation_pb2 as pb

from model.tokenizer import Tokenizer
from service.bounded_threads import MAX_JOBS, TEXTS, BoundedThreads
from service.errors import ErrorKind, RequestError
from service.generation import GenerationRequest
from service.grpc_api import handlers
from service.grpc_api.messages import encode_tokens as encode_grpc_tokens
from service.grpc_transport.call import Call
from service.metrics import Metrics
from service.models.served_models import ServedModels
from service.parameters import RequestedParameters
from service.request_log import RequestLog, RequestRecord
from service.rest_api import native_routes, tokenize_response
from service.rest_api.messages import encode_tokens
from service.text_generator import TextGenerator
from service.tokenization import INLINE_TEXT_CHARACTERS, TextToken, tokenize
from tests.service.route_calls import PATIENCE_SECONDS, run, serve, served

BUNDLED = Path(__file__).resolve().parents[2] / "artifacts" / "fairytales" / "1"
NUM_REQUESTS = 24
# A body of nearly the most that is read; the tokenizer below finds few tokens in it.
LONG_TEXT = "x" * (2**20 - 64)

T = TypeVar("T")


class CountingTokenizer:
    """A tokenizer that knows for how many texts there are tokens and no answer yet.

    Attributes:
        peak: The most of them.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._num_open = 0
        self._lock = threading.Lock()

    def encode_with_spans(self, text: str) -> list[tuple[int, int, int]]:
        with self._lock:
            self._num_open += 1
            self.peak = max(self.peak, self._num_open)
        return [(0, 0, 1)] * (len(text) // 2**12)

    def counted(self, write: Callable[[list[TextToken]], T]) -> Callable[[list[TextToken]], T]:
        """Notes when the answer is written."""

        def write_and_note(tokens: list[TextToken]) -> T:
            answer = write(tokens)
            with self._lock:
                self._num_open -= 1
            return answer

        return write_and_note


def rest_tokenize(models: Any) -> Callable[[], Awaitable[object]]:
    router = native_routes.native_router(
        cast("TextGenerator", None), cast("ServedModels", models), RequestLog(Metrics())
    )
    (route,) = [each for each in router.routes if getattr(each, "path", "") == "/v1/tokenize"]
    body = json.dumps({"text": LONG_TEXT}).encode()

    async def call() -> object:
        received = b""

        async def send(message: Any) -> None:
            nonlocal received
            received += message.get("body", b"")

        await serve(cast("Any", route).endpoint, body, send)
        return json.loads(received)["count"]

    return call


def grpc_tokenize(models: Any) -> Callable[[], Awaitable[object]]:
    grpc_handlers = handlers.Handlers(cast("TextGenerator", None), cast("ServedModels", models))

    async def call() -> object:
        record = RequestRecord(request_id="1", protocol="grpc", route="Tokenize")
        message = pb.TokenizeRequest(text=LONG_TEXT)
        data = await grpc_handlers.tokenize(message, cast("Call", None), record)
        return pb.TokenizeResponse.FromString(data).count

    return call


def unbounded_tokenize(models: Any) -> Callable[[], Awaitable[object]]:
    """Two stages through the loop's own threads: the first ones all run before any second."""
    tokenizer: CountingTokenizer = models.model.folder.tokenizer

    def read() -> list[TextToken]:
        return [TextToken(0, "x", *span[1:]) for span in tokenizer.encode_with_spans(LONG_TEXT)]

    async def call() -> object:
        write = tokenizer.counted(encode_tokens)
        return await asyncio.to_thread(write, await asyncio.to_thread(read))

    return call


@pytest.mark.parametrize(
    ("calls", "is_bounded"),
    [(rest_tokenize, True), (grpc_tokenize, True), (unbounded_tokenize, False)],
)
def test_many_long_texts_hold_the_tokens_of_a_few(
    calls: Callable[[Any], Callable[[], Awaitable[object]]],
    *,
    is_bounded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H41: a megabyte has a million tokens, and 200 such lists are more than a machine has."""
    tokenizer = CountingTokenizer()
    monkeypatch.setattr(tokenize_response, "encode_tokens", tokenizer.counted(encode_tokens))
    monkeypatch.setattr(handlers, "encode_tokens", tokenizer.counted(encode_grpc_tokens))
    call = calls(served(tokenizer))

    async def all_at_once() -> list[object]:
        return await asyncio.gather(*(call() for _ in range(NUM_REQUESTS)))

    answers = run(all_at_once())
    assert len(set(answers)) == 1
    assert tokenizer.peak >= 1
    assert (tokenizer.peak <= MAX_JOBS) == is_bounded


async def busy_threads(
    threads: BoundedThreads, release: threading.Event
) -> list[asyncio.Task[bool]]:
    """All threads of a kind at work until they are released."""
    started = [threading.Event() for _ in range(MAX_JOBS)]

    def job(number: int) -> bool:
        started[number].set()
        return release.wait(PATIENCE_SECONDS)

    async def work(number: int) -> bool:
        return await threads.run(lambda: job(number))

    tasks = [asyncio.create_task(work(number)) for number in range(MAX_JOBS)]
    for each in started:
        assert await asyncio.to_thread(each.wait, PATIENCE_SECONDS)
    return tasks


def test_a_short_text_does_not_wait_for_long_ones() -> None:
    model = served(Tokenizer.load(BUNDLED)).model
    release = threading.Event()

    async def body() -> None:
        tasks = await busy_threads(TEXTS, release)
        try:
            text = "a" * INLINE_TEXT_CHARACTERS
            assert await tokenize(model, text, len) == len(await tokenize(model, text, list))
            waiting = asyncio.create_task(tokenize(model, text + "a", len))
            await asyncio.sleep(0)
            assert not waiting.done()
        finally:
            release.set()
        assert all(await asyncio.gather(*tasks))
        assert await waiting > 0

    run(body())


def test_a_job_whose_caller_left_never_runs() -> None:
    """H66: what nobody waits for any more costs nothing."""
    threads, release, ran = BoundedThreads("test"), threading.Event(), list[str]()

    async def body() -> None:
        tasks = await busy_threads(threads, release)
        leaving = asyncio.create_task(threads.run(lambda: ran.append("left")))
        staying = asyncio.create_task(threads.run(lambda: ran.append("stayed")))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        release.set()
        await staying
        assert all(await asyncio.gather(*tasks))

    run(body())
    assert ran == ["stayed"]


@pytest.mark.parametrize("prompt", ["a" * (INLINE_TEXT_CHARACTERS + 1), "a"])
def test_a_deadline_holds_while_the_prompt_is_read(prompt: str) -> None:
    """H95: a long prompt that waits for its turn, and a short one whose time is up already."""
    models = served(Tokenizer.load(BUNDLED))
    admitted: list[int] = []

    class Held:
        def __enter__(self) -> Any:
            return models.model

        def __exit__(self, *error: object) -> None:
            pass

    models.model.held = Held
    models.model.admit = admitted.append
    release = threading.Event()
    generator = TextGenerator(cast("ServedModels", models))
    request = GenerationRequest(
        model=None,
        prompt=prompt,
        prompt_ids=None,
        parameters=RequestedParameters(),
        timeout_seconds=0.05,
    )

    async def body() -> None:
        tasks = await busy_threads(TEXTS, release)
        record = RequestRecord(request_id="1", protocol="rest", route="/v1/generate")
        if len(prompt) == 1:
            record = replace(record, received_at=time.monotonic() - 1)
        try:
            with pytest.raises(RequestError) as error:
                await generator.prepare(request, record)
            assert error.value.kind is ErrorKind.DEADLINE_EXCEEDED
        finally:
            release.set()
        assert all(await asyncio.gather(*tasks))

    run(body())
    assert not admitted
