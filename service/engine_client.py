"""Requests into one engine process and tokens out of it. Torch-free.

It knows one life of one process: when that ends, every stream ends with an error, and
`engine_supervisor` starts the next one.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

import msgspec

from service.engine.frames import encode_frame
from service.engine.messages import (
    Cancel,
    EngineFinish,
    Heartbeat,
    Loaded,
    LoadFailed,
    Shutdown,
    StepOutput,
    Submit,
    ToEngine,
)
from service.engine_launch import EngineConnection
from service.errors import ErrorKind, RequestError

__all__ = ["EngineClient", "TokenBatch"]

SHUTDOWN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Tokens of one request since the last batch.

    Attributes:
        token_ids: In order; none in a first batch, which says that the request entered the batch.
        finish: Set on the last batch.
    """

    token_ids: list[int]
    finish: EngineFinish | None


@dataclass(slots=True)
class _Stream:
    """What has arrived for one request and was not taken yet.

    It holds at most a context's worth of ids however slow its reader is, and the engine never waits
    for a reader.
    """

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    token_ids: list[int] = field(default_factory=list[int])
    finish: EngineFinish | None = None
    error: RequestError | None = None


class EngineClient:
    """One running engine process.

    Args:
        connection: The process with its loaded model.
        on_report: Called with the figures of each step and beat.

    Attributes:
        loaded: What the engine said of its model.
        last_heard_at: Loop time of its last message.
        step: Its step counter, as far as heard.
        step_changed_at: Loop time at which the counter last moved or the engine was idle.
    """

    def __init__(
        self,
        connection: EngineConnection,
        *,
        on_report: Callable[[StepOutput | Heartbeat], None],
    ) -> None:
        self.loaded: Loaded = connection.loaded
        self.step = 0
        self.last_heard_at = self.step_changed_at = asyncio.get_running_loop().time()
        self._connection = connection
        self._on_report = on_report
        self._streams: dict[int, _Stream] = {}
        self._numbers = itertools.count(1)
        self._lost: RequestError | None = None
        self._receiving = asyncio.create_task(self._receive(), name="engine-receive")

    @property
    def process_id(self) -> int:
        """The process's id."""
        return self._connection.process.pid

    @property
    def num_streams(self) -> int:
        """Requests whose streams are open."""
        return len(self._streams)

    async def stream(self, request: Submit, *, deadline: float) -> AsyncGenerator[TokenBatch]:
        """Tokens of a request as they are made; closing the generator cancels it.

        Args:
            request: Its ``request_id`` is replaced by a fresh number.
            deadline: Loop time at which the engine drops it.

        Raises:
            RequestError: The engine is lost, the deadline passed, or the request failed in it.
        """
        if self._lost is not None:
            raise self._lost
        number = next(self._numbers)
        stream = self._streams[number] = _Stream()
        timer = asyncio.get_running_loop().call_at(deadline, self._expire, number)
        try:
            self._send(msgspec.structs.replace(request, request_id=number))
            finish = None
            while finish is None:
                await stream.arrived.wait()
                stream.arrived.clear()
                if stream.error is not None:
                    raise stream.error
                token_ids, stream.token_ids = stream.token_ids, []
                finish = stream.finish
                yield TokenBatch(token_ids, finish)
        finally:
            timer.cancel()
            del self._streams[number]
            if stream.finish is None:
                self._send(Cancel(number))

    def fail_all(self, error: RequestError) -> None:
        """End every open stream with an error; the engine drops their requests."""
        for stream in self._streams.values():
            if stream.finish is None:
                stream.error = error
                stream.arrived.set()

    async def wait_lost(self) -> None:
        """Return when the process is gone."""
        await asyncio.wait([self._receiving])

    async def close(self, *, gently: bool) -> None:
        """End the process; gently asks first and waits some seconds."""
        if gently:
            self._send(Shutdown())
            await asyncio.wait([self._receiving], timeout=SHUTDOWN_SECONDS)
        self._lose()
        self._receiving.cancel()
        await self._connection.end()

    async def _receive(self) -> None:
        try:
            while True:
                message = await self._connection.read()
                self.last_heard_at = asyncio.get_running_loop().time()
                match message:
                    case StepOutput():
                        self._note_step(message.step, is_busy=True)
                        self._on_report(message)
                        self._deliver(message)
                    case Heartbeat():
                        is_busy = message.num_running + message.num_waiting > 0
                        self._note_step(message.step, is_busy=is_busy)
                        self._on_report(message)
                    case Loaded() | LoadFailed():
                        raise ValueError("an engine loads one model")
        except (asyncio.IncompleteReadError, OSError, ValueError):
            # The end of the socket: the process is gone, or it is no engine of ours.
            pass
        finally:
            self._lose()

    def _note_step(self, step: int, *, is_busy: bool) -> None:
        if step != self.step or not is_busy:
            self.step_changed_at = self.last_heard_at
        self.step = step

    def _deliver(self, step: StepOutput) -> None:
        for number in step.started_ids:
            if (stream := self._streams.get(number)) is not None:
                stream.arrived.set()
        for output in step.outputs:
            # A request that was cancelled meanwhile has no stream any more.
            if (stream := self._streams.get(output.request_id)) is None:
                continue
            stream.token_ids += output.token_ids
            stream.finish = output.finish
            if output.finish is EngineFinish.NUMERICAL_ERROR:
                stream.error = RequestError(
                    ErrorKind.NUMERICAL_ERROR, "the model's numbers became unusable"
                )
            elif output.finish is EngineFinish.INTERNAL_ERROR:
                stream.error = RequestError(ErrorKind.INTERNAL_ERROR, "internal error")
            stream.arrived.set()

    def _expire(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and stream.finish is None:
            # The slot is freed now, however long the reader takes to come back for the error.
            self._send(Cancel(number))
            stream.error = RequestError(
                ErrorKind.DEADLINE_EXCEEDED, "the deadline passed before the text was complete"
            )
            stream.arrived.set()

    def _lose(self) -> None:
        if self._lost is None:
            self._lost = RequestError(
                ErrorKind.ENGINE_UNAVAILABLE,
                "the engine was lost and is being restarted",
                retry_after_seconds=1,
            )
            self.fail_all(self._lost)

    def _send(self, message: ToEngine) -> None:
        # Not awaited: a request is some kilobytes, and admission bounds their number.
        if self._lost is None and not self._connection.writer.is_closing():
            self._connection.writer.write(encode_frame(message))
