"""An exception of ours ends one request with a definite error that says nothing of the inside."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from campaigns.live.server_process import running_server
from tests.contract.callers import CALLERS, Caller, Callers
from tests.contract.faulty_front import FAULT_TEXT, FIRST_PIECE_SEED, SECOND_PIECE_SEED
from tests.contract.live_server import START_SECONDS, Server

# Every token has a piece of its own.
BODY = {"prompt": "Once", "max_tokens": 40, "logit_bias": {"66": 100.0}}


@pytest.fixture(scope="module")
def faulty(artifact: Path) -> Iterator[Server]:
    options = ("--model", str(artifact), "--threads", "1", "--dtype", "f32", "--device", "cpu")
    with running_server(*options, module=("tests.contract.faulty_front",)) as running:
        yield running


def becomes_true(server: Server, condition: Callable[[], bool]) -> bool:
    """Ask the server for a sign of life until something holds, for a bounded time."""
    until = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > until:
            return False
        server.get("/livez")
    return True


@pytest.mark.parametrize("seed", [FIRST_PIECE_SEED, SECOND_PIECE_SEED])
@pytest.mark.parametrize("name", list(CALLERS))
def test_a_value_error_of_ours_is_an_internal_error(
    faulty: Server, callers: Callers, name: str, seed: int
) -> None:
    """H88, H135, H19: a built-in exception is never the client's fault, nor told to it."""
    outcome = callers[name](faulty, BODY | {"seed": seed})
    assert (outcome.code, outcome.field) == ("internal_error", None)
    late_over_sse = name == "rest_stream" and seed == SECOND_PIECE_SEED
    assert outcome.status in ("INTERNAL", 200 if late_over_sse else 500)
    assert outcome.message == "internal error"


def test_rest_tells_clients_not_to_retry_and_the_log_has_the_cause(faulty: Server) -> None:
    response = faulty.post("/v1/generate", BODY | {"seed": FIRST_PIECE_SEED})
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"
    assert FAULT_TEXT not in response.text
    # Written beside the serving: the place and the kind, not the words, which may quote a request.
    assert becomes_true(faulty, lambda: "faulty_front.py" in "".join(faulty.log))
    assert "ValueError" in "".join(faulty.log)
    assert FAULT_TEXT not in "".join(faulty.log)


def test_neighbours_of_a_fault_are_served_as_if_alone(faulty: Server, call: Caller) -> None:
    """H45, the text side: one detokenizer fails, the others of the batch go on."""
    body = BODY | {"seed": 5, "temperature": 1.0, "logit_bias": {}}
    alone = call(faulty, body)
    assert alone.code is None
    outcomes: list[tuple[bool, str | None, list[int]]] = []

    def ask(seed: int) -> None:
        outcome = call(faulty, body | {"seed": seed})
        ids = outcome.token_ids if outcome.choices else []
        outcomes.append((seed == 5, outcome.code, ids if seed == 5 else []))

    seeds = [5, SECOND_PIECE_SEED, 5, FIRST_PIECE_SEED, 5, 5]
    threads = [threading.Thread(target=ask, args=[seed]) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(START_SECONDS)
    assert (
        sorted(outcomes)
        == [(False, "internal_error", [])] * 2 + [(True, None, alone.token_ids)] * 4
    )


def test_the_engine_is_free_again(faulty: Server) -> None:
    """Whatever failed in the front was cancelled in the engine."""
    assert becomes_true(faulty, lambda: faulty.metric("nextword_engine_running") == 0)
