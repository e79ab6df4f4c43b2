"""Campaign 4: one request that is poisoned beside eight that are not; engines frozen and killed.

`make campaign-faults`. A request is poisoned at its prompt, in its continuation, where its tokens
are drawn ahead, in the sampler or in the detokenizer: it must end with an error, and its neighbours
must give what they give alone.
When the engine is lost, every waiting client must have an answer and the server be ready again.
With --control a poison reaches the rows of its neighbours, and nobody watches over engines that are
lost; the status is 3 when each of these was noticed.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2

from campaigns.broken_builds.poisons import CONTROL_VARIABLE, UNWATCHED_VARIABLE, Poison
from campaigns.callers.stream_clients import Outcome, StreamClients
from campaigns.leaks import settle
from campaigns.live.server_process import ServerProcess, running_server
from campaigns.live.tiny_model import publish_tiny_model
from campaigns.verdict import control_status

__all__ = ["EXPECTED", "Faults"]

NUM_NEIGHBOURS = 8
CONTEXT_TOKENS = 4096
READY_SECONDS = 120.0
# A lost engine is noticed within 4 seconds; one that nobody watches stays lost for good.
CONTROL_SECONDS = 30.0
LOSSES = ("frozen", "killed", "without its device")
EXPECTED = {
    Poison.PREFILL: "numerical_error",
    Poison.DECODE: "numerical_error",
    # Without a run ahead they would end whole.
    Poison.AHEAD: "numerical_error",
    Poison.RUN: "internal_error",
    Poison.COMPUTE: "internal_error",
    Poison.SAMPLER: "internal_error",
    Poison.DETOKENIZER: "internal_error",
}
# Those whose numbers can reach other rows.
SPREADING = (Poison.PREFILL, Poison.DECODE, Poison.AHEAD)
_LONG = {"prompt": "x", "max_tokens": CONTEXT_TOKENS - 100, "ignore_eos": True}


class Faults:
    """The campaign against one server.

    Args:
        server: One of `poisoned_server`.
        num_tokens: What each neighbour of a poisoned request makes.

    Attributes:
        found: What was wrong.
        alone: What each neighbour gives alone; what it gives beside a poison is held against it.
    """

    def __init__(self, server: ServerProcess, *, num_tokens: int = 240) -> None:
        self.found: list[str] = []
        self._server = server
        self._clients = StreamClients(rest=server.rest, grpc=server.grpc)
        self._neighbours = [
            (
                ("rest", "grpc")[number % 2],
                {
                    "prompt": "abc" * (1 + 9 * number),
                    "max_tokens": num_tokens,
                    "ignore_eos": True,
                    "seed": number,
                    "temperature": (0.0, 0.8, 1.2)[number % 3],
                },
            )
            for number in range(NUM_NEIGHBOURS)
        ]
        self.alone: list[Outcome] = []

    async def learn(self) -> None:
        """What each neighbour gives alone."""
        for protocol, body in self._neighbours:
            outcome = await self._clients.stream(protocol, body)
            assert outcome.error is None, outcome.error
            self.alone.append(outcome)

    async def poison(self, poison: Poison, *, num_rounds: int) -> None:
        """One poisoned request among the neighbours, several times at different moments."""
        num_equal, ends = 0, Counter[str]()
        for number in range(num_rounds):
            body: dict[str, object] = {
                "prompt": "poison" * (1 + number),
                "max_tokens": 40,
                "ignore_eos": True,
                "seed": int(poison),
                "temperature": 0.9,
            }
            outcomes = await asyncio.gather(
                *(self._clients.stream(*neighbour) for neighbour in self._neighbours),
                self._delayed(0.03 * number, ("rest", "grpc")[number % 2], body),
            )
            ends[outcomes.pop().error or "whole"] += 1
            num_equal += sum(a == b for a, b in zip(outcomes, self.alone, strict=True))
        expected = num_rounds * NUM_NEIGHBOURS
        print(f"{poison.name:12} ends {dict(ends)}, neighbours unchanged {num_equal} of {expected}")
        if ends != {EXPECTED[poison]: num_rounds}:
            self.found.append(f"{poison.name}: ended with {dict(ends)}, not {EXPECTED[poison]}")
        if num_equal != expected:
            self.found.append(f"{poison.name}: {expected - num_equal} neighbours changed")

    async def lose(self, name: str, *, patience_seconds: float = READY_SECONDS) -> None:
        """Freeze the engine, kill it, or let its device be lost, under load."""
        restarts = self._server.metric("nextword_engine_restarts_total{")
        waiting = [
            asyncio.create_task(self._clients.stream(("rest", "grpc")[number % 2], _LONG))
            for number in range(NUM_NEIGHBOURS)
        ]
        await self._until(lambda: self._server.metric("nextword_engine_running{") >= 4)
        began = time.monotonic()
        match name:
            case "frozen":
                os.kill(self.engine(), signal.SIGSTOP)
            case "killed":
                os.kill(self.engine(), signal.SIGKILL)
            case _:
                body = {"prompt": "x", "max_tokens": 9, "seed": int(Poison.DEVICE)}
                waiting.append(asyncio.create_task(self._clients.stream("rest", body)))
        answered, late = await asyncio.wait(waiting, timeout=patience_seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
            self.found.append(
                f"engine {name}: {len(late)} of {len(waiting)} clients have no answer after "
                f"{patience_seconds:g} s"
            )
            return
        answered_after = time.monotonic() - began
        ends = Counter(task.result().error or "whole" for task in answered)
        try:
            await self._until(
                lambda: self._server.metric("nextword_engine_restarts_total{") > restarts,
                seconds=patience_seconds,
            )
        except TimeoutError:
            self.found.append(
                f"engine {name}: {dict(ends)}, but not started again after {patience_seconds:g} s"
            )
            return
        await self._until(self._is_ready)
        print(
            f"engine {name}: {dict(ends)} after {answered_after:.1f} s, "
            f"ready again after {time.monotonic() - began:.1f} s"
        )
        if set(ends) != {"engine_unavailable"}:
            self.found.append(f"engine {name}: streams ended with {dict(ends)}")
        protocol, body = self._neighbours[0]
        if await self._clients.stream(protocol, body) != self.alone[0]:
            self.found.append(f"engine {name}: the next engine gives something else")

    def _is_ready(self) -> bool:
        return httpx2.get(self._server.rest + "/readyz", timeout=60).status_code == 200

    def engine(self) -> int:
        """The engine's process id."""
        command = ["ps", "-o", "pid=", "--ppid", str(self._server.process.pid)]
        (number,) = subprocess.run(command, capture_output=True, check=True).stdout.split()
        return int(number)

    async def _delayed(self, seconds: float, protocol: str, body: dict[str, object]) -> Outcome:
        await asyncio.sleep(seconds)
        return await self._clients.stream(protocol, body)

    async def _until(self, is_true: Callable[[], bool], *, seconds: float = READY_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(is_true):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


def play(server: ServerProcess, *, num_rounds: int) -> list[str]:
    """The whole campaign; what was wrong."""
    faults = Faults(server)

    async def run() -> None:
        await faults.learn()
        for poison in EXPECTED:
            await faults.poison(poison, num_rounds=num_rounds)
        if not faults.found:
            for name in LOSSES:
                await faults.lose(name)

    asyncio.run(run())
    faults.found += settle(server)
    steps = server.metric("nextword_engine_batch_requests_count{")
    small = server.metric('nextword_engine_batch_requests_bucket{le="8.0"')
    restarts = server.metric("nextword_engine_restarts_total{")
    failed = server.metric("nextword_requests_total{") - server.metric(
        'nextword_requests_total{model="tiny",outcome="ok"'
    )
    print(f"{steps - small:g} of {steps:g} steps had more than 8 requests")
    print(f"{failed:g} requests counted as failed, {restarts:g} engines started again")
    if steps == small:
        faults.found.append("no step had all nine requests: that path was not taken")
    if not faults.found and restarts < len(LOSSES):
        faults.found.append(f"{len(LOSSES)} engines were lost and {restarts:g} started again")
    return faults.found


def play_control(model: Path) -> int:
    """Poisons that spread, then lost engines that nobody watches over; the exit status."""
    noticed: list[str] = []
    os.environ[CONTROL_VARIABLE] = "1"
    with _server(model) as server:
        faults = Faults(server)
        asyncio.run(faults.learn())
        for poison in SPREADING:
            asyncio.run(faults.poison(poison, num_rounds=2))
        restarts = server.metric("nextword_engine_restarts_total{")
        assert restarts == 0, "the control's engine fell over"
        noticed += [line for line in faults.found if line.endswith("neighbours changed")]
    del os.environ[CONTROL_VARIABLE]
    os.environ[UNWATCHED_VARIABLE] = "1"
    for name in LOSSES:
        with _server(model) as server:
            noticed += asyncio.run(_lose_unwatched(Faults(server), name))[:1]
    return control_status(noticed, is_complete=len(noticed) == len(SPREADING) + len(LOSSES))


async def _lose_unwatched(faults: Faults, name: str) -> list[str]:
    engine = faults.engine()
    await faults.learn()
    try:
        await faults.lose(name, patience_seconds=CONTROL_SECONDS)
    finally:
        # A frozen process would outlive its server.
        with contextlib.suppress(ProcessLookupError):
            os.kill(engine, signal.SIGKILL)
    return faults.found


def _server(model: Path) -> AbstractContextManager[ServerProcess]:
    return running_server(
        *("--model", str(model), "--threads", "1", "--dtype", "f32", "--device", "cpu"),
        *("--max-running", "16", "--log-level", "error"),
        module=("campaigns.broken_builds.poisoned_server",),
    )


def main() -> int:
    """Run the campaign; 0 when nothing was wrong, 3 when all of the control was noticed."""
    parser = argparse.ArgumentParser(description="Poisoned requests and lost engines.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--control", action="store_true", help="break the engine and its watch")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = publish_tiny_model(Path(folder) / "tiny", context_tokens=CONTEXT_TOKENS)
        if arguments.control:
            return play_control(model)
        with _server(model) as server:
            found = play(server, num_rounds=arguments.rounds)
    for fault in found:
        print("FAULT:", fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
