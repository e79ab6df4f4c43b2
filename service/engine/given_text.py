"""What the sampler would have done with logits at hand: for a given text, or once more otherwise.

Shape letters: T tokens, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from msgspec.structs import asdict, replace
from torch import Tensor

from service.engine.executor import Explain
from service.engine.messages import Submit
from service.engine.request import Sequence as TokenSequence
from service.engine.token_trace import trace_given
from service.engine.trace_messages import Resample, TokenTrace

__all__ = ["resample", "trace_text"]

# Choices made at once: together they take about as long as the sampler takes for a full batch.
_SETTINGS_AT_ONCE = 4


def trace_text(
    request: Submit, start: int, logits_TV: Tensor, explanations: Mapping[int, Explain]
) -> list[TokenTrace]:
    """How each of some consecutive tokens of a request's prompt would have been chosen or not.

    Args:
        request: Inspects its prompt.
        start: Position of the token that the first row of logits follows.
        logits_TV: Raw logits in f32. Rows that are followed by no inspected token are left out.
        explanations: Of an n-gram model, by row.

    Raises:
        NumericalError: The logits define no distribution.
    """
    inspection = request.inspect
    assert inspection is not None
    assert inspection.first_position is not None
    first = max(inspection.first_position, start + 1)
    end = min(len(request.prompt_ids), start + 1 + logits_TV.shape[0])
    num_prompt_ids = inspection.num_prompt_ids
    return [
        trace_given(
            logits_TV[position - start - 1],
            _text_before(
                request,
                request.prompt_ids[:position],
                num_prompt_ids=position if num_prompt_ids is None else num_prompt_ids,
                choice=inspection.choice,
            ),
            request.prompt_ids[position],
            inspection,
            explanations.get(position - start - 1),
        )
        for position in range(first, end)
    ]


def resample(question: Resample) -> Iterator[list[TokenTrace]]:
    """What each of some settings makes of the same logits, a few of them at a time.

    Raises:
        NumericalError: The logits define no distribution.
        ValueError: The settings name a token beyond the vocabulary.
    """
    logits_V = torch.frombuffer(bytearray(question.logits), dtype=torch.float32)
    for start in range(0, len(question.settings), _SETTINGS_AT_ONCE):
        yield [
            trace_given(
                logits_V,
                _text_before(
                    Submit(request_id=0, prompt_ids=[], max_tokens=1, **asdict(settings)),
                    question.token_ids,
                    num_prompt_ids=question.num_prompt_ids,
                    choice=question.choice,
                ),
                None,
                question.inspection,
            )
            for settings in question.settings[start : start + _SETTINGS_AT_ONCE]
        ]


def _text_before(
    request: Submit, token_ids: Sequence[int], *, num_prompt_ids: int, choice: int
) -> TokenSequence:
    """A sequence that has come as far as these tokens."""
    request = replace(request, prompt_ids=list(token_ids[:num_prompt_ids]))
    sequence = TokenSequence(request, choice=choice)
    sequence.token_ids = list(token_ids)
    return sequence
