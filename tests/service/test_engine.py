"""The engine over the real network, driven by hand, against the naive generator."""

import itertools
import math

import pytest
import torch
from msgspec.structs import replace

from model.generate import generate
from model.transformer import Transformer
from service.engine.eager_executor import EagerExecutor
from service.engine.engine import Engine
from service.engine.messages import EngineFinish, Submit
from tests.service.engine_runs import VOCABULARY, Heard, Key, new_engine, new_model, requests, run


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


@pytest.fixture(scope="module")
def naive(model: Transformer) -> dict[Key, list[int]]:
    """What the naive generator says to ``requests(0.0)``."""
    return {
        (request.request_id, 0): list(
            generate(model, request.prompt_ids, max_tokens=16, temperature=0.0)
        )
        for request in requests(0.0)
    }


@pytest.mark.parametrize("is_eager", [True, False])
def test_greedy_tokens_are_those_of_the_naive_generator(
    model: Transformer, naive: dict[Key, list[int]], is_eager: bool
) -> None:
    """Whatever shares the batch, however prompts were cut, and with blocks used twice."""
    engine = new_engine(model, is_eager=is_eager)
    heard = run(engine, requests(0.0))
    assert heard.tokens == naive
    assert set(heard.ends.values()) == {EngineFinish.LENGTH}
    assert run(engine, requests(0.0)).tokens == naive
    assert engine.counters.num_reused_tokens > 0


def test_choices_share_the_prompt_and_differ_in_their_random_numbers(model: Transformer) -> None:
    (request,) = requests(0.9, sizes=[100])
    engine = new_engine(model, max_running=8)
    heard = run(engine, [replace(request, num_choices=4)])
    # Six full blocks of the prompt, for three choices.
    assert engine.counters.num_reused_tokens == 3 * 96
    assert engine.counters.num_computed_prompt_tokens == 4 * 100 - 3 * 96
    assert len({tuple(tokens) for tokens in heard.tokens.values()}) == 4
    assert heard.tokens[1, 0] == run(new_engine(model), [request]).tokens[1, 0]
    tight = new_engine(model, max_running=2, num_blocks=14)
    assert run(tight, [replace(request, num_choices=4)]).tokens == heard.tokens


def test_a_short_prompt_has_choices_too(model: Transformer) -> None:
    (request,) = requests(0.9, sizes=[3])
    heard = run(new_engine(model, max_running=2), [replace(request, num_choices=5)])
    assert set(heard.ends) == {(1, choice) for choice in range(5)}
    assert len({tuple(tokens) for tokens in heard.tokens.values()}) == 5


@pytest.mark.parametrize("size", [1, 2, 17, 130])
@pytest.mark.parametrize("max_tokens", [0, 3])
def test_logprobs_of_a_prompt_are_those_of_the_whole_text(
    model: Transformer, size: int, max_tokens: int
) -> None:
    """Although its blocks lie filled in the cache, and a pre-emption may come between."""
    (plain,) = requests(0.0, sizes=[size])
    request = replace(plain, prompt_logprobs=True, max_tokens=max_tokens, logprobs=2, num_choices=2)
    engine = new_engine(model)
    run(engine, [plain])
    heard = run(engine, [request])
    expected_TV = model(torch.tensor([request.prompt_ids])).log_softmax(-1)[0]
    assert list(heard.prompts) == [(1, 0)]
    first, *others = heard.prompts[1, 0]
    assert first is None
    assert len(others) == size - 1
    for place, found in enumerate(others):
        assert found is not None
        assert found.logprob == pytest.approx(
            float(expected_TV[place, request.prompt_ids[place + 1]]), abs=1e-4
        )
        assert len(found.top) == 2
    assert heard.ends == {(1, 0): EngineFinish.LENGTH, (1, 1): EngineFinish.LENGTH}
    assert [len(tokens) for tokens in heard.tokens.values()] == [max_tokens, max_tokens]


def test_a_text_continued_in_two_requests_is_the_text_of_one(model: Transformer) -> None:
    """The random number belongs to the place in the text."""
    first = Submit(request_id=1, prompt_ids=[5, 9], max_tokens=20, seed=4)
    whole = run(new_engine(model), [first]).tokens[1, 0]
    second = Submit(request_id=1, prompt_ids=[5, 9, *whole[:8]], max_tokens=12, seed=4)
    assert run(new_engine(model), [second]).tokens[1, 0] == whole[8:]


def test_end_and_stop_tokens_end_the_text_and_are_not_part_of_it(model: Transformer) -> None:
    request = Submit(request_id=1, prompt_ids=[5], max_tokens=30, seed=2)
    tokens = run(new_engine(model), [request]).tokens[1, 0]
    end = tokens[9]
    cut = tokens[: tokens.index(end)]
    for changed, finish in (
        (replace(request, end_token_ids=(end,)), EngineFinish.END_OF_TEXT),
        (replace(request, stop_token_ids=(end,)), EngineFinish.STOP),
    ):
        heard = run(new_engine(model), [changed])
        assert heard.tokens == {(1, 0): cut}
        assert heard.ends == {(1, 0): finish}


def test_a_paused_request_goes_on_where_it_was(model: Transformer) -> None:
    """Others run meanwhile, and may even take its blocks."""
    subject, neighbour = requests(0.7, sizes=[100, 200])
    expected = run(new_engine(model), [subject, neighbour]).tokens
    engine = new_engine(model, num_blocks=16)
    engine.submit(subject)
    heard = Heard()
    for _ in range(8):
        heard.take(engine.step().outputs)
    engine.set_paused(1, is_paused=True)
    assert not engine.has_work
    engine.submit(neighbour)
    while engine.has_work:
        heard.take(engine.step().outputs)
        engine.check_conservation()
    assert set(heard.ends) == {(2, 0)}
    assert engine.counters.num_preemptions == 1
    engine.set_paused(1, is_paused=False)
    while engine.has_work:
        heard.take(engine.step().outputs)
    assert heard.tokens == expected


def test_a_poisoned_request_ends_alone_and_its_blocks_are_clean_for_the_next(
    model: Transformer,
) -> None:
    """H45, H46, H47: NaN in the cache of one sequence reaches nobody else, now or later."""
    subjects = [
        Submit(request_id=number, prompt_ids=[number] * 40, max_tokens=12, temperature=0.7)
        for number in (1, 2, 3)
    ]
    expected = run(new_engine(model), subjects).tokens
    executor = EagerExecutor(model, num_blocks=30, deterministic=True)
    engine = Engine(executor, max_running=4)
    for subject in subjects:
        engine.submit(subject)
    heard = Heard()
    for step in itertools.count():
        if step == 6:
            cache = executor.kv_cache
            (sequence,) = engine._requests._sequences[2]  # pyright: ignore[reportPrivateUsage]
            start = sequence.block_ids[0] * executor.block_tokens
            cache.values[0][:, start : start + executor.block_tokens] = math.nan
        heard.take(engine.step().outputs)
        engine.check_conservation()
        if not engine.has_work:
            break
    assert heard.ends == {
        (1, 0): EngineFinish.LENGTH,
        (2, 0): EngineFinish.NUMERICAL_ERROR,
        (3, 0): EngineFinish.LENGTH,
    }
    assert heard.tokens[1, 0] == expected[1, 0]
    assert heard.tokens[3, 0] == expected[3, 0]
    reused_before = engine.counters.num_reused_tokens
    again = run(engine, subjects)
    assert again.tokens == expected
    assert engine.counters.num_reused_tokens == reused_before + 2 * 32, "only of the healthy two"


def test_a_bad_row_of_the_sampler_ends_only_its_request(model: Transformer) -> None:
    """H45: an id that the front should have refused."""
    good = Submit(request_id=1, prompt_ids=[5], max_tokens=6, seed=1)
    bad = Submit(request_id=2, prompt_ids=[5], max_tokens=6, logit_bias=((10_000, 1.0),))
    heard = run(new_engine(model), [good, bad])
    assert heard.ends[2, 0] is EngineFinish.INTERNAL_ERROR
    assert heard.tokens[1, 0] == run(new_engine(model), [good]).tokens[1, 0]


def test_a_prompt_that_cannot_be_computed_ends_only_its_request(model: Transformer) -> None:
    """H45: the whole step raises; its halves show whose fault it is."""
    good = Submit(request_id=1, prompt_ids=[5], max_tokens=9, seed=1)
    bad = Submit(request_id=2, prompt_ids=[VOCABULARY], max_tokens=6)
    heard = run(new_engine(model), [good, bad])
    assert heard.ends == {(1, 0): EngineFinish.LENGTH, (2, 0): EngineFinish.INTERNAL_ERROR}
    assert heard.tokens[1, 0] == run(new_engine(model), [good]).tokens[1, 0]
