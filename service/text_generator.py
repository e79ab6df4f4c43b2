"""The core under both transports: a request in, pieces of text out.

Closing the stream is the cancel. Everything a request can be told is a RequestError; what leaves
here otherwise is a fault of ours.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing

from model.tokenizer import TokenizerError
from service.detokenizer import DecodedPiece, Detokenizer
from service.engine.messages import EngineFinish, Loaded, Submit
from service.errors import ErrorKind, RequestError, invalid_value
from service.generation import (
    FinishReason,
    GenerationRequest,
    Summary,
    TextPiece,
    Timings,
    Usage,
)
from service.parameters import EffectiveParameters, resolve_parameters
from service.request_log import RequestRecord
from service.served_models import ServedModel, ServedModels

__all__ = ["TextGenerator"]

DEFAULT_TIMEOUT_SECONDS = 600.0
MAX_TIMEOUT_SECONDS = 86400.0
# Shorter texts are tokenized in less time than a thread takes to start.
INLINE_TEXT_CHARACTERS = 2048


class TextGenerator:
    """Continues texts with the models of a server."""

    def __init__(self, models: ServedModels) -> None:
        self._models = models
        self._is_draining = False

    def refuse_new(self) -> None:
        """From now on every new request is told that the server is leaving."""
        self._is_draining = True

    def end_all(self) -> None:
        """Tell every running request that the server is leaving."""
        self._models.fail_all(_draining())

    async def stream(
        self, request: GenerationRequest, record: RequestRecord
    ) -> AsyncGenerator[TextPiece]:
        """The continuation as it is made.

        Args:
            request: What to continue, and how.
            record: Filled in on the way.

        Raises:
            RequestError: Anything the client is to be told, before or after the first piece.
        """
        if self._is_draining:
            raise _draining()
        with ExitStack() as stack:
            model = stack.enter_context(self._models.find(request.model).held())
            record.model, record.model_version = model.folder.name, model.folder.version
            prompt_ids = await self._prompt_ids(request, model)
            parameters = resolve_parameters(
                request.parameters,
                request.defaults or model.folder.defaults,
                num_prompt_tokens=len(prompt_ids),
                context_tokens=model.context_tokens,
                vocabulary_size=model.folder.vocabulary_size,
            )
            deadline = _deadline(request, record)
            cost = len(prompt_ids) + parameters.max_tokens * parameters.n
            client = stack.enter_context(model.admit(cost))
            record.num_prompt_tokens = len(prompt_ids)
            detokenizer = Detokenizer(
                model.folder.token_bytes,
                stop=parameters.stop,
                min_tokens=parameters.min_tokens,
            )
            submit = _submit(prompt_ids, parameters, model)
            async with aclosing(client.stream(submit, deadline=deadline)) as batches:
                async for batch in batches:
                    now = time.monotonic()
                    record.started_at = record.started_at or now
                    if batch.token_ids:
                        record.first_token_at = record.first_token_at or now
                    piece, reason = _decode(detokenizer, batch.token_ids, batch.finish)
                    record.num_completion_tokens += len(piece.token_ids)
                    if reason is not None:
                        yield TextPiece(
                            0,
                            piece.text,
                            piece.token_ids,
                            finish_reason=reason,
                            summary=_summary(record, parameters, len(prompt_ids), client.loaded),
                        )
                        return
                    if piece.text or piece.token_ids:
                        yield TextPiece(0, piece.text, piece.token_ids)

    async def encode(
        self, text: str, model: ServedModel, *, parse_special_tokens: bool, field: str
    ) -> list[int]:
        """The ids of a text, computed beside the event loop when it is long.

        Raises:
            RequestError: The text is no Unicode text.
        """
        tokenizer = model.folder.tokenizer
        try:
            if len(text) <= INLINE_TEXT_CHARACTERS:
                return tokenizer.encode(text, parse_special_tokens=parse_special_tokens)
            return await asyncio.to_thread(
                tokenizer.encode, text, parse_special_tokens=parse_special_tokens
            )
        except TokenizerError as error:
            raise invalid_value(field, "holds a lone surrogate, which is no character") from error

    async def _prompt_ids(self, request: GenerationRequest, model: ServedModel) -> list[int]:
        if (request.prompt is None) == (request.prompt_ids is None):
            raise invalid_value("prompt", "or prompt_ids must be given, and not both")
        context = model.context_tokens
        if request.prompt_ids is not None:
            if not request.prompt_ids:
                raise invalid_value("prompt_ids", "must hold at least one id")
            vocabulary = model.folder.vocabulary_size
            for token_id in request.prompt_ids:
                if not 0 <= token_id < vocabulary:
                    raise invalid_value(
                        "prompt_ids", f"must hold ids from 0 to {vocabulary - 1}, got {token_id}"
                    )
            ids = list(request.prompt_ids)
        else:
            assert request.prompt is not None
            if not request.prompt:
                raise invalid_value("prompt", "must not be empty")
            # No token is longer, so a text of more bytes cannot fit; counting its tokens exactly
            # would only cost time.
            fewest = len(request.prompt) // model.folder.max_token_bytes
            if fewest > context:
                raise _too_long("prompt", f"at least {fewest}", fewest, context)
            ids = [
                *model.folder.tokenizer.prefix_ids,
                *await self.encode(
                    request.prompt,
                    model,
                    parse_special_tokens=request.parse_special_tokens,
                    field="prompt",
                ),
            ]
            if not ids:
                raise invalid_value("prompt", "gives no tokens")
        if len(ids) > context:
            field = "prompt" if request.prompt is not None else "prompt_ids"
            raise _too_long(field, str(len(ids)), len(ids), context)
        return ids


def _draining() -> RequestError:
    return RequestError(ErrorKind.DRAINING, "the server is shutting down", retry_after_seconds=1)


def _too_long(field: str, stated: str, num_tokens: int, context: int) -> RequestError:
    return RequestError(
        ErrorKind.CONTEXT_LENGTH_EXCEEDED,
        f"{field} must be at most {context} tokens, the model's context; got {stated}",
        field=field,
        metadata={"n_prompt": str(num_tokens), "n_ctx": str(context)},
    )


def _deadline(request: GenerationRequest, record: RequestRecord) -> float:
    """The event loop's time at which the request ends, whichever limit is the earliest."""
    timeout = DEFAULT_TIMEOUT_SECONDS
    if request.timeout_seconds is not None:
        timeout = request.timeout_seconds
        if not 0 < timeout <= MAX_TIMEOUT_SECONDS:
            raise invalid_value(
                "timeout_seconds", f"must be above 0 up to {MAX_TIMEOUT_SECONDS}, got {timeout}"
            )
    deadline = record.received_at + timeout
    if request.deadline is not None:
        deadline = min(deadline, request.deadline)
    return asyncio.get_running_loop().time() + deadline - time.monotonic()


def _submit(prompt_ids: list[int], parameters: EffectiveParameters, model: ServedModel) -> Submit:
    return Submit(
        request_id=0,
        prompt_ids=prompt_ids,
        max_tokens=parameters.max_tokens,
        min_tokens=parameters.min_tokens,
        temperature=parameters.temperature,
        top_k=parameters.top_k,
        top_p=parameters.top_p,
        min_p=parameters.min_p,
        repetition_penalty=parameters.repetition_penalty,
        presence_penalty=parameters.presence_penalty,
        frequency_penalty=parameters.frequency_penalty,
        seed=parameters.seed,
        end_token_ids=() if parameters.ignore_eos else model.folder.end_token_ids,
        stop_token_ids=parameters.stop_token_ids,
        logit_bias=tuple(parameters.logit_bias.items()),
    )


def _decode(
    detokenizer: Detokenizer, token_ids: list[int], finish: EngineFinish | None
) -> tuple[DecodedPiece, FinishReason | None]:
    """The next piece, and why it is the last one when it is."""
    piece = detokenizer.push(token_ids)
    if piece.is_stopped:
        return piece, FinishReason.STOP
    if finish is None:
        return piece, None
    rest = detokenizer.finish()
    piece = DecodedPiece(piece.text + rest.text, piece.token_ids + rest.token_ids)
    return piece, FinishReason.STOP if rest.is_stopped else FinishReason(finish)


def _summary(
    record: RequestRecord, parameters: EffectiveParameters, num_prompt_tokens: int, loaded: Loaded
) -> Summary:
    assert record.model is not None
    assert record.model_version is not None
    now = time.monotonic()
    return Summary(
        id=record.request_id,
        model=record.model,
        model_version=record.model_version,
        system_fingerprint=f"eager-{loaded.device}-{loaded.dtype}",
        usage=Usage(num_prompt_tokens, record.num_completion_tokens),
        parameters=parameters,
        timings=Timings(
            record.since_received(record.started_at) or 0.0,
            record.since_received(record.first_token_at),
            now - record.received_at,
        ),
    )
