"""The engine, driven by hand, against the naive generator and against itself."""

import math
from collections.abc import Iterable

import pytest
import torch
from msgspec.structs import replace

from model.config import ModelConfig
from model.generate import generate
from model.transformer import Transformer
from service.engine.engine import Engine
from service.engine.messages import EngineFinish, Submit
from service.engine.runner import Runner
from service.engine.scheduler import PROMPT_CHUNK_TOKENS

CONTEXT = 700


@pytest.fixture(scope="module")
def model() -> Transformer:
    config = ModelConfig(
        vocab_size=61,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        max_position_embeddings=CONTEXT,
    )
    model = Transformer(config).eval().requires_grad_(False)
    model.initialize(torch.Generator().manual_seed(3))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(5)
    return model


def new_engine(model: Transformer, num_slots: int = 4) -> Engine:
    return Engine(Runner(model, num_slots=num_slots, max_tokens=CONTEXT), num_slots=num_slots)


def run(
    engine: Engine, requests: Iterable[Submit]
) -> tuple[dict[int, list[int]], dict[int, EngineFinish]]:
    """All tokens and ends of some requests that arrive one per step."""
    arriving = list(requests)
    tokens: dict[int, list[int]] = {request.request_id: [] for request in arriving}
    ends: dict[int, EngineFinish] = {}
    while arriving or engine.has_work:
        if arriving:
            engine.submit(arriving.pop(0))
        for output in engine.step().outputs:
            assert output.request_id not in ends
            tokens[output.request_id] += output.token_ids
            if output.finish is not None:
                ends[output.request_id] = output.finish
        engine.check_conservation()
    return tokens, ends


def requests(temperature: float) -> list[Submit]:
    """Prompts of all kinds of lengths, chunked ones among them."""
    sizes = (1, 2, 3, 17, PROMPT_CHUNK_TOKENS, PROMPT_CHUNK_TOKENS + 1, 600, 5, 64)
    return [
        Submit(
            request_id=number,
            prompt_ids=[(7 * number + place * place) % 61 for place in range(size)],
            max_tokens=30,
            temperature=temperature,
            seed=number,
            top_k=20 if number % 2 else 0,
        )
        for number, size in enumerate(sizes, start=1)
    ]


def test_greedy_tokens_are_those_of_the_naive_generator(model: Transformer) -> None:
    """Whatever shares the batch, and however the prompt was cut."""
    tokens, ends = run(new_engine(model), requests(0.0))
    for request in requests(0.0):
        expected = list(generate(model, request.prompt_ids, max_tokens=30, temperature=0.0))
        assert tokens[request.request_id] == expected, request.request_id
        assert ends[request.request_id] is EngineFinish.LENGTH


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_request_gives_the_same_tokens_in_any_batch(
    model: Transformer, temperature: float
) -> None:
    """H48, H49, H137."""
    together, _ = run(new_engine(model, 5), requests(temperature))
    for request in requests(temperature):
        alone, _ = run(new_engine(model, 1), [request])
        assert alone[request.request_id] == together[request.request_id], request.request_id


def test_a_text_continued_in_two_requests_is_the_text_of_one(model: Transformer) -> None:
    """The random number belongs to the place in the text."""
    whole, _ = run(
        new_engine(model), [Submit(request_id=1, prompt_ids=[5, 9], max_tokens=20, seed=4)]
    )
    second = Submit(request_id=1, prompt_ids=[5, 9, *whole[1][:8]], max_tokens=12, seed=4)
    rest, _ = run(new_engine(model), [second])
    assert rest[1] == whole[1][8:]


def test_end_and_stop_tokens_end_the_text_and_are_not_part_of_it(model: Transformer) -> None:
    request = Submit(request_id=1, prompt_ids=[5], max_tokens=30, seed=2)
    (tokens,) = run(new_engine(model), [request])[0].values()
    end = tokens[9]
    cut = tokens[: tokens.index(end)]
    for changed, finish in (
        (replace(request, end_token_ids=(end,)), EngineFinish.END_OF_TEXT),
        (replace(request, stop_token_ids=(end,)), EngineFinish.STOP),
    ):
        assert run(new_engine(model), [changed]) == ({1: cut}, {1: finish})


def test_a_cancelled_request_gives_nothing_more_and_frees_its_slot(model: Transformer) -> None:
    """H57: waiting, computing its prompt, continuing, finished."""
    engine = new_engine(model, 1)
    for request_id in (1, 2):
        engine.submit(Submit(request_id=request_id, prompt_ids=[1] * 600, max_tokens=50))
    engine.cancel(2)
    engine.step()
    engine.cancel(1)
    engine.check_conservation()
    assert not engine.has_work
    engine.submit(Submit(request_id=3, prompt_ids=[4], max_tokens=5))
    engine.step()
    engine.cancel(3)
    engine.cancel(3)
    engine.check_conservation()
    tokens, _ = run(engine, [Submit(request_id=4, prompt_ids=[4], max_tokens=5, temperature=0.0)])
    assert tokens[4] == list(generate(model, [4], max_tokens=5, temperature=0.0))


def test_a_poisoned_request_ends_alone_and_its_slot_is_clean_for_the_next(
    model: Transformer,
) -> None:
    """H45, H46, H47: NaN in the cache of one sequence reaches nobody else, now or later."""
    runner = Runner(model, num_slots=3, max_tokens=CONTEXT)
    engine = Engine(runner, num_slots=3)
    subjects = [
        Submit(request_id=number, prompt_ids=[number] * 9, max_tokens=12, temperature=0.7)
        for number in (1, 2, 3)
    ]
    expected, _ = run(new_engine(model, 3), subjects)
    for subject in subjects:
        engine.submit(subject)
    tokens: dict[int, list[int]] = {1: [], 2: [], 3: []}
    ends: dict[int, EngineFinish | None] = {}
    for step in range(12):
        if step == 4:
            cache = runner._executor._cache  # pyright: ignore[reportPrivateUsage]
            second = slice(cache.values[0].shape[1] // 3, 2 * cache.values[0].shape[1] // 3)
            cache.values[0][:, second] = math.nan
        for output in engine.step().outputs:
            tokens[output.request_id] += output.token_ids
            ends[output.request_id] = output.finish
    assert ends == {
        1: EngineFinish.LENGTH,
        2: EngineFinish.NUMERICAL_ERROR,
        3: EngineFinish.LENGTH,
    }
    assert (tokens[1], tokens[3]) == (expected[1], expected[3])
    again, _ = run(engine, subjects)
    assert again == expected


def test_a_bad_row_of_the_sampler_ends_only_its_request(model: Transformer) -> None:
    """H45: an id that the front should have refused."""
    good = Submit(request_id=1, prompt_ids=[5], max_tokens=6, seed=1)
    bad = Submit(request_id=2, prompt_ids=[5], max_tokens=6, logit_bias=((10_000, 1.0),))
    tokens, ends = run(new_engine(model), [good, bad])
    assert ends[2] is EngineFinish.INTERNAL_ERROR
    assert tokens[1] == run(new_engine(model), [good])[0][1]
