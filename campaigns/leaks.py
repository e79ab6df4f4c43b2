"""Campaign 3: 500 streams at once over both protocols, 30 % of them cut off at random moments.

`make campaign-leaks`. Afterwards blocks, queue and counts must be back where they were, and every
other stream must have given what the same request gives alone. With --control the server keeps
cancels from its engine, and the status is 3 when something was left over.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from campaigns.callers.stream_clients import Outcome, StreamClients
from campaigns.live.server_process import ServerProcess, running_server
from campaigns.live.tiny_model import publish_tiny_model
from campaigns.verdict import control_status

__all__ = ["CONTEXT_TOKENS", "Plan", "check", "make_plans", "server_arguments", "settle"]

SEED = 20261123
CONTEXT_TOKENS = 2048
# A cut stream would go on for so long if nobody noticed.
CUT_TOKENS = 1300
# An engine hears of a cancel within a step; this is a hundred times as long.
SETTLE_SECONDS = 10.0
IDLE = ("nextword_engine_running", "nextword_engine_waiting", "nextword_requests_in_flight")
# Requests in the engine's steps, added up.
COMPUTED = "nextword_engine_batch_requests_sum{"
# Two steps with as many as run at once, and figures that the engine has not told yet.
MAX_COMPUTED_FOR_NOBODY = 256
# The last to leave, at their first event: whose work is forgotten has nearly all of it before it.
NUM_LAST = 64
PATHS_TAKEN = (
    "nextword_engine_reused_prompt_tokens_total",
    "nextword_engine_preemptions_total",
    "nextword_engine_chunked_prompts_total",
    "nextword_engine_mixed_steps_total",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One stream.

    Attributes:
        cut_after: Events after which its client leaves, None for one that stays.
        start_after: Seconds after the first stream's start.
    """

    protocol: str
    body: dict[str, object]
    cut_after: int | None
    start_after: float


def make_plans(
    num_streams: int,
    *,
    seed: int,
    cut_share: float = 0.3,
    spread_seconds: float = 1.0,
    cut_tokens: int = CUT_TOKENS,
) -> list[Plan]:
    """Random streams with a third of the prompts beginning alike.

    Args:
        num_streams: How many.
        seed: Of what is random.
        cut_share: Which part of them is cut off.
        spread_seconds: Within which all of them start.
        cut_tokens: What a stream would make that is cut off.
    """
    rng = random.Random(seed)
    shared = "".join(rng.choices("abcdefgh ", k=200))
    plans: list[Plan] = []
    for number in range(num_streams):
        is_cut = rng.random() < cut_share
        own = "".join(rng.choices("abcdefgh ", k=rng.randrange(1, 500 if number % 9 == 0 else 40)))
        plans.append(
            Plan(
                protocol=rng.choice(("rest", "grpc")),
                body={
                    "prompt": shared + own if number % 3 == 0 else own,
                    "max_tokens": cut_tokens if is_cut else rng.randrange(20, 60),
                    "ignore_eos": True,
                    "temperature": rng.choice((0.0, 0.7, 1.3)),
                    "seed": number,
                },
                cut_after=rng.choice((0, 0, 1, rng.randrange(2, 60))) if is_cut else None,
                start_after=spread_seconds * rng.random(),
            )
        )
    return plans


async def run_plans(clients: StreamClients, plans: list[Plan]) -> list[Outcome]:
    """All streams at once."""

    async def run(plan: Plan) -> Outcome:
        await asyncio.sleep(plan.start_after)
        return await clients.stream(plan.protocol, plan.body, cut_after=plan.cut_after)

    return await asyncio.gather(*(run(plan) for plan in plans))


async def _play(clients: StreamClients, plans: list[Plan]) -> list[Outcome]:
    """All streams at once, then some that leave together."""
    outcomes = await run_plans(clients, plans)
    longest = max((plan for plan in plans if plan.cut_after is not None), key=_num_tokens)
    ways = ("rest", "grpc") * (NUM_LAST // 2)
    last = [replace(longest, protocol=way, cut_after=1, start_after=0.0) for way in ways]
    ends = {outcome.error for outcome in await run_plans(clients, last)}
    assert ends == {"cut"}, ends
    return outcomes


def _num_tokens(plan: Plan) -> int:
    return cast("int", plan.body["max_tokens"])


def settle(server: ServerProcess, *, seconds: float = SETTLE_SECONDS) -> list[str]:
    """Wait until nothing is left of any request.

    Returns:
        What is left all the same when the time is over.
    """
    end = time.monotonic() + seconds
    while True:
        left = [
            f"{name} is {value:g}" for name in IDLE if (value := server.metric(name + "{")) != 0
        ]
        free = server.metric("nextword_engine_free_blocks{")
        total = server.metric("nextword_engine_blocks{")
        if free != total or total == 0:
            left.append(f"{free:g} of {total:g} blocks are free")
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)


def settle_alone(server: ServerProcess) -> list[str]:
    """Settle when all clients have left or have their texts.

    Returns:
        What is left, and what was computed for nobody: a fast engine may be done with it in time.
    """
    before = server.metric(COMPUTED)
    left = settle(server)
    num_computed = server.metric(COMPUTED) - before
    print(f"{num_computed:g} requests were in steps after the last client")
    if num_computed > MAX_COMPUTED_FOR_NOBODY:
        left.append(f"{num_computed:g} requests were in steps for nobody")
    return left


def check_control(server: ServerProcess, plans: list[Plan]) -> int:
    """Play the streams against a server that forgets; the exit status."""
    clients = StreamClients(rest=server.rest, grpc=server.grpc)
    counts = Counter(each.error or "whole" for each in asyncio.run(_play(clients, plans)))
    print(f"ends: {dict(counts)}")
    # Whatever else ends a stream would leave something behind for another reason.
    assert set(counts) == {"whole", "cut"}, counts
    left = settle_alone(server)
    assert server.metric("nextword_engine_restarts_total{") == 0, "the control's engine fell over"
    return control_status(left)


def check(server: ServerProcess, plans: list[Plan]) -> list[str]:
    """Play the streams.

    Returns:
        What was wrong.
    """
    clients = StreamClients(rest=server.rest, grpc=server.grpc)
    began = time.monotonic()
    outcomes = asyncio.run(_play(clients, plans))
    print(f"{len(plans)} streams and {NUM_LAST} that left: {time.monotonic() - began:.1f} s")
    faults = settle_alone(server)
    print("left afterwards:", ", ".join(faults) or "nothing")
    num_cancelled = server.metric('nextword_requests_total{model="tiny",outcome="cancelled"')
    counts = Counter(outcome.error or "whole" for outcome in outcomes)
    print("ends:", dict(counts), f"and {num_cancelled:g} counted as cancelled")
    received = server.metric("nextword_requests_received_total{")
    ended = server.metric("nextword_requests_total{")
    if received != ended:
        faults.append(f"{received:g} requests were received and {ended:g} ended")
    if set(counts) - {"whole", "cut"}:
        faults.append(f"streams ended with {sorted(set(counts) - {'whole', 'cut'})}")
    for name in PATHS_TAKEN:
        value = server.metric(name + "{")
        print(f"{name} {value:g}")
        if value == 0:
            faults.append(f"{name} is 0: that path was not taken")
    if faults:
        return faults
    faults += _compare(clients, plans, outcomes)
    return faults


def _compare(clients: StreamClients, plans: list[Plan], outcomes: list[Outcome]) -> list[str]:
    """Each stream that stayed, and what was seen of the others, against the same request alone."""

    async def alone() -> list[str]:
        faults: list[str] = []
        num_equal = 0
        for number, (plan, outcome) in enumerate(zip(plans, outcomes, strict=True)):
            if plan.cut_after == 0:
                continue
            expected = await clients.stream(plan.protocol, plan.body, cut_after=plan.cut_after)
            num_seen = len(outcome.token_ids)
            if plan.cut_after is not None:
                # Where a stream was cut depends on how its tokens were put into events.
                num_seen = min(num_seen, len(expected.token_ids))
            elif (outcome.text, num_seen) != (expected.text, len(expected.token_ids)):
                faults.append(f"stream {number} differs from the same request alone in its text")
            if outcome.token_ids[:num_seen] != expected.token_ids[:num_seen]:
                faults.append(f"stream {number} differs from the same request alone")
            num_equal += not faults
        print(f"{num_equal} streams equal the same requests alone")
        return faults

    return asyncio.run(alone())


def server_arguments(model: Path, *, cache: str = "1MiB") -> list[str]:
    """Options of a server that the streams bring to its limits.

    Args:
        model: The tiny model's version.
        cache: Memory for its keys and values, of which a token takes 512 bytes.
    """
    return [
        *("--model", str(model), "--threads", "1", "--dtype", "f32", "--device", "cpu"),
        *("--max-running", "64", "--max-queued", "1000", "--kv-cache-memory", cache),
        *("--max-queued-tokens", "10000000", "--log-level", "error"),
    ]


def main() -> int:
    """Run the campaign; 0 when nothing leaked, 3 when the control was noticed."""
    parser = argparse.ArgumentParser(description="Leaks of streams that are cut off.")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--control", action="store_true", help="a server that forgets cancels")
    arguments = parser.parse_args()
    plans = make_plans(arguments.streams, seed=arguments.seed)
    print(f"seed {arguments.seed}")
    module = "campaigns.broken_builds.forgetful_server" if arguments.control else "service"
    with tempfile.TemporaryDirectory() as folder:
        model = publish_tiny_model(Path(folder) / "tiny", context_tokens=CONTEXT_TOKENS)
        with running_server(*server_arguments(model), module=(module,)) as server:
            if arguments.control:
                return check_control(server, plans)
            faults = check(server, plans)
    for fault in faults:
        print("FAULT:", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
