"""How the tokens of a given text might have been chosen, and how one would be chosen otherwise.

For models and values that were checked. Both are asked of the engine that serves the model, so what
is shown comes of the very stages that choose. Torch-free.
"""

import asyncio
from collections.abc import Sequence

from msgspec.structs import asdict

from service.engine.messages import Submit
from service.engine.questions import ResampleTraces
from service.engine.trace_messages import Inspection, Resample
from service.glass_box.asking import ask
from service.glass_box.inspection import InspectionRequest, TokenInspection
from service.glass_box.trace_views import ByteSpans, view_trace
from service.models.served_models import ServedModel
from service.parameters import EffectiveParameters
from service.request_log import RequestRecord
from service.sampling_settings import sampling_settings

__all__ = ["inspect_text", "resample"]


async def inspect_text(
    model: ServedModel,
    token_ids: Sequence[int],
    *,
    start: int,
    end: int,
    num_prompt_tokens: int,
    choice_index: int,
    parameters: EffectiveParameters,
    inspect: InspectionRequest,
    deadline: float,
    record: RequestRecord,
) -> tuple[TokenInspection, ...]:
    """What the model thought before each of some tokens of a text.

    Args:
        model: Held by the caller.
        token_ids: The text, at most the context.
        start: First position to inspect, at least 1.
        end: End of these positions, exclusive; above ``start``, at most the number of tokens.
        num_prompt_tokens: Tokens that count as the prompt.
        choice_index: Which continuation of the prompt the rest counts as.
        parameters: How tokens would be chosen.
        inspect: What to tell of each position.
        deadline: Loop time at which it is too late.
        record: Says whose request it is.

    Raises:
        RequestError: The engine cannot answer, or not now.
    """
    # What comes after the last position changes nothing before it.
    token_ids = token_ids[:end]
    record.num_prompt_tokens = end
    submit = Submit(
        request_id=0,
        prompt_ids=list(token_ids),
        max_tokens=0,
        inspect=Inspection(
            inspect.candidates, inspect.logits, start, num_prompt_tokens, choice_index
        ),
        salt=b"" if record.api_key is None else record.api_key.digest,
        kind=model.kind,
        **asdict(sampling_settings(parameters, model.folder)),
    )
    spans = ByteSpans(model.folder, token_ids[:start])
    inspections: list[TokenInspection] = []
    with model.admit(end) as client, client.open(submit, deadline=deadline) as stream:
        async for batch in stream:
            record.started_at = record.started_at or stream.started_at
            for trace in batch.prompt_traces or ():
                inspections.append(view_trace(trace, model.folder, spans.add(trace.token_id)))
                # A thousand candidates take a while; others have their turn.
                await asyncio.sleep(0)
    assert len(inspections) == end - start
    return tuple(inspections)


async def resample(
    model: ServedModel,
    *,
    logits: bytes,
    ids: Sequence[int],
    num_prompt_tokens: int,
    choice_index: int,
    parameters: Sequence[EffectiveParameters],
    inspect: InspectionRequest,
    deadline: float,
    record: RequestRecord,
) -> tuple[TokenInspection, ...]:
    """What each of some sets of parameters makes of the same logits; the model does not run.

    Args:
        model: Held by the caller.
        logits: f32 little-endian by token id, as many as the vocabulary has, without NaN,
            the largest finite.
        ids: What stands before the token, at least one.
        num_prompt_tokens: How many of them are the prompt.
        choice_index: Which continuation of the prompt it is.
        parameters: One set for each choice.
        inspect: What to tell of each.
        deadline: Loop time at which it is too late.
        record: Says whose request it is.

    Raises:
        RequestError: The engine cannot answer, or not now.
    """
    question = Resample(
        logits=logits,
        token_ids=list(ids),
        num_prompt_ids=num_prompt_tokens,
        choice=choice_index,
        settings=[sampling_settings(each, model.folder) for each in parameters],
        inspection=Inspection(inspect.candidates, inspect.logits),
    )
    answer = await ask(model, question, num_tokens=1, deadline=deadline, record=record)
    assert isinstance(answer, ResampleTraces)
    spans = ByteSpans(model.folder, ids)
    inspections: list[TokenInspection] = []
    for trace in answer.traces:
        inspections.append(view_trace(trace, model.folder, spans.next(trace.token_id)))
        # As above: others have their turn.
        await asyncio.sleep(0)
    return tuple(inspections)
