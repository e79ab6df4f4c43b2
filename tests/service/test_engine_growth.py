"""What the engine does for a step does not grow with the queue, and evenly with the batch."""

from service.engine.engine import Engine
from service.engine.messages import Submit
from tests.service.remembering_executor import RememberingExecutor
from tests.service.work_done import num_lines


def engine_with(*, num_running: int, num_waiting: int) -> Engine:
    """Streams in the middle of their texts, and a queue behind them."""
    engine = Engine(RememberingExecutor(num_blocks=30 * num_running), max_running=num_running)
    for number in range(num_running + num_waiting):
        engine.submit(
            Submit(
                request_id=number,
                prompt_ids=[1, 2, 3, 4, 5],
                max_tokens=50,
                temperature=0.0,
                timeout_seconds=600.0,
            )
        )
    for _ in range(8):
        engine.step()
    assert (engine.num_running, engine.num_waiting) == (num_running, num_waiting)
    return engine


def test_a_step_looks_at_one_of_those_who_wait() -> None:
    engine = engine_with(num_running=4, num_waiting=3000)
    work = num_lines(engine.step)
    assert work == num_lines(engine_with(num_running=4, num_waiting=1).step) > 50
    assert num_lines(lambda: engine.seconds_to_work()) < 50


def test_who_comes_or_leaves_costs_the_same_in_any_queue() -> None:
    newcomer = Submit(request_id=10**6, prompt_ids=[1], max_tokens=5, timeout_seconds=5.0)

    def work(num_waiting: int) -> tuple[int, int]:
        engine = engine_with(num_running=4, num_waiting=num_waiting)
        came = num_lines(lambda: engine.submit(newcomer))
        left = num_lines(lambda: engine.cancel(4 + num_waiting // 2))
        engine.check_conservation()
        return came, left

    assert work(2) == work(3000)


def test_a_queue_is_emptied_by_even_amounts() -> None:
    """All that waits is cancelled, the oldest first; tidying up is paid by those who left."""

    def work(num_waiting: int) -> int:
        engine = engine_with(num_running=2, num_waiting=num_waiting)
        numbers = range(2, 2 + num_waiting)
        count = num_lines(lambda: [engine.cancel(number) for number in numbers])
        engine.check_conservation()
        return count

    assert work(2000) < 5 * work(500)


def test_a_step_grows_evenly_with_the_streams() -> None:
    work = {
        num_running: num_lines(engine_with(num_running=num_running, num_waiting=1).step)
        for num_running in (16, 32, 64)
    }
    assert work[64] - work[32] <= 2.1 * (work[32] - work[16])
