"""A request that was accepted, with its place in the queue: run it for its pieces."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from copy import copy
from types import TracebackType
from typing import Self

from msgspec.structs import asdict, replace

from service.choice_text import ChoiceText, prompt_pieces
from service.engine.messages import Submit, TokenLogprob, TokenOutput
from service.engine.trace_messages import Inspection
from service.engine_link.engine_client import EngineClient
from service.generation import Summary, TextPiece, Timings, Usage
from service.glass_box.inspection import InspectionRequest
from service.glass_box.trace_views import ByteSpans
from service.models.served_models import ServedModel
from service.outlet import Outlet
from service.parameters import EffectiveParameters
from service.request_log import RequestRecord
from service.sampling_settings import sampling_settings
from service.token_stream import TokenStream

__all__ = ["PreparedGeneration"]


class PreparedGeneration:
    """One accepted request; the end of its block gives back what it holds.

    Args:
        model: The model, held by `held`.
        client: Its engine, as admitted by `held`.
        prompt_ids: What to continue.
        parameters: What is in force.
        inspect: What to tell of how each token was chosen; None is nothing.
        deadline: Loop time at which it ends with an error.
        record: Filled in on the way.
        held: Closed at the end.

    Attributes:
        model_name: Name of the model.
        model_version: Its version.
        system_fingerprint: Executor, device and dtype that compute it.
        num_prompt_tokens: Length of the prompt.
        parameters: What is in force.
    """

    def __init__(
        self,
        *,
        model: ServedModel,
        client: EngineClient,
        prompt_ids: list[int],
        parameters: EffectiveParameters,
        inspect: InspectionRequest | None,
        deadline: float,
        record: RequestRecord,
        held: ExitStack,
    ) -> None:
        self.model_name = model.folder.name
        self.model_version = model.folder.version
        self.system_fingerprint = client.system_fingerprint(model.kind)
        self.num_prompt_tokens = len(prompt_ids)
        self.parameters = parameters
        self._folder = model.folder
        self._kind = model.kind
        self._client = client
        self._prompt_ids = prompt_ids
        self._inspect = inspect
        self._deadline = deadline
        self._record = record
        self._held = held
        spans = None if inspect is None else ByteSpans(model.folder, prompt_ids)
        self._choices = [
            # Each goes on from the end of the prompt by itself.
            ChoiceText(choice, model.folder, parameters, copy(spans))
            for choice in range(parameters.n)
        ]
        # Choices whose prompt was not echoed yet.
        self._unechoed = set(range(parameters.n)) if parameters.echo else set[int]()
        # The prompt's pieces; None until they can be made.
        self._echo: list[TextPiece] | None = None if parameters.echo else []

    @property
    def cost_tokens(self) -> int:
        """What it may cost: its prompt and everything it may make."""
        return self.num_prompt_tokens + self.parameters.max_tokens * self.parameters.n

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held.close()

    async def pieces(self, outlet: Outlet[TextPiece] | None = None) -> AsyncGenerator[TextPiece]:
        """Submit it; the continuations as they are made. Closing the generator cancels it.

        Args:
            outlet: Where pieces may go instead while the generator is waited for.

        Raises:
            RequestError: It failed, its deadline passed, or the engine was lost.
        """
        submit = self._submit()
        # What came of other choices before the prompt's logprobs, which each echo needs.
        early: list[TokenOutput] = []
        with self._client.open(submit, deadline=self._deadline) as stream:
            # A stop string ends a text where no batch does.
            if outlet is not None and not self._unechoed and not self.parameters.stop:
                stream.outlet = self._before(outlet, stream)
            try:
                async for batch in stream:
                    # The summary on the last piece tells how long it waited.
                    self._record.started_at = self._record.started_at or stream.started_at
                    if not self._unechoed:
                        if (piece := self._piece_of(batch, stream)) is not None:
                            yield piece
                        continue
                    early.append(batch)
                    if self._echo is None:
                        if submit.prompt_logprobs and batch.prompt_logprobs is None:
                            continue
                        await self._make_echo(batch.prompt_logprobs)
                    ready, early = early, []
                    for each in ready:
                        for piece in self._echoed_pieces(each, stream):
                            yield piece
            finally:
                self._record.started_at = self._record.started_at or stream.started_at
        assert not early

    def _before(self, outlet: Outlet[TextPiece], stream: TokenStream) -> Outlet[TokenOutput]:
        put_piece = outlet.put

        def put(batch: TokenOutput) -> None:
            if (piece := self._piece_of(batch, stream)) is not None:
                put_piece(piece)

        return Outlet(outlet.is_open, put)

    async def _make_echo(self, logprobs: list[TokenLogprob | None] | None) -> None:
        self._echo = []
        for piece in prompt_pieces(self._folder, self._prompt_ids, logprobs):
            self._echo.append(piece)
            # A long prompt with its logprobs takes a while; others have their turn.
            await asyncio.sleep(0)

    def _echoed_pieces(self, batch: TokenOutput, stream: TokenStream) -> Iterator[TextPiece]:
        """The prompt, where the choice has not had it, and what the batch completes."""
        # The prompt comes when the first token has.
        if batch.choice in self._unechoed:
            self._unechoed.remove(batch.choice)
            for piece in self._echo or ():
                yield replace(piece, choice=batch.choice)
        if (piece := self._piece_of(batch, stream)) is not None:
            yield piece

    def _piece_of(self, batch: TokenOutput, stream: TokenStream) -> TextPiece | None:
        """What a batch completes; None when nothing can be delivered yet."""
        record = self._record
        if batch.token_ids:
            record.note_tokens(batch.choice)
        piece = self._choices[batch.choice].take(batch)
        if piece is None:
            return None
        record.num_completion_tokens += len(piece.token_ids)
        if piece.finish_reason is not None:
            stream.cancel_choice(batch.choice)
            if all(each.is_finished for each in self._choices):
                piece = replace(piece, summary=self._summary())
        return piece

    def _summary(self) -> Summary:
        record = self._record
        return Summary(
            id=record.request_id,
            model=self.model_name,
            model_version=self.model_version,
            system_fingerprint=self.system_fingerprint,
            usage=Usage(self.num_prompt_tokens, record.num_completion_tokens),
            parameters=self.parameters,
            timings=Timings(
                record.since_received(record.started_at) or 0.0,
                record.since_received(record.first_token_at),
                time.monotonic() - record.received_at,
            ),
        )

    def _submit(self) -> Submit:
        parameters, api_key = self.parameters, self._record.api_key
        inspection = None
        if self._inspect is not None:
            inspection = Inspection(self._inspect.candidates, self._inspect.logits)
        return Submit(
            request_id=0,
            prompt_ids=self._prompt_ids,
            max_tokens=parameters.max_tokens,
            num_choices=parameters.n,
            logprobs=parameters.logprobs,
            prompt_logprobs=parameters.echo and parameters.logprobs is not None,
            inspect=inspection,
            **asdict(sampling_settings(parameters, self._folder)),
            # Else how fast an answer begins would tell what others have asked.
            salt=b"" if api_key is None else api_key.digest,
            kind=self._kind,
        )
