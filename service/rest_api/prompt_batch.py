"""Several prompts of one call, continued at the same time and closed together.

A piece waits until its reader has taken the one before, so that a slow reader slows every stream.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from service.generation import GenerationRequest, TextPiece
from service.request_log import RequestRecord
from service.text_generator import TextGenerator

__all__ = ["BatchPiece", "continue_prompts"]


@dataclass(frozen=True, slots=True)
class BatchPiece:
    """A piece of one of the prompts' streams.

    Attributes:
        prompt: Which prompt, from 0.
        record: What is noted of that prompt's stream so far.
    """

    prompt: int
    piece: TextPiece
    record: RequestRecord


async def continue_prompts(
    generator: TextGenerator, requests: Sequence[GenerationRequest], record: RequestRecord
) -> AsyncGenerator[BatchPiece]:
    """All streams as one, each in its own order.

    Args:
        generator: The core.
        requests: One for each prompt, at least one.
        record: Filled in on the way, with what all streams together took.

    Raises:
        RequestError: The first of a stream; the others end with it.
    """
    if len(requests) == 1:
        async with aclosing(generator.stream(requests[0], record)) as pieces:
            async for piece in pieces:
                yield BatchPiece(0, piece, record)
        return
    parts = [replace(record) for _ in requests]
    # One at a time: what is not taken stays with the engine, which knows how to wait.
    taken: asyncio.Queue[BatchPiece | Exception | None] = asyncio.Queue(maxsize=1)

    async def pump(prompt: int) -> None:
        try:
            async with aclosing(generator.stream(requests[prompt], parts[prompt])) as pieces:
                async for piece in pieces:
                    await taken.put(BatchPiece(prompt, piece, parts[prompt]))
        except Exception as error:
            await taken.put(error)
        else:
            await taken.put(None)

    pumps = [asyncio.create_task(pump(prompt)) for prompt in range(len(requests))]
    try:
        num_open = len(pumps)
        while num_open:
            match await taken.get():
                case None:
                    num_open -= 1
                case BatchPiece() as piece:
                    _sum_up(parts, record)
                    yield piece
                case error:
                    raise error
    finally:
        for task in pumps:
            task.cancel()
        # Each must have closed its stream before the call is over.
        await asyncio.wait(pumps)
        _sum_up(parts, record)


def _sum_up(parts: Sequence[RequestRecord], record: RequestRecord) -> None:
    """Write into the call's record what its prompts' streams have come to."""
    record.num_prompt_tokens = sum(part.num_prompt_tokens for part in parts)
    record.num_completion_tokens = sum(part.num_completion_tokens for part in parts)
    named = next((part for part in parts if part.model is not None), None)
    if named is not None:
        record.model, record.model_version = named.model, named.model_version
    record.started_at = _earliest(part.started_at for part in parts)
    record.first_token_at = _earliest(part.first_token_at for part in parts)


def _earliest(moments: Iterable[float | None]) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)
