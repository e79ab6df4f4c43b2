"""Several tokens of a stream in one go of the compiled kernels: the same texts, whoever comes."""

import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count

import pytest
import torch

from campaigns.broken_builds.sampler_in_torch import draw_nothing_natively
from model.transformer import Transformer
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.kernel_library import KernelError
from service.engine.drawn_natively import native_settings
from service.engine.drawn_rows import FAILED, NOT_COMPUTED, DrawnRow, DrawsAhead
from service.engine.engine import Engine
from service.engine.executor import ChunkInput
from service.engine.messages import EngineFinish, Submit
from service.engine.request import Sequence as TokenSequence
from tests.service.engine_runs import Heard, new_model
from tests.service.packed_models import cpu_executor

NUM_BLOCKS = 40
NUM_TEXTS = 12


class CountingExecutor(CpuExecutor):
    """Counts the runs that were begun."""

    num_started = 0
    num_continued = 0

    def draw_ahead(self, rows: Sequence[DrawnRow], *, num_steps: int) -> Iterator[list[int]]:
        self.num_started += 1
        return super().draw_ahead(rows, num_steps=num_steps)

    def draw_on(self, *, num_steps: int) -> Iterator[list[int]]:
        self.num_continued += 1
        return super().draw_on(num_steps=num_steps)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


@pytest.fixture
def executor(model: Transformer) -> CountingExecutor:
    made = cpu_executor(model, num_blocks=NUM_BLOCKS, num_threads=2)
    made.__class__ = CountingExecutor
    assert isinstance(made, CountingExecutor)
    return made


def text(number: int, *, request_id: int) -> Submit:
    """One of some texts: drawn in all ways, plain ones and others, with and without stop tokens."""
    chance = random.Random(number)
    kinds = {5: {"repetition_penalty": 1.3}, 7: {"min_tokens": 9}, 9: {"logprobs": 2}}
    return Submit(
        request_id=request_id,
        prompt_ids=[number + 1] + [(number * 7 + 3) % 61] * (number * 5),
        max_tokens=40,
        temperature=chance.choice([0.0, 0.7, 1.0]),
        top_k=chance.choice([0, 5, 1]),
        top_p=chance.choice([1.0, 0.9]),
        min_p=chance.choice([0.0, 0.05]),
        seed=number,
        stop_token_ids=(number * 3 % 61, 60) if number % 3 else (),
        **kinds.get(number, {}),  # pyright: ignore[reportArgumentType]
    )


@pytest.fixture(scope="module")
def undisturbed(model: Transformer) -> dict[int, tuple[list[int], EngineFinish]]:
    """What becomes of each text alone, one token a step, drawn by the sampler in torch."""
    made: dict[int, tuple[list[int], EngineFinish]] = {}
    executor = cpu_executor(model, num_blocks=NUM_BLOCKS, num_threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.engine.sampler.draw_natively", draw_nothing_natively)
        patch.setattr("service.engine.looking_ahead.DrawsAhead", type("Never", (), {}))
        for number in range(NUM_TEXTS):
            engine, heard = Engine(executor, max_running=1), Heard()
            engine.submit(text(number, request_id=0))
            while engine.has_work:
                heard.take(engine.step().outputs)
            made[number] = heard.tokens[0, 0], heard.ends[0, 0]
    return made


@pytest.mark.parametrize("seed", range(4))
def test_texts_are_the_same_whoever_joins_and_leaves_a_run(
    executor: CountingExecutor, undisturbed: dict[int, tuple[list[int], EngineFinish]], seed: int
) -> None:
    assert isinstance(executor, DrawsAhead)
    engine, heard, chance = Engine(executor, max_running=4), Heard(), random.Random(seed)
    numbers: dict[int, int] = {}
    cancelled: set[int] = set()
    for request_id in range(16):
        numbers[request_id] = chance.randrange(NUM_TEXTS)
        engine.submit(text(numbers[request_id], request_id=request_id))
        for _ in range(chance.randrange(1, 9)):
            other = chance.randrange(request_id + 1)
            match chance.randrange(9):
                case 0:
                    engine.cancel(other)
                    cancelled.add(other)
                case 1 | 2:
                    engine.set_paused(other, is_paused=chance.random() < 0.6)
                case _:
                    pass
            heard.take(engine.step().outputs)
            engine.check_conservation()
    for request_id in numbers:
        engine.set_paused(request_id, is_paused=False)
    while engine.has_work:
        heard.take(engine.step().outputs)
        engine.check_conservation()
    assert engine.is_empty
    assert executor.num_started > 0
    for request_id, number in numbers.items():
        expected, end = undisturbed[number]
        tokens = heard.tokens.get((request_id, 0), [])
        assert tokens == expected[: len(tokens)], request_id
        if request_id not in cancelled:
            assert (tokens, heard.ends[request_id, 0]) == (expected, end)


def test_streams_that_nobody_disturbs_go_on_while_they_are_told(
    executor: CountingExecutor,
) -> None:
    engine = Engine(executor, max_running=3)
    for number in range(3):
        engine.submit(Submit(request_id=number, prompt_ids=[number + 1] * 4, max_tokens=100))
    while engine.has_work:
        engine.step()
    assert executor.num_continued > executor.num_started > 0


def test_texts_are_the_same_however_runs_are_cut_short(
    executor: CountingExecutor, undisturbed: dict[int, tuple[list[int], EngineFinish]]
) -> None:
    def num_steps(*, chance: random.Random | None) -> int:
        # Of a clock by which a step takes next to no time: goes are as long as they may be.
        clock = (tick * 1e-6 for tick in count())
        engine = Engine(executor, max_running=4, clock=clock.__next__)
        heard, made = Heard(), 0
        for number in range(NUM_TEXTS):
            engine.submit(text(number, request_id=number))
        while engine.has_work:
            if chance and chance.random() < 0.5:
                front.send(b"a message")
            heard.take(engine.step().outputs)
            made += 1
            if chance and chance.random() < 0.5:
                with suppress(BlockingIOError):
                    own.recv(1 << 16)
        for number, (tokens, end) in undisturbed.items():
            assert (heard.tokens.get((number, 0), []), heard.ends[number, 0]) == (tokens, end)
        return made

    front, own = socket.socketpair()
    with front, own:
        own.setblocking(False)
        executor.end_runs_early_for(own.fileno())
        num_undisturbed = num_steps(chance=None)
        assert num_steps(chance=random.Random(1)) > num_undisturbed


def test_a_run_gives_one_step_more_where_somebody_has_arrived(executor: CountingExecutor) -> None:
    executor.compute([ChunkInput(token_ids=[3], start=0, block_ids=[1])])
    expected = list(executor.draw_ahead([drawn_row(last=12)], num_steps=8))
    front, own = socket.socketpair()
    with front, own:
        executor.end_runs_early_for(own.fileno())
        assert list(executor.draw_ahead([drawn_row(last=12)], num_steps=8)) == expected
        front.send(b"a message")
        assert list(executor.draw_ahead([drawn_row(last=12)], num_steps=8)) == expected[:1]
        assert list(executor.draw_on(num_steps=7)) == expected[1:2]
        own.recv(1 << 16)
        # It goes on from where it was.
        assert list(executor.draw_on(num_steps=6)) == expected[2:]


def test_what_else_is_computed_does_not_wait_for_the_whole_run(
    executor: CountingExecutor,
) -> None:
    for block in (1, 2):
        executor.compute([ChunkInput(token_ids=[3], start=0, block_ids=[block])])
    # Most of these steps are empty; all of them would take seconds.
    num_steps = 10_000_000
    cut = executor.draw_ahead([drawn_row(seed=2, last=12)], num_steps=num_steps)
    executor.compute([ChunkInput(token_ids=[5], start=1, block_ids=[1])])
    assert 1 <= len(list(cut)) < num_steps


def drawn_row(*, seed: int = 1, start: int = 1, last: int = 6, **parameters: object) -> DrawnRow:
    values: dict[str, object] = {"request_id": 1, "prompt_ids": [3, 4], "max_tokens": 50}
    sequence = TokenSequence(
        Submit(**values, seed=seed, **parameters)  # pyright: ignore[reportArgumentType]
    )
    return DrawnRow(
        token_id=4,
        start=start,
        last=last,
        block_ids=[seed],
        native_settings=native_settings(sequence),
    )


def test_rows_end_where_they_are_told_and_at_their_ending_tokens(
    executor: CountingExecutor,
) -> None:
    for block in (1, 2):
        executor.compute([ChunkInput(token_ids=[3], start=0, block_ids=[block])])
    rows = [drawn_row(seed=1, last=3), drawn_row(seed=2)]
    both = list(executor.draw_ahead(rows, num_steps=4))
    assert [ids[0] == NOT_COMPUTED for ids in both] == [False, False, False, True]
    assert all(ids[1] >= 0 for ids in both)
    more = list(executor.draw_on(num_steps=3))
    assert [ids[0] for ids in more] == [NOT_COMPUTED] * 3
    # Positions 1 to 6 are computed.
    assert [ids[1] == NOT_COMPUTED for ids in more] == [False, False, True]
    stopped = [drawn_row(seed=2, stop_token_ids=(both[1][1],))]
    first = next(place for place, ids in enumerate(both) if ids[1] == both[1][1])
    again = list(executor.draw_ahead(stopped, num_steps=4))
    assert [ids[0] for ids in again] == [ids[1] for ids in both[: first + 1]] + [NOT_COMPUTED] * (
        3 - first
    )


def test_a_row_of_nan_fails_and_its_neighbour_does_not(model: Transformer) -> None:
    untied = Transformer(replace(model.config, tie_word_embeddings=False)).eval()
    untied.requires_grad_(False).initialize(torch.Generator().manual_seed(1))
    # Whoever reads this token reads NaN.
    untied.model.embed_tokens.weight[7] = float("nan")
    executor = cpu_executor(untied, num_blocks=4, num_threads=1)
    executor.compute([ChunkInput(token_ids=[3], start=0, block_ids=[1])])
    executor.compute([ChunkInput(token_ids=[7], start=0, block_ids=[2])])
    drawn = list(executor.draw_ahead([drawn_row(seed=1), drawn_row(seed=2)], num_steps=3))
    assert [ids[1] for ids in drawn] == [FAILED, NOT_COMPUTED, NOT_COMPUTED]
    assert all(ids[0] >= 0 for ids in drawn)


@pytest.mark.parametrize(
    ("row", "steps"),
    [
        ({"last": 16}, 2),
        ({"last": 10**6}, 2),
        ({"repetition_penalty": 1.2}, 2),
        ({"logit_bias": ((1, 2.0),)}, 2),
        ({"seed": -1}, 2),
    ],
    ids=["blocks", "context", "penalties", "bias", "seed"],
)
def test_what_a_run_cannot_do_is_refused_before_it_begins(
    executor: CountingExecutor, row: dict[str, int], steps: int
) -> None:
    with pytest.raises(KernelError):
        executor.draw_ahead([drawn_row(**row)], num_steps=steps)
