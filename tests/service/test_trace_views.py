"""Traces as people read them: with the tokens they belong to, in bytes of the text."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch

from service.choice_text import ChoiceText
from service.engine.engine import Engine
from service.engine.messages import Submit
from service.engine.request import Sequence as TokenSequence
from service.engine.token_trace import trace_given
from service.engine.trace_messages import Inspection
from service.generation import FinishReason, TextPiece
from service.glass_box.inspection import SamplingStage
from service.glass_box.trace_views import ByteSpans, view_trace
from service.models.model_store import ModelFolder
from service.parameters import ModelDefaults, RequestedParameters, resolve_parameters
from tests.service.remembering_executor import VOCABULARY, RememberingExecutor

END = 0
# Halves of a euro sign, markup, a space before a word, and a control token without bytes.
UNUSUAL = [b"", b"\xe2\x82", b"\xac", b"<b>", b" king", b"\x00"]
PIECES = [*UNUSUAL, *(bytes([ord("a") + place]) for place in range(VOCABULARY - len(UNUSUAL)))]


@dataclass
class Tokenizer:
    strips_leading_space: bool = False
    control_tokens: dict[int, str] = field(default_factory=lambda: {END: "<|end|>"})


@dataclass
class Folder:
    """What views need of a model's folder."""

    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    token_bytes: Sequence[bytes] = tuple(PIECES)


def folder(*, strips_leading_space: bool = False) -> ModelFolder:
    return cast("ModelFolder", Folder(Tokenizer(strips_leading_space)))


def pieces_of(
    prompt_ids: list[int], *, seed: int, stop: tuple[str, ...], end_token_ids: tuple[int, ...]
) -> list[TextPiece]:
    """All pieces of one continuation, inspected as it is made."""
    submit = Submit(
        request_id=1,
        prompt_ids=prompt_ids,
        max_tokens=30,
        seed=seed,
        temperature=1.5,
        end_token_ids=end_token_ids,
        inspect=Inspection(4),
    )
    parameters = resolve_parameters(
        RequestedParameters(stop=stop),
        ModelDefaults(),
        num_prompt_tokens=len(prompt_ids),
        context_tokens=100,
        vocabulary_size=VOCABULARY,
    )
    text = ChoiceText(0, folder(), parameters, ByteSpans(folder(), prompt_ids))
    engine = Engine(RememberingExecutor(num_blocks=40), max_running=1)
    engine.submit(submit)
    pieces: list[TextPiece] = []
    while not text.is_finished:
        taken = map(text.take, engine.step().outputs)
        pieces += [piece for piece in taken if piece is not None]
    return pieces


def test_each_delivered_token_brings_its_inspection() -> None:
    """And the token that ended the text, which is not delivered, brings a marked one."""
    prompt_ids = [4, 1, 2, 3]
    reasons: set[FinishReason | None] = set()
    for seed, stop, end_token_ids in itertools.product(
        range(4), [(), ("ab", "c", "\u20ac")], [(), (END, 4, 6, 7)]
    ):
        pieces = pieces_of(prompt_ids, seed=seed, stop=stop, end_token_ids=end_token_ids)
        inspections = [each for piece in pieces for each in piece.inspections]
        ids = [token_id for piece in pieces for token_id in piece.token_ids]
        for piece in pieces[:-1]:
            assert len(piece.inspections) == len(piece.token_ids)
        reason = pieces[-1].finish_reason
        reasons.add(reason)
        assert [each.ends_text for each in inspections[: len(ids)]] == [False] * len(ids)
        assert [each.token.id for each in inspections[: len(ids)]] == ids
        if reason is FinishReason.END_OF_TEXT:
            (last,) = inspections[len(ids) :]
            assert last.ends_text
            assert last.token.id in end_token_ids
        else:
            assert len(inspections) == len(ids)
        place = len(b" king\xe2\x82\xac<b>")
        for number, each in enumerate(inspections):
            assert each.position == len(prompt_ids) + number
            assert (each.byte_start, each.byte_end) == (place, place + len(each.token.bytes))
            assert each.drawn_token == each.token
            place = each.byte_end
    assert reasons == set(FinishReason)


def test_the_first_space_of_a_text_is_no_byte_of_it_where_it_is_notation() -> None:
    spans = ByteSpans(folder(strips_leading_space=True), [END])
    assert [spans.add(token_id) for token_id in (4, 4, 2)] == [(0, 4), (4, 9), (9, 10)]


def viewed(logits: Sequence[float], request: Submit) -> dict[int, SamplingStage | None]:
    """Which stage removed each of all tokens, from the inspection that people get."""
    trace = trace_given(torch.tensor(logits), TokenSequence(request), None, Inspection(99))
    view = view_trace(trace, folder(), (0, 1))
    assert [stage.stage for stage in view.stages] == list(SamplingStage)
    assert [stage.other_probability for stage in view.stages] == [0.0] * len(SamplingStage)
    for candidate in view.candidates:
        can_come = candidate.removed_by is None and candidate.probabilities[0] > 0
        assert (candidate.line_end > candidate.line_start) == can_come
        is_banned = candidate.removed_by is SamplingStage.BIAS
        assert (candidate.changed_logit is None) == is_banned
        assert candidate.changed_logit is None or candidate.changed_logit >= -9999.0
        assert candidate.logit >= -9999.0
    return {each.token.id: each.removed_by for each in view.candidates}


def test_the_stage_that_cut_a_candidate_is_named() -> None:
    request = Submit(
        request_id=1,
        prompt_ids=[1],
        max_tokens=9,
        min_tokens=1,
        end_token_ids=(END,),
        temperature=0.5,
        top_k=4,
        top_p=0.97,
        min_p=0.2,
    )
    assert viewed([5.0, 4.0, 3.9, 3.6, 2.0, 1.0, -60.0, float("-inf")], request) == {
        0: SamplingStage.BIAS,
        1: None,
        2: None,
        3: None,
        4: SamplingStage.TOP_P,
        5: SamplingStage.TOP_K,
        6: SamplingStage.TEMPERATURE,
        # The model itself gives it nothing: no stage did.
        7: None,
    }


def test_halves_of_characters_and_control_tokens_are_readable() -> None:
    request = Submit(request_id=1, prompt_ids=[1], max_tokens=9, temperature=0.0)
    trace = trace_given(
        torch.arange(VOCABULARY, 0.0, -1.0), TokenSequence(request), None, Inspection(5)
    )
    texts = [each.token.text for each in view_trace(trace, folder(), (0, 1)).candidates]
    assert texts == ["<|end|>", "\\xE2\\x82", "\\xAC", "<b>", " king"]
