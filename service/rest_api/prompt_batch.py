"""Several prompts of one call: accepted together or not at all, run at the same time.

A piece waits until its reader has taken the one before, so that a slow reader slows every stream.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace

import msgspec

from service.errors import ErrorKind, RequestError
from service.generation import GenerationRequest, TextPiece
from service.outlet import Outlet
from service.parameters import check_num_reports, num_reports
from service.prepared_generation import PreparedGeneration
from service.request_log import RequestRecord
from service.text_generator import TextGenerator

__all__ = ["BatchPiece", "continue_prompts"]

# So often may another version take over between two prompts of a call before it is refused.
MAX_PREPARATIONS = 3


class BatchPiece(msgspec.Struct, frozen=True):
    """A piece of one of the prompts' streams; a Struct, since there is one for each message.

    Attributes:
        prompt: Which prompt, from 0.
        prepared: What was accepted for that prompt.
        record: What is noted of the whole call so far.
    """

    prompt: int
    piece: TextPiece
    prepared: PreparedGeneration
    record: RequestRecord


async def continue_prompts(
    generator: TextGenerator,
    requests: Sequence[GenerationRequest],
    record: RequestRecord,
    outlet: Outlet[BatchPiece] | None = None,
) -> AsyncGenerator[BatchPiece]:
    """All streams as one, each in its own order. Closing it closes all.

    Args:
        generator: The core.
        requests: One for each prompt, at least one.
        record: Filled in on the way, with what all streams together took.
        outlet: Where pieces of a single prompt may go instead.

    Raises:
        RequestError: One of the prompts cannot be served, before anything is computed; or the
            first error of a stream, with which the others end.
    """
    parts = [record] if len(requests) == 1 else [replace(record) for _ in requests]
    with ExitStack() as stack:
        try:
            prompts = await _prepare(generator, requests, parts, stack)
        finally:
            _sum_up(parts, record)
        if len(prompts) == 1:
            own = None if outlet is None else _before(outlet, prompts[0], record)
            async with aclosing(prompts[0].pieces(own)) as pieces:
                async for piece in pieces:
                    yield BatchPiece(0, piece, prompts[0], record)
            return
        async with aclosing(_interleave(prompts)) as taken:
            try:
                async for prompt, piece in taken:
                    _sum_up(parts, record)
                    yield BatchPiece(prompt, piece, prompts[prompt], record)
            finally:
                _sum_up(parts, record)


def _before(
    outlet: Outlet[BatchPiece], prepared: PreparedGeneration, record: RequestRecord
) -> Outlet[TextPiece]:
    put_piece = outlet.put

    def put(piece: TextPiece) -> None:
        put_piece(BatchPiece(0, piece, prepared, record))

    return Outlet(outlet.is_open, put)


async def _prepare(
    generator: TextGenerator,
    requests: Sequence[GenerationRequest],
    parts: Sequence[RequestRecord],
    stack: ExitStack,
) -> list[PreparedGeneration]:
    """Have every prompt accepted, all by one version of the model.

    Raises:
        RequestError: One is not, all together report too much, or versions change too fast.
    """
    for _ in range(MAX_PREPARATIONS):
        with ExitStack() as attempt:
            prompts: list[PreparedGeneration] = []
            num_reported = 0
            for request, part in zip(requests, parts, strict=True):
                prompt = attempt.enter_context(
                    await generator.prepare(
                        request,
                        part,
                        num_prompts=len(requests),
                        held_tokens=sum(each.cost_tokens for each in prompts),
                    )
                )
                num_reported += num_reports(
                    prompt.parameters, num_prompt_tokens=prompt.num_prompt_tokens
                )
                check_num_reports(num_reported)
                prompts.append(prompt)
            if len({(prompt.model_name, prompt.model_version) for prompt in prompts}) == 1:
                stack.enter_context(attempt.pop_all())
                return prompts
    raise RequestError(
        ErrorKind.ENGINE_UNAVAILABLE,
        "the model is being replaced by another version",
        retry_after_seconds=1,
    )


async def _interleave(
    prompts: Sequence[PreparedGeneration],
) -> AsyncGenerator[tuple[int, TextPiece]]:
    """Run all prompts; their pieces as they come, each with the number of its prompt."""
    # One at a time: what is not taken stays with the core, which knows how to wait.
    taken: asyncio.Queue[tuple[int, TextPiece] | Exception | None] = asyncio.Queue(maxsize=1)

    async def run(number: int) -> None:
        try:
            async with aclosing(prompts[number].pieces()) as pieces:
                async for piece in pieces:
                    await taken.put((number, piece))
        except Exception as error:
            await taken.put(error)
        else:
            await taken.put(None)

    running = [asyncio.create_task(run(number)) for number in range(len(prompts))]
    try:
        num_open = len(running)
        while num_open:
            match await taken.get():
                case None:
                    num_open -= 1
                case Exception() as error:
                    raise error
                case numbered:
                    yield numbered
    finally:
        for task in running:
            task.cancel()
        # Each must have closed its stream before the call is over.
        await asyncio.wait(running)


def _sum_up(parts: Sequence[RequestRecord], record: RequestRecord) -> None:
    """Write into the call's record what its prompts' streams have come to."""
    if parts[0] is record:
        return
    record.num_prompt_tokens = sum(part.num_prompt_tokens for part in parts)
    record.num_completion_tokens = sum(part.num_completion_tokens for part in parts)
    record.model, record.model_version = parts[0].model, parts[0].model_version
    record.started_at = _earliest(part.started_at for part in parts)
    record.first_token_at = _earliest(part.first_token_at for part in parts)


def _earliest(moments: Iterable[float | None]) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)
