"""Streams that come, leave, rest, run out of time and go wrong while a device draws ahead.

The device computes what is queued as late as its order allows, as a real one may.
"""

import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from model.transformer import Transformer
from service.engine.drawn_rows import DrawnRow
from service.engine.eager_executor import EagerExecutor
from service.engine.engine import Engine
from service.engine.executor import ChunkInput, ComputedStep
from service.engine.graph_executor import GraphExecutor
from service.engine.messages import EngineFinish, Submit
from tests.service import plain_kernels
from tests.service.engine_runs import CONTEXT, Heard, Key, new_model
from tests.service.plain_kernels import CountingRecorder

NUM_TEXTS = 6
MAX_TOKENS = 70
# Too few for four of the longest.
NUM_BLOCKS = 16


class LateDevice(GraphExecutor):
    """Goes on ahead only when somebody wants to hear of it, or has something else computed."""

    now = 0.0
    num_queued = 0
    _queued: Callable[[], None] | None = None

    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        self.catch_up()
        return super().compute(chunks)

    def clear_blocks(self, block_ids: Sequence[int]) -> None:
        self.catch_up()
        super().clear_blocks(block_ids)

    def draw_ahead(self, rows: Sequence[DrawnRow], *, num_steps: int) -> Iterator[list[int]]:
        self.catch_up()
        return self._timed(super().draw_ahead(rows, num_steps=num_steps))

    def draw_on(self, *, num_steps: int) -> Iterator[list[int]]:
        self.catch_up()
        drawn: list[list[int]] = []

        def compute() -> None:
            drawn.extend(GraphExecutor.draw_on(self, num_steps=num_steps))

        def heard() -> Iterator[list[int]]:
            if self._queued is compute:
                self.catch_up()
            yield from self._timed(iter(drawn))

        self.num_queued += 1
        self._queued = compute
        return heard()

    def catch_up(self) -> None:
        queued, self._queued = self._queued, None
        if queued is not None:
            queued()

    def _timed(self, drawn: Iterator[list[int]]) -> Iterator[list[int]]:
        for ids in drawn:
            self.now += 0.0024
            yield ids

    def poison(self, block_id: int) -> None:
        self._eager.kv_cache.values[1][:, block_id * self.block_tokens] = float("nan")


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


def text(
    number: int,
    *,
    request_id: int,
    timeout_seconds: float | None = None,
    logprobs: int | None = None,
) -> Submit:
    """One of some texts, which differ from their first token on."""
    return Submit(
        request_id=request_id,
        prompt_ids=[number + 1] + [number * 7 + 3] * (number * 9),
        max_tokens=MAX_TOKENS,
        temperature=0.7 * (number % 3),
        seed=number,
        timeout_seconds=timeout_seconds,
        logprobs=logprobs,
    )


@pytest.fixture(scope="module")
def undisturbed(model: Transformer) -> dict[int, list[int]]:
    """What becomes of each text without a device that draws ahead."""
    engine = Engine(EagerExecutor(model, num_blocks=80, deterministic=False), max_running=4)
    heard = Heard()
    for number in range(NUM_TEXTS):
        engine.submit(text(number, request_id=number))
    while engine.has_work:
        heard.take(engine.step().outputs)
    return {number: heard.tokens[number, 0] for number in range(NUM_TEXTS)}


@pytest.mark.parametrize("seed", range(3))
def test_everyone_gets_the_beginning_of_their_own_text_and_one_end(
    model: Transformer, undisturbed: dict[int, list[int]], seed: int
) -> None:
    device = LateDevice(
        model,
        num_blocks=NUM_BLOCKS,
        max_rows=4,
        context_tokens=min(CONTEXT, NUM_BLOCKS * 16),
        kernels=plain_kernels,
        recorder=CountingRecorder(),
    )
    engine = Engine(device, max_running=4, clock=lambda: device.now)
    chance, heard = random.Random(seed), Heard()
    numbers: dict[int, int] = {}
    cancelled: set[int] = set()
    poisoned: set[int] = set()
    for request_id in range(14):
        numbers[request_id] = number = chance.randrange(NUM_TEXTS)
        engine.submit(
            text(
                number,
                request_id=request_id,
                timeout_seconds=chance.choice([None, None, None, 0.02, 0.05]),
                logprobs=chance.choice([None, None, None, seed % 2]) or None,
            )
        )
        for _ in range(chance.randrange(1, 7)):
            other = chance.randrange(request_id + 1)
            match chance.randrange(8):
                case 0:
                    engine.cancel(other)
                    cancelled.add(other)
                case 1 | 2:
                    engine.set_paused(other, is_paused=chance.random() < 0.6)
                case 3 if chance.random() < 0.3:
                    scheduler = engine._scheduler  # pyright: ignore[reportPrivateUsage]
                    for sequence in scheduler.sequences():
                        if sequence.request_id == other and sequence.block_ids:
                            device.poison(sequence.block_ids[0])
                            poisoned.add(numbers[other])
                case _:
                    pass
            heard.take(engine.step().outputs)
            engine.check_conservation()
    for request_id in numbers:
        engine.set_paused(request_id, is_paused=False)
    for _ in range(1000):
        if not engine.has_work:
            break
        heard.take(engine.step().outputs)
        engine.check_conservation()
    assert engine.is_empty
    assert engine.num_free_blocks == NUM_BLOCKS
    assert device.num_queued > 5
    for request_id, number in numbers.items():
        key: Key = (request_id, 0)
        tokens, end = heard.tokens.get(key, []), heard.ends.get(key)
        whole = undisturbed[number]
        assert tokens == whole[: len(tokens)], request_id
        match end:
            case EngineFinish.LENGTH:
                assert tokens == whole
            case EngineFinish.NUMERICAL_ERROR:
                assert number in poisoned
            case EngineFinish.DEADLINE:
                pass
            case _:
                assert end is None
                assert request_id in cancelled
