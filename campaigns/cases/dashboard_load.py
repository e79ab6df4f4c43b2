"""Clients of all kinds for a while: good, wrong, late and leaving ones, over both protocols."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from campaigns.callers.stream_clients import StreamClients

__all__ = ["Phase", "Played", "play"]

_WORDS = ("the king", "a wolf", "the little house", "once", "in the wood", "her mother", "said")
_SHARED = "Once upon a time there was a poor woodcutter who lived at the edge of a great wood. " * 3
# What a client waits after a refusal, as it is told to.
_BACK_OFF_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Phase:
    """So many clients for so long, each asking again when it has its answer."""

    seconds: float
    num_clients: int


@dataclass(slots=True)
class Played:
    """What the clients saw.

    Attributes:
        ends: How requests ended: whole, cut, or a code of the table of errors.
    """

    ends: Counter[str] = field(default_factory=Counter[str])
    num_tokens: int = 0


async def play(
    clients: StreamClients, phases: Sequence[Phase], *, seed: int, ending: asyncio.Event
) -> Played:
    """Play all phases, one after the other; the last one goes on until the event is set."""
    played = Played()
    number = 0
    for phase in phases:
        end = time.monotonic() + phase.seconds

        def is_over(phase: Phase = phase, end: float = end) -> bool:
            return time.monotonic() > end and (phase is not phases[-1] or ending.is_set())

        async with asyncio.TaskGroup() as group:
            for _ in range(phase.num_clients):
                number += 1
                rng = random.Random(seed + number)
                group.create_task(_ask_until(is_over, clients, rng, played))
    return played


async def _ask_until(
    is_over: Callable[[], bool], clients: StreamClients, rng: random.Random, played: Played
) -> None:
    while not is_over():
        body, cut_after = _request(rng)
        outcome = await clients.stream(rng.choice(("rest", "grpc")), body, cut_after=cut_after)
        played.ends[outcome.error or "whole"] += 1
        played.num_tokens += len(outcome.token_ids)
        if outcome.error in ("server_overloaded", "engine_unavailable"):
            await asyncio.sleep(_BACK_OFF_SECONDS)


def _request(rng: random.Random) -> tuple[dict[str, object], int | None]:
    """A body, and the events after which its client leaves."""
    words = " ".join(rng.choices(_WORDS, k=rng.randrange(1, 40)))
    body: dict[str, object] = {
        "prompt": _SHARED + words if rng.random() < 0.4 else words,
        "max_tokens": rng.randrange(8, 48),
        "temperature": 0.8,
        "ignore_eos": True,
    }
    match rng.random():
        case draw if draw < 0.05:
            return {**body, "top_p": 7}, None
        case draw if draw < 0.08:
            return {**body, "model": "nobody"}, None
        case draw if draw < 0.11:
            return {**body, "max_tokens": 400, "timeout_seconds": 0.05}, None
        case draw if draw < 0.16:
            return {**body, "max_tokens": 400}, rng.randrange(1, 20)
        case _:
            return body, None
