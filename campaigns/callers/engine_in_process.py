"""The fifth way of campaign 1: no server, no sockets, no batch.

The core's own reading, checking and text stand around an engine in this process, which computes one
request at a time in a cache that never runs short: what the server must give however busy it is.
"""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import msgspec

from campaigns.callers.parity_callers import Outcome
from service.engine.engine import Engine
from service.engine.loading import build_engine
from service.engine.messages import Cancel, Load, Loaded, ModelKind, Pause, Resume, Submit
from service.engine_link.engine_client import EngineClient
from service.errors import ErrorKind, RequestError
from service.generation import TextPiece
from service.models.model_store import ModelFolder, read_folder
from service.models.served_model import ServedModel
from service.parameters import resolve_parameters
from service.prepared_generation import PreparedGeneration
from service.prompts import read_prompt
from service.request_log import RequestRecord
from service.rest_api.messages import read_generate_body
from service.text_generator import request_deadline
from service.token_stream import TokenStream

__all__ = ["EngineInProcess"]

SECONDS = 600.0


class EngineInProcess:
    """Answers bodies of /v1/generate.

    Args:
        folder: The artifact.
        context_tokens: Longest prompt.
    """

    def __init__(self, folder: Path, *, context_tokens: int) -> None:
        self._model = _Model(read_folder(folder), context_tokens)
        engine, loaded = build_engine(
            Load(
                directory=str(folder),
                device="cpu",
                dtype="f32",
                num_threads=1,
                max_running=4,
                max_context_tokens=context_tokens,
                deterministic=True,
            )
        )
        self._client = _InProcessClient(engine, loaded)

    async def answer(self, body: Mapping[str, object]) -> Outcome:
        """The outcome of a body."""
        try:
            return await self._answer(body)
        except RequestError as error:
            kind = error.kind
            return Outcome(status=kind.grpc_status, code=kind.code, field_name=error.field or "")

    async def _answer(self, body: Mapping[str, object]) -> Outcome:
        request = read_generate_body(body).request
        # The three attributes are all that the core's functions read of a served model.
        model = cast("ServedModel", self._model.find(request.model))
        record = RequestRecord(request_id="in-process", protocol="none", route="none")
        request_deadline(request, received_at=record.received_at)
        prompt_ids = await read_prompt(request, model)
        parameters = resolve_parameters(
            request.parameters,
            model.folder.defaults,
            num_prompt_tokens=len(prompt_ids),
            context_tokens=model.context_tokens,
            vocabulary_size=model.folder.vocabulary_size,
        )
        prepared = PreparedGeneration(
            model=model,
            client=cast("EngineClient", self._client),
            prompt_ids=prompt_ids,
            parameters=parameters,
            inspect=request.inspect,
            deadline=asyncio.get_running_loop().time() + SECONDS,
            record=record,
            held=ExitStack(),
        )
        outcome = Outcome()
        with prepared:
            async with aclosing(prepared.pieces()) as pieces:
                async for piece in pieces:
                    _add(outcome, piece)
        return outcome


@dataclass(frozen=True, slots=True)
class _Model:
    """What the core reads of a ServedModel, without an engine process behind it."""

    folder: ModelFolder
    context_tokens: int
    kind: ModelKind = ModelKind.TRANSFORMER

    def find(self, name: str | None) -> Self:
        """This model, if it is meant.

        Raises:
            RequestError: It is not.
        """
        own = self.folder.name
        if name not in (None, own, f"{own}@{self.folder.version}"):
            raise RequestError(ErrorKind.MODEL_NOT_FOUND, "no such model", field="model")
        return self


class _InProcessClient:
    """What the core uses of an EngineClient, around an engine that it steps itself."""

    def __init__(self, engine: Engine, loaded: Loaded) -> None:
        self._fingerprint = f"{loaded.executor}-cpu-f32"
        self._engine = engine
        self._streams: dict[int, TokenStream] = {}
        self._number = 0
        self._stepping: asyncio.Task[None] | None = None

    def system_fingerprint(self, kind: ModelKind) -> str:
        """What computes, whichever kind is asked."""
        del kind
        return self._fingerprint

    def open(self, request: Submit, *, deadline: float) -> TokenStream:
        """Submit a request, and compute it as soon as its reader waits."""
        self._number += 1
        request = msgspec.structs.replace(request, request_id=self._number)
        number = self._number
        stream = self._streams[number] = TokenStream(
            request,
            deadline=deadline,
            send=self._send,
            on_ready=TokenStream.hand_on,
            on_over=lambda: self._forget(number),
        )
        self._engine.submit(request)
        # The one of the request before may not have seen yet that it has nothing to do.
        if self._stepping is None or self._stepping.done():
            self._stepping = asyncio.create_task(self._step_until_empty())
        return stream

    def _forget(self, number: int) -> None:
        del self._streams[number]

    async def _step_until_empty(self) -> None:
        try:
            while not self._engine.is_empty:
                for output in self._engine.step().outputs:
                    if (stream := self._streams.get(output.request_id)) is not None:
                        stream.deliver(output)
                # The reader takes what has come, and may cancel.
                await asyncio.sleep(0)
            self._engine.check_conservation()
        except BaseException:
            for stream in list(self._streams.values()):
                stream.fail(RequestError(ErrorKind.INTERNAL_ERROR, "the engine in process failed"))
            raise

    def _send(self, message: Cancel | Pause | Resume) -> None:
        match message:
            case Cancel(request_id, choice):
                self._engine.cancel(request_id, choice=choice)
            case Pause(request_id):
                self._engine.set_paused(request_id, is_paused=True)
            case Resume(request_id):
                self._engine.set_paused(request_id, is_paused=False)


def _add(outcome: Outcome, piece: TextPiece) -> None:
    choice = outcome.choice(piece.choice)
    choice.text += piece.text
    choice.token_ids += piece.token_ids
    for report in piece.reports:
        choice.logprobs.append(
            (report.token_id, report.bytes, report.logprob, report.rank, report.top)
        )
    if piece.finish_reason is not None:
        choice.finish_reason = piece.finish_reason.value
    if piece.summary is not None:
        summary, usage = piece.summary, piece.summary.usage
        outcome.usage = (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
        # The shape that both protocols write: lists, and token ids as strings.
        outcome.parameters = msgspec.json.decode(msgspec.json.encode(summary.parameters))
        outcome.model = f"{summary.model}@{summary.model_version} {summary.system_fingerprint}"
