"""What goes wrong inside a step, and who notices: over an executor that fails by hand."""

import itertools
from collections.abc import Callable
from collections.abc import Sequence as Series

import pytest
import torch
from msgspec.structs import replace

from service.engine.block_allocator import ConservationError
from service.engine.executor import ChunkInput
from service.engine.guarded_compute import MAX_FAILURES_IN_A_ROW, EngineFailedError
from service.engine.messages import EngineFinish
from service.engine.request import Sequence
from tests.service.engine_bench import Bench, alone, request
from tests.service.remembering_executor import RememberingExecutor

# Beyond the vocabulary, so that it is never chosen.
POISON = 99
MARK = 98


def failing_on(
    is_at_fault: Callable[[Series[ChunkInput]], bool], error: Exception
) -> Callable[[Series[ChunkInput]], None]:
    def check(chunks: Series[ChunkInput]) -> None:
        if is_at_fault(chunks):
            raise error

    return check


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        MemoryError(),
    ],
    ids=["device", "processor", "python"],
)
def test_a_step_that_needs_too_much_memory_is_computed_in_parts(error: Exception) -> None:
    """H50: nobody ends, nobody's tokens change."""
    subjects = [request(number) for number in range(1, 5)]
    bench = Bench()
    bench.executor.before_compute = failing_on(lambda chunks: len(chunks) > 1, error)
    bench.submit(*subjects).finish()
    assert bench.tokens == {(each.request_id, 0): alone(each) for each in subjects}
    assert set(bench.ends.values()) == {EngineFinish.LENGTH}


def test_what_does_not_fit_in_memory_even_alone_ends_and_nothing_else() -> None:
    """H50."""
    bench = Bench()
    bench.executor.before_compute = failing_on(
        lambda chunks: any(len(chunk.token_ids) > 20 for chunk in chunks), MemoryError()
    )
    for number in itertools.count(1):
        bench.submit(request(number, size=30), request(100 + number))
        if number == 3:
            break
    bench.finish()
    for number in (1, 2, 3):
        assert bench.ends[number, 0] is EngineFinish.INTERNAL_ERROR
        assert bench.tokens[100 + number, 0] == alone(request(100 + number))


def test_a_fault_of_one_request_at_any_time_leaves_its_neighbours_alone() -> None:
    """H45, with eight neighbours: at its prompt, and at a later token."""
    neighbours = [request(number) for number in range(2, 10)]
    marked = request(1)
    marked.prompt_ids[0] = MARK
    for size in (9, 10, 15):
        bench = Bench(max_running=9, num_blocks=80)

        def is_at_fault(chunk: ChunkInput, bench: Bench = bench, size: int = size) -> bool:
            beginning = (
                chunk.token_ids if chunk.start == 0 else (bench.executor.memory[chunk.block_ids[0]])
            )
            return beginning[0] == MARK and chunk.start + len(chunk.token_ids) >= size

        bench.executor.before_compute = failing_on(
            lambda chunks, is_at_fault=is_at_fault: any(map(is_at_fault, chunks)), KeyError("a bug")
        )
        bench.submit(marked, *neighbours).finish()
        assert bench.ends[1, 0] is EngineFinish.INTERNAL_ERROR
        assert bench.tokens[1, 0] == alone(marked)[: size - 9]
        for each in neighbours:
            assert bench.tokens[each.request_id, 0] == alone(each)


def test_when_nothing_can_be_computed_the_engine_says_so() -> None:
    """H51: at once with two requests, at the second one that comes alone."""

    def fail(chunks: Series[ChunkInput]) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    bench = Bench().submit(request(1), request(2))
    bench.executor.before_compute = fail
    with pytest.raises(EngineFailedError):
        bench.step()
    bench = Bench().submit(request(1))
    bench.executor.before_compute = fail
    bench.finish()
    assert bench.ends == {(1, 0): EngineFinish.INTERNAL_ERROR}
    with pytest.raises(EngineFailedError):
        bench.submit(request(2)).finish()


def test_an_engine_that_never_has_enough_memory_says_so() -> None:
    """H51: never up but deaf."""

    def fail(chunks: Series[ChunkInput]) -> None:
        raise MemoryError

    bench = Bench()
    bench.executor.before_compute = fail
    for number in range(1, MAX_FAILURES_IN_A_ROW + 1):
        bench.submit(request(number)).finish()
    with pytest.raises(EngineFailedError):
        bench.submit(request(100)).finish()


@pytest.mark.parametrize("place", [0, 3, 4, 8])
def test_poison_in_a_prompt_reaches_nobody_whoever_takes_its_blocks(place: int) -> None:
    """H46, H47: not by a shared beginning, not by a reused block, not while it is computed."""
    bench = Bench(num_blocks=8, max_running=2)
    bench.executor.poisoned_ids = {POISON}
    poisoned = request(1)
    poisoned.prompt_ids[place] = POISON
    healthy = replace(request(2), prompt_ids=request(1).prompt_ids)
    bench.submit(poisoned, healthy, replace(poisoned, request_id=3)).finish()
    assert bench.ends[1, 0] is bench.ends[3, 0] is EngineFinish.NUMERICAL_ERROR
    assert bench.tokens[2, 0] == alone(healthy)
    follower = request(4, size=20)
    assert bench.submit(follower).finish().tokens[4, 0] == alone(follower)


def test_poison_that_nobody_noticed_is_cleared_all_the_same() -> None:
    """H47: the request is cancelled in the middle of its prompt, before any logits."""
    bench = Bench(num_blocks=32, max_running=2)
    bench.executor.poisoned_ids = {POISON}
    poisoned = request(1, size=100)
    poisoned.prompt_ids[0] = POISON
    bench.submit(poisoned).step()
    bench.engine.cancel(1)
    healthy = request(2, size=100)
    assert bench.submit(healthy).finish().tokens[2, 0] == alone(healthy)


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_next_owner_of_a_block_does_not_meet_the_poison_behind_its_own_text(
    monkeypatch: pytest.MonkeyPatch, is_broken: bool
) -> None:
    """H47, and its control: an executor that clears nothing."""

    def keep(executor: RememberingExecutor, block_ids: Series[int]) -> None:
        """Clear nothing."""

    if is_broken:
        monkeypatch.setattr(RememberingExecutor, "clear_blocks", keep)
    bench = Bench(num_blocks=8)
    bench.executor.poisoned_ids = {POISON}
    poisoned = request(1, size=8)
    poisoned.prompt_ids[7] = POISON
    bench.submit(poisoned).finish().submit(request(2, size=5)).finish()
    poisoned_again = EngineFinish.NUMERICAL_ERROR if is_broken else EngineFinish.LENGTH
    assert bench.ends[2, 0] is poisoned_again


def test_lost_blocks_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """H55: the control of every check in these tests."""
    bench = Bench().submit(request(1))
    bench.step()
    tables = bench.engine._tables  # pyright: ignore[reportPrivateUsage]

    def keep(sequence: Sequence, *, is_poisoned: bool) -> None:
        """Give nothing back."""

    monkeypatch.setattr(tables, "give_back", keep)
    bench.engine.cancel(1)
    with pytest.raises(ConservationError):
        bench.engine.check_conservation()


def test_a_step_that_computes_nothing_though_there_is_work_counts_as_a_stall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H60."""
    bench = Bench().submit(request(1))
    tables = bench.engine._tables  # pyright: ignore[reportPrivateUsage]

    def refuse(sequence: Sequence) -> bool:
        return False

    with monkeypatch.context() as patch:
        patch.setattr(tables, "take", refuse)
        bench.step()
        bench.now = 2.5
        bench.step()
        assert bench.engine.stalled_seconds == 2.5
        assert "1 waiting" in bench.engine.describe()
    bench.step()
    assert bench.engine.stalled_seconds == 0.0
    bench.finish()
