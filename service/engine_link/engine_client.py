"""Requests into one engine process and tokens out of it. Torch-free.

It knows one life of one process: when that ends, every stream ends with an error, and
`engine_supervisor` starts the next one.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable

import msgspec

from service.engine.frames import FromEngine, ToEngine
from service.engine.messages import (
    Heartbeat,
    Loaded,
    LoadFailed,
    ModelKind,
    Phase,
    Shutdown,
    StepOutput,
    Submit,
)
from service.engine.questions import Answer, AnswerBody, QuestionBody
from service.engine_link.engine_launch import EngineConnection
from service.engine_link.open_questions import OpenQuestions
from service.errors import ErrorKind, RequestError
from service.token_stream import TokenStream

__all__ = ["EngineClient"]

_logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 5.0


class EngineClient:
    """One running engine process.

    Args:
        connection: The process with its loaded model.
        on_report: Called with the figures of each step and beat.

    Attributes:
        last_heard_at: Loop time of its last message.
        step_changed_at: Loop time at which a step counter last moved or the process was idle.
    """

    def __init__(
        self,
        connection: EngineConnection,
        *,
        on_report: Callable[[StepOutput | Heartbeat], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.last_heard_at = self.step_changed_at = self._loop.time()
        loaded = connection.loaded
        self._loaded = {each.kind: each for each in (loaded, loaded.sibling) if each is not None}
        self._steps = dict.fromkeys(self._loaded, 0)
        self._connection = connection
        self._on_report = on_report
        self._streams: dict[int, TokenStream] = {}
        # Those for whose readers something came with what is being taken.
        self._ready: list[TokenStream] = []
        self._questions = OpenQuestions(self._send)
        self._numbers = itertools.count(1)
        self._is_lost = False
        # What whoever comes now is told; the first reason stays.
        self._refusal: RequestError | None = None
        connection.socket.listen(self._take_all, self._lose)

    @property
    def process_id(self) -> int:
        """The process's id."""
        return self._connection.process.pid

    def loaded_of(self, kind: ModelKind) -> Loaded:
        """What the engine said of one of its models."""
        return self._loaded[kind]

    def system_fingerprint(self, kind: ModelKind) -> str:
        """Executor, device and dtype that compute a model's tokens, as in "eager-cpu-f32"."""
        loaded = self._loaded[kind]
        return f"{loaded.executor}-{loaded.device}-{loaded.dtype.replace('float', 'f')}"

    @property
    def num_streams(self) -> int:
        """Requests that the engine computes for readers."""
        return len(self._streams)

    def open(self, request: Submit, *, deadline: float) -> TokenStream:
        """Submit a request; the block of the stream that comes back is the request's life.

        Args:
            request: Its ``request_id`` is replaced by a fresh number, its timeout by what is left
                until the deadline.
            deadline: Loop time at which the engine drops it.

        Raises:
            RequestError: The engine is lost, or all requests were ended.
        """
        if self._refusal is not None:
            raise self._refusal
        number = next(self._numbers)
        timeout = max(deadline - self._loop.time(), 0.0)
        request = msgspec.structs.replace(request, request_id=number, timeout_seconds=timeout)
        stream = self._streams[number] = TokenStream(
            request,
            deadline=deadline,
            send=self._send,
            on_ready=self._ready.append,
            on_over=lambda: self._forget(number),
        )
        self._send(request)
        return stream

    async def ask(self, body: QuestionBody, *, deadline: float, salt: bytes = b"") -> AnswerBody:
        """The answer to a question; whoever stops waiting for it drops the question.

        Args:
            body: What is asked.
            deadline: Loop time at which it is too late for an answer.
            salt: Blocks are shared between questions and requests of equal salt only.

        Raises:
            RequestError: It failed, its deadline passed, or the engine is lost.
        """
        if self._refusal is not None:
            raise self._refusal
        return await self._questions.ask(next(self._numbers), body, deadline=deadline, salt=salt)

    def _forget(self, number: int) -> None:
        del self._streams[number]

    def fail_all(self, error: RequestError) -> None:
        """End every stream and question that the engine has with an error; it drops them.

        Those that were accepted and come only now meet the same error.
        """
        self._refusal = self._refusal or error
        for stream in list(self._streams.values()):
            stream.fail(error)
        self._questions.fail_all(error)

    async def wait_lost(self) -> None:
        """Return when the process is gone."""
        await self._connection.socket.wait_lost()

    async def close(self, *, gently: bool) -> None:
        """End the process; gently asks first and waits some seconds."""
        if gently:
            self._send(Shutdown())
            await self._connection.socket.wait_lost(timeout_seconds=SHUTDOWN_SECONDS)
        self._lose()
        await self._connection.end()

    def _take_all(self, messages: list[FromEngine]) -> None:
        is_alone = len(messages) == 1
        for message in messages:
            try:
                self._take(message, is_alone=is_alone)
            except Exception:
                # The other requests have done nothing wrong, and neither has the engine.
                _logger.exception("a message of an engine could not be taken")
        if self._ready:
            self._hand_on()

    def _take(self, message: FromEngine, *, is_alone: bool) -> None:
        now = self.last_heard_at = self._loop.time()
        match message:
            case StepOutput():
                self._steps[message.kind] = message.step
                self.step_changed_at = now
                try:
                    self._on_report(message)
                finally:
                    self._deliver(message, is_alone=is_alone)
            case Heartbeat():
                # A batch whose readers are all paused is idle.
                is_busy = message.phase is not Phase.IDLE
                if message.step != self._steps.get(message.kind) or not is_busy:
                    self.step_changed_at = now
                self._steps[message.kind] = message.step
                self._on_report(message)
            case Answer():
                self._questions.take(message)
            case Loaded() | LoadFailed():
                _logger.error("an engine loads a second version, and a process loads one only")
                self._connection.socket.close()

    def _deliver(self, step: StepOutput, *, is_alone: bool) -> None:
        for number in step.started_ids:
            if (stream := self._streams.get(number)) is not None:
                stream.note_started()
        for output in step.outputs:
            # A request that was cancelled meanwhile has no stream any more.
            if (stream := self._streams.get(output.request_id)) is not None:
                try:
                    # What more came with it may belong to the same message.
                    if not (is_alone and stream.pass_by(output)):
                        stream.deliver(output)
                except Exception:
                    _end_faulty(stream)

    def _hand_on(self) -> None:
        for stream in self._ready:
            try:
                stream.hand_on()
            except Exception:
                _end_faulty(stream)
        self._ready.clear()

    def _lose(self) -> None:
        if not self._is_lost:
            self._is_lost = True
            self.fail_all(
                RequestError(
                    ErrorKind.ENGINE_UNAVAILABLE,
                    "the engine was lost and is being restarted",
                    retry_after_seconds=1,
                )
            )

    def _send(self, message: ToEngine) -> None:
        if not self._is_lost:
            self._connection.socket.send(message)


def _end_faulty(stream: TokenStream) -> None:
    # A fault of ours ends the request that it befell, and no other.
    _logger.exception("tokens of request %d could not be told", stream.request_id)
    stream.fail(RequestError(ErrorKind.INTERNAL_ERROR, "internal error"))
