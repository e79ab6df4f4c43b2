"""Campaigns 3 and 4 made small: cut streams leave nothing behind, a poison stays where it is."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from campaigns.callers.stream_clients import Outcome
from campaigns.faults import EXPECTED, Faults
from campaigns.leaks import Plan, check, make_plans, server_arguments, settle
from campaigns.live.server_process import ServerProcess, running_server
from campaigns.live.tiny_model import publish_tiny_model
from tests.contract.live_server import raw_request

SEED = 11
CONTEXT_TOKENS = 1024


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server in which requests of some seeds are poisoned, and others are as anywhere."""
    root = tmp_path_factory.mktemp("store") / "tiny"
    model = publish_tiny_model(root, context_tokens=CONTEXT_TOKENS)
    module = ("campaigns.broken_builds.poisoned_server",)
    arguments = server_arguments(model, cache="512KiB")
    with running_server(*arguments, module=module, leave_seconds=0) as server:
        yield server


def test_streams_that_are_cut_off_leave_nothing_behind(poisoned: ServerProcess) -> None:
    """H66, H68, H137, with pre-emptions, reused prefixes and mixed batches on the way."""
    # Two that cannot both end in the cache, so that one is pre-empted however fast the machine is.
    body = {"prompt": "x", "max_tokens": 700, "ignore_eos": True}
    plans = [Plan("rest", {**body, "seed": seed}, None, 0.0) for seed in (1, 2)]
    plans += make_plans(24, seed=SEED, spread_seconds=0.0, cut_tokens=300)
    assert not check(poisoned, plans), SEED
    # The control: whoever has not left is seen. It reads nothing, and can so never be done.
    body = {"prompt": "x", "max_tokens": 900, "ignore_eos": True, "logprobs": 20, "stream": True}
    with raw_request(poisoned, body) as connection:
        connection.recv(1, socket.MSG_PEEK)
        left = " ".join(settle(poisoned, seconds=0))
        assert "nextword_requests_in_flight is 1" in left
        assert "blocks are free" in left
    assert not settle(poisoned)


def test_a_poison_changes_none_of_eight_neighbours(poisoned: ServerProcess) -> None:
    """H45, H46, H47: in the prompt, the continuation, the batch, the sampler, the detokenizer."""
    faults = Faults(poisoned, num_tokens=24)

    async def play() -> None:
        await faults.learn()
        for poison in EXPECTED:
            await faults.poison(poison, num_rounds=1)
        assert not faults.found
        # The control: a neighbour that gives something else than alone is seen.
        faults.alone[3] = Outcome()
        await faults.poison(next(iter(EXPECTED)), num_rounds=1)

    asyncio.run(play())
    (line,) = faults.found
    assert line.endswith("1 neighbours changed")
