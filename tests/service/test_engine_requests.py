"""Requests that are late, cancelled, too large or many: over an executor without a network."""

import pytest
from msgspec.structs import replace

from service.engine.messages import EngineFinish, TokenOutput
from service.engine.request_table import UnsupportedRequestError
from tests.service.engine_bench import Bench, alone, request


def test_a_request_whose_deadline_passed_costs_nothing_more() -> None:
    """H63, H95: waiting, in its prompt, streaming, paused."""
    for num_steps, is_paused in ((0, False), (1, False), (5, False), (5, True)):
        bench = Bench().submit(replace(request(1, size=100), timeout_seconds=10.0))
        for _ in range(num_steps):
            bench.step()
        bench.engine.set_paused(1, is_paused=is_paused)
        assert bench.engine.seconds_to_work() == (10.0 if is_paused else 0.0)
        bench.now = 10.0
        assert bench.engine.seconds_to_work() == 0.0
        num_computed = bench.executor.num_steps
        assert bench.step() == [TokenOutput(1, 0, [], EngineFinish.DEADLINE)]
        assert bench.executor.num_steps == num_computed
        assert bench.engine.num_free_blocks == bench.num_blocks


@pytest.mark.parametrize("num_steps", range(5))
@pytest.mark.parametrize("choice", [None, 0, 2])
def test_a_cancel_frees_blocks_at_once_in_every_window(num_steps: int, choice: int | None) -> None:
    """H57, H64: queued, in its prompt, streaming, pre-empted, over, one choice or all."""
    bench = Bench(num_blocks=14, max_running=3)
    bench.submit(request(1, max_tokens=30), replace(request(2, size=20), num_choices=3))
    for _ in range(num_steps * 4):
        bench.step()
    bench.engine.cancel(2, choice=choice)
    bench.engine.check_conservation()
    ended = set(bench.ends)
    bench.engine.cancel(2, choice=choice)
    bench.engine.cancel(77)
    bench.finish()
    cancelled = {(2, each) for each in range(3) if choice in (None, each)} - ended
    assert set(bench.ends) == {(1, 0), (2, 0), (2, 1), (2, 2)} - cancelled
    for key, tokens in bench.tokens.items():
        if key in bench.ends and key[0] == 1:
            assert tokens == alone(request(1, max_tokens=30))


def test_many_requests_leave_nothing_behind() -> None:
    """H64: whatever way they end."""
    bench = Bench()
    for number in range(1, 300):
        bench.submit(request(number, size=1 + number % 9, max_tokens=number % 4))
        bench.step()
        if number % 3 == 0:
            bench.engine.cancel(number)
    bench.finish()
    assert bench.engine.describe().endswith("40 of 40 blocks free: ")


def test_what_can_never_fit_the_cache_and_a_number_in_use_are_refused() -> None:
    """H22: at the border already; the engine would pre-empt it for ever."""
    bench = Bench(num_blocks=5).submit(request(1, size=9, max_tokens=12))
    with pytest.raises(UnsupportedRequestError, match=r"20 tokens.* got 21"):
        bench.submit(request(2, size=9, max_tokens=13))
    with pytest.raises(UnsupportedRequestError, match="request_id 1"):
        bench.submit(request(1))
    bench.finish()
