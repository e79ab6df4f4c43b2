"""The engine over the real network, driven by hand, against the naive generator and itself."""

import itertools
import math
import random
from collections.abc import Iterable

import pytest
import torch
from msgspec.structs import replace

from model.config import ModelConfig
from model.generate import generate
from model.transformer import Transformer
from service.engine.block_allocator import BlockAllocator, Prefix
from service.engine.eager_executor import EagerExecutor
from service.engine.engine import Engine
from service.engine.messages import EngineFinish, Submit, TokenLogprob, TokenOutput

CONTEXT = 320
VOCABULARY = 61
Key = tuple[int, int]


@pytest.fixture(scope="module")
def model() -> Transformer:
    config = ModelConfig(
        vocab_size=VOCABULARY,
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


def new_engine(
    model: Transformer, *, max_running: int = 4, num_blocks: int = 80, max_step_tokens: int = 100
) -> Engine:
    executor = EagerExecutor(model, num_blocks=num_blocks, deterministic=True)
    return Engine(executor, max_running=max_running, max_step_tokens=max_step_tokens)


class Heard:
    """What came out for each choice of each request."""

    def __init__(self) -> None:
        self.tokens: dict[Key, list[int]] = {}
        self.logprobs: dict[Key, list[TokenLogprob]] = {}
        self.prompts: dict[Key, list[TokenLogprob | None]] = {}
        self.ends: dict[Key, EngineFinish] = {}

    def take(self, outputs: Iterable[TokenOutput]) -> None:
        for output in outputs:
            key = (output.request_id, output.choice)
            assert key not in self.ends, "something came after the end"
            self.tokens.setdefault(key, []).extend(output.token_ids)
            if output.logprobs is not None:
                assert len(output.logprobs) == len(output.token_ids)
                self.logprobs.setdefault(key, []).extend(output.logprobs)
            if output.prompt_logprobs is not None:
                assert key not in self.prompts
                self.prompts[key] = output.prompt_logprobs
            if output.finish is not None:
                self.ends[key] = output.finish


def run(engine: Engine, requests: Iterable[Submit]) -> Heard:
    """All that comes of some requests that arrive one per step."""
    arriving = list(requests)
    heard = Heard()
    while arriving or engine.has_work:
        if arriving:
            engine.submit(arriving.pop(0))
        heard.take(engine.step().outputs)
        engine.check_conservation()
    assert engine.is_empty
    return heard


def requests(temperature: float, *, sizes: Iterable[int] | None = None) -> list[Submit]:
    """Prompts of all kinds of lengths, about blocks and pieces; some begin alike."""
    if sizes is None:
        sizes = (1, 2, 16, 17, 64, 150, 5, 90, 33)
    return [
        Submit(
            request_id=number,
            prompt_ids=[(7 * (number % 2) + place * place) % VOCABULARY for place in range(size)],
            max_tokens=16,
            temperature=temperature,
            seed=number,
            top_k=20 if number % 2 else 0,
            logprobs=number % 3,
        )
        for number, size in enumerate(sizes, start=1)
    ]


def test_greedy_tokens_are_those_of_the_naive_generator(model: Transformer) -> None:
    """Whatever shares the batch, and however the prompt was cut."""
    heard = run(new_engine(model), requests(0.0))
    for request in requests(0.0):
        expected = list(generate(model, request.prompt_ids, max_tokens=16, temperature=0.0))
        key = (request.request_id, 0)
        assert heard.tokens[key] == expected, key
        assert heard.ends[key] is EngineFinish.LENGTH


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_request_gives_the_same_bits_in_any_company(
    model: Transformer, temperature: float
) -> None:
    """H48, H49, H53, H62: neighbours, cuts, reused prefixes and pre-emption change nothing."""
    roomy = new_engine(model, max_running=5)
    together = run(roomy, requests(temperature))
    # Little more than the longest fits: the others are put back again and again.
    tight = new_engine(model, max_running=8, num_blocks=14, max_step_tokens=40)
    squeezed = run(tight, requests(temperature))
    again = run(roomy, requests(temperature))
    for engine, name in (
        (roomy, "num_reused_tokens"),
        (roomy, "num_chunked_prompts"),
        (roomy, "num_mixed_steps"),
        (tight, "num_preemptions"),
    ):
        assert getattr(engine.counters, name) > 0, name
    for request in requests(temperature):
        alone = run(new_engine(model, max_running=1), [request])
        key = (request.request_id, 0)
        for heard in (together, squeezed, again):
            assert heard.tokens[key] == alone.tokens[key], key
            assert heard.logprobs[key] == alone.logprobs[key], key


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_around_a_request_its_bits_stay(model: Transformer, seed: int) -> None:
    """H48, H137, interfaces 67: neighbours come, go, are cancelled and paused at random."""
    chance = random.Random(seed)
    subjects = requests(0.8, sizes=[chance.randrange(1, 120) for _ in range(4)])
    neighbours = [
        replace(each, request_id=100 + each.request_id, num_choices=chance.choice([1, 3]))
        for each in requests(1.0, sizes=[chance.randrange(1, 150) for _ in range(8)])
    ]
    arriving = [*subjects, *neighbours]
    chance.shuffle(arriving)
    engine = new_engine(model, max_running=6, num_blocks=13, max_step_tokens=40)
    heard = Heard()
    while arriving or engine.has_work:
        if arriving:
            engine.submit(arriving.pop())
        other = 100 + chance.randrange(1, 9)
        if chance.random() < 0.1:
            engine.cancel(other, choice=chance.choice([None, 0, 1]))
        engine.set_paused(other, is_paused=chance.random() < 0.5 and bool(arriving))
        heard.take(engine.step().outputs)
        engine.check_conservation()
        if not arriving:
            for each in neighbours:
                engine.set_paused(each.request_id, is_paused=False)
    assert engine.counters.num_preemptions > 0
    for each in subjects:
        alone = run(new_engine(model), [each])
        assert heard.tokens[each.request_id, 0] == alone.tokens[each.request_id, 0]
        assert heard.logprobs.get((each.request_id, 0)) == alone.logprobs.get((each.request_id, 0))


def test_a_cache_that_confuses_beginnings_would_be_noticed(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the tests above."""
    subjects = requests(0.8, sizes=[100, 100, 100])
    alone = [run(new_engine(model), [each]).tokens for each in subjects]

    def find_any(allocator: BlockAllocator, prefix: Prefix) -> int | None:
        return next(iter(allocator._published), None)  # pyright: ignore[reportPrivateUsage]

    monkeypatch.setattr(BlockAllocator, "find", find_any)
    monkeypatch.setattr(BlockAllocator, "check_conservation", lambda *_: None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    together = run(new_engine(model), subjects).tokens
    assert together != {key: tokens for each in alone for key, tokens in each.items()}


def test_choices_share_the_prompt_and_differ_in_their_random_numbers(model: Transformer) -> None:
    (request,) = requests(0.9, sizes=[100])
    engine = new_engine(model, max_running=8)
    heard = run(engine, [replace(request, num_choices=4)])
    # Six full blocks of the prompt, for three choices.
    assert engine.counters.num_reused_tokens == 3 * 96
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
            cache = executor._cache  # pyright: ignore[reportPrivateUsage]
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
