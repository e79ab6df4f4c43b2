"""How well a served model predicts a text: loss, perplexity, bits per byte, token by token.

The text is cut into windows as `nextword-train evaluate` cuts it, each token is scored once, and
every window is a request to the engine that serves the model, in its turn among the others.
Torch-free.
"""

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from service.bounded_threads import TEXTS
from service.engine.messages import ModelKind, Submit, TokenLogprob
from service.engine_link.engine_client import EngineClient
from service.errors import invalid_value
from service.glass_box.glass_box_values import GivenText, ScoreRequest, TextScore, TokenSurprise
from service.glass_box.score_windows import Window, score_windows
from service.glass_box.token_views import text_tokens
from service.glass_box.trace_views import ByteSpans
from service.models.model_store import ModelFolder
from service.models.served_models import ServedModel, ServedModels
from service.prompts import read_text_ids
from service.request_log import RequestRecord
from service.text_generator import in_time, loop_deadline_of

__all__ = ["MAX_SCORED_TOKENS", "MAX_TOKEN_SURPRISES", "score_text"]

MAX_SCORED_TOKENS = 2**18
MAX_TOKEN_SURPRISES = 2**14
# Ids of a text that wait for their window take as much memory as one token of a queued request,
# which is planned as a number in two processes and in a message between them.
WAITING_IDS_PER_TOKEN = 3
# What exp() can still tell; worse than that a model has only NaN to offer.
_MOST_NATS = 700.0


async def score_text(
    models: ServedModels, request: ScoreRequest, record: RequestRecord
) -> tuple[TextScore, ...]:
    """How well a model, or both models of a version, predict a text.

    Args:
        models: Those of the server.
        request: What to score, and with which of them.
        record: Filled in on the way.

    Raises:
        RequestError: It cannot be scored, or not now.
    """
    given = request.given
    with models.find(given.model).held() as model:
        record.model, record.model_version = model.folder.name, model.folder.version
        deadline = loop_deadline_of(given.limit, received_at=record.received_at)
        asked = models.both(model) if request.side_by_side else (model,)
        start_id = _start_id(model.folder)
        reading = read_text_ids(
            model,
            text=given.text,
            ids=given.ids,
            parse_special_tokens=given.parse_special_tokens,
            with_prefix=False,
            max_tokens=MAX_SCORED_TOKENS,
        )
        token_ids = await in_time(reading, deadline=deadline)
        if request.token_surprises and len(token_ids) > MAX_TOKEN_SURPRISES:
            raise invalid_value(
                "token_surprises",
                f"can be told of at most {MAX_TOKEN_SURPRISES} tokens, the text has "
                f"{len(token_ids)}",
            )
        for each in asked:
            _check_cost("text" if given.ids is None else "ids", len(token_ids), each)
        num_bytes = await _num_bytes(given, token_ids, model.folder)
        record.num_prompt_tokens = len(token_ids)
        scores: list[TextScore] = []
        for each in asked:
            nats: list[float] = []
            logprobs: list[TokenLogprob] = []
            asking = _by_window(each, token_ids, start_id, deadline=deadline, record=record)
            async with aclosing(asking) as found:
                async for some in found:
                    nats.append(-math.fsum(logprob.logprob for logprob in some))
                    if request.token_surprises:
                        logprobs += some
            score = _score(each, math.fsum(nats), num_tokens=len(token_ids), num_bytes=num_bytes)
            if request.token_surprises:
                score = replace(score, tokens=await _surprises(each.folder, token_ids, logprobs))
            scores.append(score)
        return tuple(scores)


def _start_id(folder: ModelFolder) -> int:
    """What stands before every text.

    Raises:
        RequestError: The model knows nothing of the kind.
    """
    prefix_ids, end_of_text_id = folder.tokenizer.prefix_ids, folder.tokenizer.end_of_text_id
    if prefix_ids:
        return prefix_ids[-1]
    if end_of_text_id is None:
        raise invalid_value(
            "model",
            f"{folder.name} has no token that begins a text, so the first one cannot be scored",
        )
    return end_of_text_id


async def _num_bytes(given: GivenText, token_ids: Sequence[int], folder: ModelFolder) -> int:
    """Bytes of the text.

    Raises:
        RequestError: There are none.
    """
    if given.text is not None:
        return len(given.text.encode("utf-8"))
    num_bytes = await TEXTS.run(lambda: ByteSpans(folder, token_ids).num_bytes)
    if num_bytes == 0:
        raise invalid_value("ids", "must stand for some text, but all of them are control tokens")
    return num_bytes


def _cost_tokens(model: ServedModel, num_tokens: int) -> int:
    """What a text takes: its window in the engine, or the rest of it that waits here."""
    return max(min(num_tokens, model.context_tokens), num_tokens // WAITING_IDS_PER_TOKEN)


def _check_cost(field: str, num_tokens: int, model: ServedModel) -> None:
    cost, most = _cost_tokens(model, num_tokens), model.plan.max_tokens
    if cost > most:
        raise invalid_value(
            field,
            f"asks for too much: {num_tokens} tokens take the room of {cost} of a request, the "
            f"server takes on {most} at once",
        )


async def _by_window(
    model: ServedModel,
    token_ids: Sequence[int],
    start_id: int,
    *,
    deadline: float,
    record: RequestRecord,
) -> AsyncGenerator[list[TokenLogprob]]:
    """How likely each token is given those before it, window by window."""
    num_before = 1
    if model.kind is ModelKind.NGRAM and model.folder.ngram is not None:
        num_before = max(1, min(model.folder.ngram.order - 1, model.context_tokens - 1))
    # One window at a time is computed, and the rest of the text waits meanwhile.
    with model.admit(_cost_tokens(model, len(token_ids))) as client:
        for window in score_windows(
            token_ids,
            start_id=start_id,
            context_tokens=model.context_tokens,
            num_before=num_before,
        ):
            found = await _ask(client, window, model.kind, deadline=deadline, record=record)
            yield [each for each in found[window.num_before :] if each is not None]


async def _ask(
    client: EngineClient,
    window: Window,
    kind: ModelKind,
    *,
    deadline: float,
    record: RequestRecord,
) -> list[TokenLogprob | None]:
    submit = Submit(
        request_id=0,
        prompt_ids=window.prompt_ids,
        max_tokens=0,
        logprobs=0,
        prompt_logprobs=True,
        following_id=window.last_id,
        salt=b"" if record.api_key is None else record.api_key.digest,
        kind=kind,
    )
    with client.open(submit, deadline=deadline) as stream:
        async for batch in stream:
            record.started_at = record.started_at or stream.started_at
            if batch.prompt_logprobs is not None:
                return batch.prompt_logprobs
    raise AssertionError("a request for logprobs ended without them")


def _score(model: ServedModel, nats: float, *, num_tokens: int, num_bytes: int) -> TextScore:
    total_bits = nats / math.log(2)
    return TextScore(
        model=model.folder.name,
        model_version=model.folder.version,
        kind=model.kind,
        num_tokens=num_tokens,
        num_bytes=num_bytes,
        nats_per_token=nats / num_tokens,
        perplexity=math.exp(min(nats / num_tokens, _MOST_NATS)),
        bits_per_byte=total_bits / num_bytes,
        total_bits=total_bits,
    )


async def _surprises(
    folder: ModelFolder, token_ids: Sequence[int], logprobs: Sequence[TokenLogprob]
) -> tuple[TokenSurprise, ...]:
    def told() -> tuple[TokenSurprise, ...]:
        return tuple(
            TokenSurprise(
                token=token.token,
                byte_start=token.byte_start,
                byte_end=token.byte_end,
                surprise_bits=-logprob.logprob / math.log(2),
                rank=logprob.rank,
            )
            for token, logprob in zip(text_tokens(folder, token_ids), logprobs, strict=True)
        )

    return await TEXTS.run(told)
