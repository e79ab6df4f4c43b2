"""Campaign 5: SIGTERM at random moments under 32 streams over both protocols.

Every stream that was open must end complete and with the tokens it has without a signal, and the
server must leave with status 0 and take its engine with it. Counts what the engine had done by the
signals: mixed batches, prompts in pieces, reused prefixes. `--control` gives the server no time to
drain, and exits with 3 when the streams that this cuts are noticed.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from campaigns.callers.stream_clients import Outcome, StreamClients
from campaigns.live.server_process import ServerProcess, running_server
from campaigns.live.tiny_model import publish_tiny_model
from campaigns.verdict import control_status

__all__ = ["main"]

NUM_STREAMS = 32
NUM_ROUNDS = 20
# Long prompts take several steps; all begin alike, so that blocks are shared.
LONGEST_PROMPT = "once upon a time " * 100
PATIENCE_SECONDS = 120.0
# So long that a fast engine is still at them when the signal comes.
CONTEXT_TOKENS = 4096
MOST_TOKENS = 2300
# Proof that the ways through the engine were taken before the signals.
PATHS = {
    "mixed batches": "nextword_engine_mixed_steps_total",
    "prompts in pieces": "nextword_engine_chunked_prompts_total",
    "reused prompt tokens": "nextword_engine_reused_prompt_tokens_total",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one signal did.

    Attributes:
        num_whole: Streams that ended complete and with the right tokens.
        num_after: Streams that were still open when the signal was sent.
        status: Exit status of the server.
        has_orphan: Whether an engine process outlived it.
        faults: What else the streams ended with.
        paths: What the engine had done before the signal; see `PATHS`.
    """

    after_seconds: float
    num_whole: int
    num_after: int
    status: int
    has_orphan: bool
    faults: tuple[str, ...]
    paths: Counter[str]

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost."""
        return self.num_whole == NUM_STREAMS and self.status == 0 and not self.has_orphan


def main() -> int:
    """Run the campaign; 1 when a stream was lost or cut short, or the server left otherwise.

    The control gives 3 when a stream was, as one must be, and 0 when none was.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=None, help="signals (default: 20)")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--control", action="store_true", help="no time to drain")
    options = parser.parse_args()
    num_rounds = options.rounds or (2 if options.control else NUM_ROUNDS)
    print(f"drain: seed {options.seed}, {num_rounds} signals, {NUM_STREAMS} streams each")
    with tempfile.TemporaryDirectory() as folder:
        model = publish_tiny_model(Path(folder) / "tiny", context_tokens=CONTEXT_TOKENS)
        rounds = asyncio.run(
            _campaign(model, random.Random(options.seed), num_rounds, is_cut=options.control)
        )
    num_whole = sum(each.num_whole for each in rounds)
    num_after = sum(each.num_after for each in rounds)
    print(
        f"{num_whole} of {num_rounds * NUM_STREAMS} streams whole, {num_after} of them open at the "
        f"signal; exit statuses {sorted({each.status for each in rounds})}; "
        f"{sum(each.has_orphan for each in rounds)} orphans"
    )
    paths = sum((each.paths for each in rounds), Counter[str]())
    print("before the signals: " + ", ".join(f"{paths[path]} {path}" for path in PATHS))
    if num_after == 0 or not all(paths[path] for path in PATHS):
        print("no stream was open at any signal, or a path was not taken: nothing was tried")
        return 1
    if options.control:
        lost = [fault for each in rounds for fault in each.faults]
        return control_status([f"streams ended with {fault}" for fault in lost])
    return 0 if all(each.is_good for each in rounds) else 1


async def _campaign(
    model: Path, rng: random.Random, num_rounds: int, *, is_cut: bool
) -> list[Round]:
    bodies = [_body(rng, number) for number in range(NUM_STREAMS)]
    with _server(model) as server:
        began = time.monotonic()
        expected = await _run_all(server, bodies)
        usual_seconds = time.monotonic() - began
    assert all(outcome.error is None for outcome in expected), [x.error for x in expected]
    rounds: list[Round] = []
    for number in range(num_rounds):
        with _server(model, *(["--drain-timeout", "0"] if is_cut else [])) as server:
            after_seconds = rng.uniform(0, 0.9 * usual_seconds)
            result = await _one_round(server, bodies, expected, after_seconds)
        rounds.append(result)
        print(
            f"  {number + 1:2}: after {after_seconds:5.2f} s, {result.num_after:2} open, "
            f"{result.num_whole:2} whole, status {result.status} {' '.join(result.faults)}",
            flush=True,
        )
    return rounds


def _server(model: Path, *flags: str) -> AbstractContextManager[ServerProcess]:
    return running_server(
        *("--model", str(model), "--threads", "1", "--dtype", "f32", "--device", "cpu"),
        *("--max-running", str(NUM_STREAMS), "--drain-timeout", "300", *flags),
    )


def _body(rng: random.Random, number: int) -> dict[str, object]:
    return {
        "prompt": LONGEST_PROMPT[: rng.choice([rng.randint(1, 17), 800, 1700])],
        "max_tokens": rng.randint(MOST_TOKENS // 4, MOST_TOKENS),
        "ignore_eos": True,
        "temperature": rng.choice([0.0, 0.7, 1.0]),
        "seed": number,
    }


async def _run_all(server: ServerProcess, bodies: list[dict[str, object]]) -> list[Outcome]:
    clients = StreamClients(rest=server.rest, grpc=server.grpc)
    streams = [
        clients.stream(("rest", "grpc")[number % 2], body) for number, body in enumerate(bodies)
    ]
    return await asyncio.gather(*streams)


async def _one_round(
    server: ServerProcess,
    bodies: list[dict[str, object]],
    expected: list[Outcome],
    after_seconds: float,
) -> Round:
    engine = _child_of(server.process.pid)
    clients = StreamClients(rest=server.rest, grpc=server.grpc)
    # Streams that begin together find no prefix of each other in the cache; this one is there.
    first = await clients.stream("rest", {"prompt": LONGEST_PROMPT, "max_tokens": 1})
    assert first.error is None, first.error
    tasks = [
        asyncio.create_task(clients.stream(("rest", "grpc")[number % 2], body))
        for number, body in enumerate(bodies)
    ]
    await asyncio.to_thread(_wait_all_taken_on, server)
    await asyncio.wait(tasks, timeout=after_seconds)
    counts = {path: int(await asyncio.to_thread(server.metric, PATHS[path])) for path in PATHS}
    num_after = sum(not task.done() for task in tasks)
    server.process.send_signal(signal.SIGTERM)
    await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
    faults: list[str] = []
    num_whole = 0
    for task, right in zip(tasks, expected, strict=True):
        fault = _fault_of(task, right)
        if fault is None:
            num_whole += 1
        else:
            faults.append(fault)
            task.cancel()
    status = await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS)
    return Round(
        after_seconds=after_seconds,
        num_whole=num_whole,
        num_after=num_after,
        status=status,
        has_orphan=_is_running(engine),
        faults=tuple(sorted(set(faults))),
        paths=Counter(counts),
    )


def _wait_all_taken_on(server: ServerProcess) -> None:
    """Until each request is open or over: what comes after the signal is refused, and rightly.

    One more than the streams: the request before them.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while server.metric("nextword_requests_in_flight") + _num_ended(server) < NUM_STREAMS + 1:
        assert time.monotonic() < end, "the streams do not begin"
        time.sleep(0.01)


def _num_ended(server: ServerProcess) -> float:
    return sum(
        server.metric(f'nextword_requests_total{{model="tiny",outcome="ok",protocol="{protocol}"')
        for protocol in ("rest", "grpc")
    )


def _fault_of(task: "asyncio.Task[Outcome]", expected: Outcome) -> str | None:
    if not task.done():
        return "hangs"
    if (error := task.exception()) is not None:
        return type(error).__name__
    outcome = task.result()
    if outcome.error is not None:
        return outcome.error
    if outcome.token_ids != expected.token_ids or outcome.text != expected.text:
        return "other_tokens"
    return None


def _child_of(process_id: int) -> int:
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text("ascii").split()
    return int(children[0])


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process_id}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    return state != "Z"


if __name__ == "__main__":
    sys.exit(main())
