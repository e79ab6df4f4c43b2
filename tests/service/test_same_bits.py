"""A request gives the same tokens and logprobs, bit by bit, whatever happens around it."""

import random

import pytest
from msgspec.structs import replace

from model.transformer import Transformer
from service.engine.block_allocator import BlockAllocator, Prefix
from tests.service.engine_runs import Heard, new_engine, new_model, requests, run


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


@pytest.mark.parametrize(
    ("temperature", "is_eager"), [(0.0, False), (0.8, False), (0.0, True), (0.8, True)]
)
def test_a_request_gives_the_same_bits_in_any_company(
    model: Transformer, temperature: float, is_eager: bool
) -> None:
    """H48, H49, H53, H62: neighbours, cuts, reused prefixes and pre-emption change nothing."""
    roomy = new_engine(model, max_running=5, is_eager=is_eager)
    together = run(roomy, requests(temperature))
    # Little more than the longest fits: the others are put back again and again.
    tight = new_engine(model, max_running=8, num_blocks=14, max_step_tokens=40, is_eager=is_eager)
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
        alone = run(new_engine(model, max_running=1, is_eager=is_eager), [request])
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
