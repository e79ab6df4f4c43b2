"""Inspected requests in an engine: what is told is what happened, and nothing else changes."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import pytest

from service.engine.engine import Engine
from service.engine.given_text import resample
from service.engine.messages import EngineFinish, Submit
from service.engine.request_table import UnsupportedRequestError
from service.engine.trace_messages import (
    STAGE_NAMES,
    Inspection,
    Resample,
    SamplingSettings,
    TokenTrace,
)
from tests.service.remembering_executor import VOCABULARY, RememberingExecutor

Key = tuple[int, int]


def asked(**parameters: object) -> Submit:
    """A request with some parameters of its own."""
    base: dict[str, object] = {"request_id": 0, "prompt_ids": [], "max_tokens": 8}
    return msgspec.convert(base | parameters | {"type": "Submit"}, Submit)


ASKED = [
    asked(temperature=1.3),
    asked(temperature=0.0),
    asked(top_k=3, temperature=2.0),
    asked(top_p=0.7),
    asked(min_p=0.2, top_k=9),
    asked(repetition_penalty=1.8, presence_penalty=0.5, frequency_penalty=0.3),
    asked(logit_bias=((3, 4.0), (5, -100.0)), top_p=0.9),
    asked(min_tokens=4, end_token_ids=tuple(range(8)), temperature=1.5),
    asked(end_token_ids=tuple(range(12)), stop_token_ids=(20, 21)),
    asked(num_choices=3, logprobs=2),
]


def new_engine(*, num_blocks: int = 60) -> Engine:
    return Engine(RememberingExecutor(num_blocks=num_blocks), max_running=4, max_step_tokens=64)


def requests(inspect: Inspection | None) -> list[Submit]:
    return [
        msgspec.structs.replace(
            request,
            request_id=number,
            prompt_ids=[(number * place) % VOCABULARY for place in range(1, 5 + 3 * number)],
            seed=number,
            inspect=inspect,
        )
        for number, request in enumerate(ASKED, start=1)
    ]


@dataclass
class Heard:
    """What came of some requests, by request and choice."""

    tokens: dict[Key, list[int]] = field(default_factory=dict[Key, list[int]])
    ends: dict[Key, EngineFinish] = field(default_factory=dict[Key, EngineFinish])
    logprobs: dict[Key, list[object]] = field(default_factory=dict[Key, list[object]])
    traces: dict[Key, list[TokenTrace]] = field(default_factory=dict[Key, list[TokenTrace]])
    text_traces: dict[Key, list[TokenTrace]] = field(default_factory=dict[Key, list[TokenTrace]])


def run(engine: Engine, submitted: Iterable[Submit]) -> Heard:
    heard = Heard()
    for request in submitted:
        engine.submit(request)
    while engine.has_work:
        for output in engine.step().outputs:
            key = (output.request_id, output.choice)
            heard.tokens.setdefault(key, []).extend(output.token_ids)
            heard.logprobs.setdefault(key, []).extend(output.logprobs or [])
            heard.traces.setdefault(key, []).extend(output.traces or [])
            heard.text_traces.setdefault(key, []).extend(output.prompt_traces or [])
            if output.finish is not None:
                heard.ends[key] = output.finish
        engine.check_conservation()
    return heard


def unpacked(kind: str, data: bytes) -> list[float]:
    return [value for (value,) in struct.iter_unpack(f"<{kind}", data)]


def rows(data: bytes, length: int) -> list[list[float]]:
    values = unpacked("d", data)
    return [values[start : start + length] for start in range(0, len(values), length)]


def check(trace: TokenTrace) -> None:
    """All that holds of any trace."""
    ids = [int(each) for each in unpacked("I", trace.candidate_ids)]
    shares = rows(trace.probabilities, len(ids))
    assert len(trace.stages) == len(shares) == len(STAGE_NAMES)
    for stage, row in zip(trace.stages, shares, strict=True):
        assert abs(sum(row) + stage.other_probability - 1.0) < 1e-6
        assert sum(share > 0 for share in row) <= stage.num_kept <= VOCABULARY
        assert -1e-12 <= stage.entropy_bits <= 8
    starts, ends = rows(trace.lines, len(ids))
    drawn = ids.index(trace.drawn_id)
    assert starts[drawn] <= trace.random_word / 2**32 < ends[drawn]
    for start, end, share in zip(starts, ends, shares[-1], strict=True):
        assert end - start == pytest.approx(share, abs=1e-12)
    place = ids.index(trace.token_id)
    assert shares[-1][place] == trace.probability
    assert 2**-trace.surprise_bits == pytest.approx(shares[0][place])
    logits = unpacked("f", trace.candidate_logits)
    assert sorted(logits, reverse=True) == logits
    if place < trace.rank - 1:
        assert trace.rank > 5, "only what is no candidate by itself stands before its rank"


def test_what_is_told_is_what_the_request_gets_without_being_told() -> None:
    """Whatever the parameters: tokens, ends, logprobs, and one trace for each choice made."""
    plain = run(new_engine(), requests(None))
    shown = run(new_engine(), requests(Inspection(5, wants_logits=True)))
    assert (shown.tokens, shown.ends, shown.logprobs) == (
        plain.tokens,
        plain.ends,
        plain.logprobs,
    )
    assert not any(plain.traces.values())
    prompts = {each.request_id: each.prompt_ids for each in requests(None)}
    assert EngineFinish.END_OF_TEXT in shown.ends.values()
    for key, traces in shown.traces.items():
        for trace in traces:
            check(trace)
            assert trace.token_id == trace.drawn_id
            assert len(trace.logits) == 4 * VOCABULARY
        ids = [trace.token_id for trace in traces]
        if shown.ends[key] is not EngineFinish.LENGTH:
            # The token that ended the text is no part of it.
            assert ids.pop() not in shown.tokens[key][len(ids) :]
        assert ids == shown.tokens[key]
        start = len(prompts[key[0]])
        assert [trace.position for trace in traces] == list(range(start, start + len(traces)))


def test_a_text_is_inspected_as_it_was_when_it_was_made() -> None:
    """The same traces, token by token; also from the middle on."""
    for request in requests(Inspection(5)):
        if request.num_choices > 1:
            continue
        key = (request.request_id, 0)
        made = run(new_engine(), [request])
        text = [*request.prompt_ids, *made.tokens[key]]
        for first in (len(request.prompt_ids), len(request.prompt_ids) + 3):
            if first >= len(text):
                continue
            inspect = Inspection(5, first_position=first, num_prompt_ids=len(request.prompt_ids))
            reading = msgspec.structs.replace(
                request, prompt_ids=text, max_tokens=0, inspect=inspect
            )
            read = run(new_engine(), [reading])
            assert read.ends[key] is EngineFinish.LENGTH
            num_before = first - len(request.prompt_ids)
            assert read.text_traces[key] == made.traces[key][num_before : len(made.tokens[key])]


def test_a_choice_is_made_again_from_its_logits_as_it_was_made() -> None:
    """And otherwise with another seed or temperature, however many are asked for at once."""
    for request in requests(Inspection(5, wants_logits=True)):
        made = run(new_engine(), [request])
        for (_, choice), traces in made.traces.items():
            trace = traces[-1]
            ids = [*request.prompt_ids, *made.tokens[request.request_id, choice]]
            own = msgspec.convert(
                msgspec.structs.asdict(request), SamplingSettings, from_attributes=True
            )
            greedy = msgspec.structs.replace(own, temperature=0.0)
            question = Resample(
                logits=trace.logits,
                token_ids=ids[: trace.position],
                num_prompt_ids=len(request.prompt_ids),
                choice=choice,
                settings=[own, greedy, own, greedy, own, own],
                inspection=Inspection(5, wants_logits=True),
            )
            parts = list(resample(question))
            assert len(parts) == 2
            again = [each for part in parts for each in part]
            assert again[0] == again[2] == again[4] == again[5] == trace
            assert again[1] == again[3]
            assert again[1].probability == 1.0
            for each in again:
                check(each)


def test_a_text_of_others_shows_what_would_have_been_chosen() -> None:
    text = [3, 1, 4, 1, 5, 9, 2, 6] * 6
    reading = Submit(
        request_id=1, prompt_ids=text, max_tokens=0, inspect=Inspection(5, first_position=1)
    )
    traces = run(new_engine(), [reading]).text_traces[1, 0]
    for trace in traces:
        check(trace)
    assert [trace.token_id for trace in traces] == text[1:]
    assert any(trace.drawn_id != trace.token_id for trace in traces)
    assert any(trace.rank > 5 for trace in traces)


def test_what_an_engine_cannot_inspect_is_refused() -> None:
    engine = new_engine()
    for position, max_tokens in ((0, 0), (3, 0), (1, 4)):
        with pytest.raises(UnsupportedRequestError):
            engine.submit(
                Submit(
                    request_id=1,
                    prompt_ids=[1, 2, 3],
                    max_tokens=max_tokens,
                    inspect=Inspection(5, first_position=position),
                )
            )
    assert engine.is_empty
